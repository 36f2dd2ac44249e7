"""Runs a benchmark and keeps what it prints in RESULTS.md, in a section of its own that takes the place of its last.

    python -m benchmarks.put "The host" benchmarks.host [its arguments]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import machine

__all__ = ["RESULTS", "merged", "renewed"]

RESULTS = Path(__file__).with_name("RESULTS.md")


def _sections(page: str) -> dict[str, str]:
    """Title to text, in order; what stands before the first under ""."""
    head, *rest = page.split("\n## ")
    return {"": head, **{part.split("\n", 1)[0].strip(): "## " + part for part in rest}}


def _joined(sections: dict[str, str]) -> str:
    return "\n\n".join(text.strip() for text in sections.values()) + "\n"


def merged(page: str, more: str) -> str:
    """The page with the sections of `more` instead of those of the same titles, or behind the last."""
    made = {**_sections(page), **{title: text for title, text in _sections("\n" + more).items() if title}}
    return _joined(made)


def renewed(old: str, page: str) -> str:
    """The new page, and behind it what other benchmarks have put into the old one."""
    made = _sections(page)
    made.update({title: text for title, text in _sections(old).items() if title not in made})
    return _joined(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("title")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    a = parser.parse_args()
    others = machine.Others()
    command = [sys.executable, "-m", a.module, *a.arguments]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(ran.stdout)
    lines = ran.stdout.strip().splitlines()
    while lines and (lines[0].startswith("## ") or not lines[0].strip()):
        del lines[0]
    where = "; ".join(machine.describe())
    shown = ["python", *(Path(part).name if Path(part).is_absolute() else part for part in command[1:])]
    said = f"`{' '.join(shown)}`, {machine.today()}. {where}."
    said += f" Others used {others.cores():.2f} processors."
    body = "\n".join(lines)
    if "|" not in body and "* " not in body:
        body = f"```text\n{body}\n```"
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    RESULTS.write_text(merged(old, f"## {a.title}\n\n{body}\n\n{said}\n"), encoding="utf-8")


if __name__ == "__main__":
    main()
