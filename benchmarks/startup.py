"""What `import modkit` costs a game: time in a fresh process, modules that come along, numpy's absence.

    python -m benchmarks.startup [--runs 15]

Two costs are told apart: the bare import, and what the first use of Engine, Host, NPC and Persona loads.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Target, table

__all__ = ["main", "section"]

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "import modkit": "import modkit",
    "… and Engine, Host, NPC, Persona": "from modkit import Engine, Host, NPC, Persona",
}
HEAVY = ("asyncio", "multiprocessing", "numpy", "ssl", "xllamacpp")
PROBE = """
import sys, time
before = set(sys.modules)
begun = time.perf_counter()
{statement}
took = time.perf_counter() - begun
new = sorted(set(sys.modules) - before)
import json
print(json.dumps({{"ms": 1000 * took, "modules": new}}))
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )


def measure(statement: str) -> dict[str, Any]:
    """One fresh process: milliseconds and the modules that were not there before."""
    result: dict[str, Any] = json.loads(_run("-c", PROBE.format(statement=statement)).stdout)
    return result


def slowest(statement: str, count: int = 6) -> list[tuple[str, float]]:
    """The modules whose own bodies take longest, in ms, from -X importtime."""
    lines = _run("-X", "importtime", "-c", f"import site\n{statement}").stderr
    own = [(m[2], int(m[1]) / 1000) for m in re.finditer(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)", lines)]
    return sorted(own, key=lambda pair: -pair[1])[:count]


def section(runs: int) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets, notes = [], [], []
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    for _ in range(runs + 1):
        for name, statement in CASES.items():
            results[name].append(measure(statement))
    for name, statement in CASES.items():
        times = [result["ms"] for result in results[name][1:]]  # the first one may write .pyc files
        modules = results[name][-1]["modules"]
        heavy = [m for m in HEAVY if m in modules]
        rows.append(
            [name, f"{median(times):.1f}", f"{max(times):.1f}", str(len(modules)), ", ".join(heavy) or "none"]
        )
        notes.append(
            f"Longest in `{statement}`: "
            + ", ".join(f"{m} {ms:.1f} ms" for m, ms in slowest(statement))
            + "."
        )
        if name == "import modkit":
            time = f"{median(times):.1f} ms"
            targets.append(Target("`import modkit` ≤ 60 ms", time, median(times) <= 60))
        targets.append(
            Target(
                f"`{statement}` imports no numpy",
                "none" if "numpy" not in heavy else "numpy",
                "numpy" not in heavy,
            )
        )
    head = ("what", "median, ms", "max, ms", "modules", f"of these: {', '.join(HEAVY)}")
    return "\n\n".join(
        ["## Start-up", table(head, rows), f"{runs} fresh processes each.", *notes]
    ) + "\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    text, targets = section(max(1, parser.parse_args().runs))
    print(text)
    print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
