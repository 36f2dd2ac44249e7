"""What generation costs a game, and what a game costs generation: the frame table.

    python -m benchmarks.frame [--rounds 5] [--tokens 200] [--quick] [--again] [--only KEYS] [--write FILE]

A row is one engine with one kind of host beside it (benchmarks/hosts.py), each measurement a process of
its own, one inference thread, the same generated model of about 300 MB, the same prompt, greedy. Rounds
are interleaved, every second one backwards. Rivals are taken from this environment, or from the Python
that BENCH_LLAMA_CPP_PYTHON and BENCH_NOBODYWHO name; which llama.cpp modkit and the C loop run on,
MODKIT_LLAMA says, as ever. --quick is one short round on a small model: to see that everything runs.
Nothing else should run on the machine meanwhile; the report says when something did. About 10 minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import hosts, machine, plain, put, report
from benchmarks.cells import CONTEXT, PROMPT, THREADS
from benchmarks.child import ChildFailed, measured
from benchmarks.models import FOLDER, frame_model, small_model

__all__ = ["CELLS", "Cell", "main"]

LIMIT = 180  # seconds for one measurement, after which it counts as failed


@dataclass(frozen=True)
class Cell:
    """One row: which engine, beside which host, how many streams at once."""

    engine: str
    mode: str
    streams: int = 1

    @property
    def key(self) -> str:
        return f"{self.engine}.{self.mode}.{self.streams}"


CELLS = (
    Cell("program", "idle"),
    Cell("shared", "idle"),
    Cell("beside", "60fps"),
    Cell("beside", "flat"),
    *(Cell("modkit", mode) for mode in hosts.MODES),
    Cell("modkit", "60fps", 4),
    Cell("modkit", "flat", 4),
    *(Cell("modkit", mode, 16) for mode in hosts.MODES),
    *(Cell("llama_cpp_python", mode) for mode in hosts.MODES),
    *(Cell("nobodywho", mode) for mode in hosts.MODES),
)
RIVALS = {
    "llama_cpp_python": ("BENCH_LLAMA_CPP_PYTHON", "llama_cpp"),
    "nobodywho": ("BENCH_NOBODYWHO", "nobodywho"),
}


def python_for(engine: str) -> str | None:
    """The Python that can run this engine, or None when it is not installed."""
    if engine not in RIVALS:
        return sys.executable
    variable, module = RIVALS[engine]
    named = os.environ.get(variable)
    if named:
        return named
    return sys.executable if importlib.util.find_spec(module) else None


class Bench:
    """What all measurements share: the model, the amount of work, the compiled baseline."""

    def __init__(self, tokens: int, model: Path) -> None:
        from modkit.native import load

        self.tokens = tokens
        self.model = model
        self.library = load()
        self.blobs = plain.params(self.library, CONTEXT, THREADS)
        plain.compile_shared()
        try:
            self.program: Path | None = plain.compile_program(self.library.path)
        except plain.Unavailable as error:
            print(f"no plain C program: {error}", file=sys.stderr)
            self.program = None
        self.amount = hosts.calibrate()

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One round of one cell; {"failed": why} when it cannot be had."""
        if cell.engine == "program":
            return self._measure_program()
        python = python_for(cell.engine)
        if python is None:
            return {"failed": "not installed"}
        asked = ["--model", self.model, "--work", self.amount, "--tokens", self.tokens, "--streams", cell.streams]
        try:
            result: dict[str, Any] = measured(
                "benchmarks.cells", cell.engine, cell.mode, *asked, python=python, limit=LIMIT
            )
        except ChildFailed as error:
            return {"failed": str(error).splitlines()[-1][:200]}
        return result

    def _measure_program(self) -> dict[str, Any]:
        if self.program is None:
            return {"failed": "this library opens only in a Python process"}
        try:
            made = plain.run_program(
                self.program, self.library.path, self.blobs, self.model, PROMPT, self.tokens
            )
        except plain.Unavailable as error:
            self.program = None
            return {"failed": str(error)}
        library = f"llama.cpp {self.library.version} ({self.library.path.name})"
        return {**made, "library": library}


def _measure(bench: Bench, cell: Cell, label: str) -> dict[str, Any]:
    """One measurement, with a line about it on stderr."""
    others = machine.Others()
    result = bench.measure(cell)
    result["others"] = others.cores()
    figure = result.get("failed") or (
        f"{result['tokens_per_second']:5.1f} tok/s, others used {result['others']:.2f} cores"
    )
    print(f"{label}  {cell.key:<24} {figure}", file=sys.stderr, flush=True)
    return result


def measure_all(bench: Bench, rounds: int, cells: Sequence[Cell]) -> dict[str, list[dict[str, Any]]]:
    """Every cell in every round: results by Cell.key. A cell that failed is not tried again.

    What modkit keeps of the C loop's speed is a ratio close to one, and memory shared with other machines
    drifts by more than that in a minute. So the C loop runs again beside each of those cells, before it in
    one round and after it in the next, and the ratio is taken of these neighbours.
    """
    results: dict[str, list[dict[str, Any]]] = {cell.key: [] for cell in CELLS}
    for index in range(rounds):
        forward = index % 2 == 0
        for cell in cells if forward else reversed(cells):
            if any("failed" in result for result in results[cell.key]):
                continue
            plain_loop = Cell("program" if bench.program else "shared", "idle")
            paired = cell.engine == "modkit" and cell.streams == 1
            pair = [plain_loop, cell] if paired and forward else [cell, plain_loop] if paired else [cell]
            made = {one.engine: _measure(bench, one, f"round {index + 1}/{rounds}") for one in pair}
            for one in pair:
                results[one.key].append(made[one.engine])
            if paired and not any("failed" in result for result in made.values()):
                made[cell.engine]["plain"] = made[plain_loop.engine]["tokens_per_second"]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200, help="length of each reply")
    parser.add_argument("--quick", action="store_true", help="one round of 48 tokens, small model")
    parser.add_argument(
        "--write", type=Path, help="write the report here as Markdown, start-up and cancel included"
    )
    parser.add_argument("--again", action="store_true", help="the last run's frames; start-up and cancel anew")
    parser.add_argument(
        "--only", metavar="KEYS", help="the last run's, but these rows anew, e.g. modkit.60fps.4,modkit.60fps.16"
    )
    a = parser.parse_args()
    rounds, tokens = (1, 48) if a.quick else (max(1, a.rounds), max(8, a.tokens))
    model = small_model() if a.quick else frame_model()
    kept = FOLDER / "frame.json"
    if a.only:
        chosen = [cell for cell in CELLS if cell.key in a.only.split(",")]
        last = json.loads(kept.read_text(encoding="utf-8"))
        made = measure_all(Bench(tokens, model), rounds, chosen)
        last["results"].update({cell.key: made[cell.key] for cell in chosen})
        last["again"] = {**last.get("again", {}), **{cell.key: machine.revision() for cell in chosen}}
        kept.write_text(json.dumps(last), encoding="utf-8")
    elif not a.again:
        run = {"commit": machine.revision(), "results": measure_all(Bench(tokens, model), rounds, CELLS)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(run), encoding="utf-8")
    run = json.loads(kept.read_text(encoding="utf-8"))
    rows = [(c.key, c.engine, c.mode, c.streams) for c in CELLS]
    text, targets = report.frame_section(run["results"], rows, tokens, model)
    text += f"\nMeasured at {run['commit']}"
    again = run.get("again", {}).items()
    text += "".join(f"; {key} again at {at}, {len(run['results'][key])} rounds" for key, at in again) + ".\n"
    print(text)
    if a.write:
        from benchmarks import cancel, startup

        sections = [text]
        for section, more in (startup.section(5 if a.quick else 15), cancel.section(3 if a.quick else 15)):
            print(section)
            sections.append(section)
            targets += more
        command = "python -m benchmarks.frame " + " ".join(sys.argv[1:])
        page = report.page(sections, targets, command, a.quick or rounds < 5)
        old = a.write.read_text(encoding="utf-8") if a.write.exists() else ""
        a.write.write_text(put.renewed(old, page), encoding="utf-8")
    print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
