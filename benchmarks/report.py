"""From raw measurements to the table, the targets and the page. Prints and measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.figures import Target, over_rounds, percentile, spread, table

__all__ = ["frame_section", "page"]

NAMES = {
    "program": "plain C loop, a program",
    "shared": "plain C loop, through cffi",
    "beside": "plain C loop, another process",
    "modkit": "modkit",
    "llama_cpp_python": "llama-cpp-python in a thread",
    "nobodywho": "nobodywho",
}
MODE_NAMES = {"idle": "idle", "60fps": "60 fps, 8 ms each", "flat": "flat out"}
HEAD = (
    "engine",
    "host",
    "tok/s",
    "÷ plain C",
    "÷ own idle",
    "frame work, ms",
    "p99 ÷ without",
    "tick, µs",
    "RSS, MB",
    "over plain C",
    "faults per 1,000 tokens",
)
QUIET = 0.05  # processors that others may use before the report says so
Results = dict[str, list[dict[str, Any]]]
Rows = Sequence[tuple[str, str, str, int]]


def _good(results: Results, key: str) -> list[dict[str, Any]]:
    return [result for result in results.get(key, []) if "failed" not in result]


def _speed(results: Results, key: str) -> float:
    return over_rounds(_good(results, key), lambda r: r["tokens_per_second"])


def _memory(results: Results, key: str) -> float:
    return over_rounds(_good(results, key), lambda r: r["rss_kib"]) / 1024


def _baseline(results: Results) -> str:
    return "program.idle.1" if _good(results, "program.idle.1") else "shared.idle.1"


def _retention(results: Results, key: str) -> float:
    """tok/s ÷ the plain C loop's: of the run right beside it where there is one, else of all its runs."""
    base = _speed(results, _baseline(results))
    return over_rounds(_good(results, key), lambda r: r["tokens_per_second"] / (r.get("plain") or base or 1))


def _p99_ratio(rounds: list[dict[str, Any]]) -> float:
    """Frame work p99 with generation ÷ without, within each process."""
    both = [r for r in rounds if r.get("work_ns") and r.get("quiet_work_ns")]
    return over_rounds(both, lambda r: percentile(r["work_ns"], 0.99) / percentile(r["quiet_work_ns"], 0.99))


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value else "–"


def _row(results: Results, key: str, engine: str, mode: str, streams: int) -> list[str]:
    name = NAMES[engine] + (f", {streams} streams" if streams > 1 else "")
    host = "nothing beside it" if engine in ("program", "shared") else MODE_NAMES[mode]
    rounds = _good(results, key)
    if not rounds:
        why = results[key][0]["failed"] if results.get(key) else "not run"
        return [name, host, why, *["–"] * (len(HEAD) - 3)]
    own_idle = _speed(results, f"{engine}.idle.{streams}")
    memory = _memory(results, key)
    return [
        name,
        host,
        _number(_speed(results, key), 1),
        _number(_retention(results, key), 3) if streams == 1 else "–",
        _number(_speed(results, key) / own_idle if own_idle and mode != "idle" else 0, 3),
        spread([r.get("work_ns", ()) for r in rounds], 1e-6).text(2),
        _number(_p99_ratio(rounds), 3),
        spread([r.get("tick_ns", ()) for r in rounds], 1e-3).text(0),
        _number(memory, 1),
        f"{memory - _memory(results, _baseline(results)):+.1f}" if streams == 1 else "–",
        _number(over_rounds(rounds, lambda r: 1000 * r["faults"] / max(1, r["tokens"])), 0),
    ]


def _targets(results: Results) -> list[Target]:
    made = []
    for mode in ("flat", "60fps"):
        value = _retention(results, f"modkit.{mode}.1")
        made.append(
            Target(f"tok/s, host {MODE_NAMES[mode]} ÷ plain C loop ≥ 0.95", f"{value:.3f}", value >= 0.95)
        )
        value = _speed(results, f"modkit.{mode}.16") / (_speed(results, "modkit.idle.16") or 1)
        what = f"tok/s of 16 streams, host {MODE_NAMES[mode]} ÷ host idle ≥ 0.95"
        made.append(Target(what, f"{value:.3f}", value >= 0.95))
    for mode, streams in (("60fps", 4), ("flat", 4), ("60fps", 16), ("flat", 16)):
        ticks = spread([r["tick_ns"] for r in _good(results, f"modkit.{mode}.{streams}")], 1e-3)
        where = f"{streams} streams speaking, host {MODE_NAMES[mode]}"
        made.append(Target(f"tick p99 ≤ 100 µs, {where}", f"{ticks.p99:.0f} µs", 0 < ticks.p99 <= 100))
        both = f"{ticks.max:.0f} µs (median of the rounds; the worst of all {ticks.worst:.0f} µs)"
        made.append(Target(f"tick max ≤ 1 ms, {where}", both, 0 < ticks.worst <= 1000))
    for key, name in (
        ("modkit.60fps.1", "60 fps"),
        ("modkit.flat.1", "flat out"),
        ("modkit.60fps.4", "60 fps, 4 streams"),
    ):
        ratio = _p99_ratio(_good(results, key))
        made.append(
            Target(
                f"frame-work p99 with generation ≤ 1.05 × without, {name}", f"{ratio:.3f}", 0 < ratio <= 1.05
            )
        )
    over = max(_memory(results, f"modkit.{mode}.1") for mode in MODE_NAMES) - _memory(
        results, _baseline(results)
    )
    name = NAMES[_baseline(results).partition(".")[0]]
    made.append(
        Target(f"RSS above the {name} ≤ 25 MB", f"{over:+.1f} MB (largest of three hosts)", over <= 25)
    )
    return made


def _remarks(results: Results) -> list[str]:
    """Checks on the measurement itself: same work done, and the worker's clock against the host's."""
    remarks = []
    plain = _good(results, _baseline(results))
    for mode in MODE_NAMES:
        for mine in _good(results, f"modkit.{mode}.1")[:1]:
            same = plain and mine["token_ids"] == plain[0]["token_ids"]
            if not same:
                remarks.append(
                    f"modkit ({MODE_NAMES[mode]}) and the plain C loop generated different tokens."
                )
    for mode in MODE_NAMES:
        for r in _good(results, f"modkit.{mode}.1"):
            seconds = r["tokens"] / r["tokens_per_second"]
            seen = r.get("seen_tokens_per_second", 0) / r["tokens_per_second"]
            if seen and abs(seen - 1) > 0.02 + 0.05 / seconds:  # the host looks once a frame only
                remarks.append(
                    f"modkit ({MODE_NAMES[mode]}): the host saw {seen:.3f} × the tok/s the worker counted."
                )
                break
    same_work = not remarks
    others = [
        r["others"] for rounds in results.values() for r in rounds if "failed" not in r and "others" in r
    ]
    if others and percentile(others, 0.9) > QUIET:
        remarks.append(
            f"**Not a quiet machine**: other programs used {percentile(others, 0.5):.2f} processors in the"
            f" median of the measurements and {max(others):.2f} in the worst; read these figures accordingly."
        )
    if plain and same_work:
        remarks.append(
            "modkit and the plain C loop generated the same tokens; its tok/s agree with the host's clock."
        )
    return remarks


def frame_section(results: Results, rows: Rows, tokens: int, model: Path) -> tuple[str, list[Target]]:
    """The table with its legend, and the targets it answers."""
    lines = table(HEAD, [_row(results, *row) for row in rows])
    libraries = sorted({r["library"] for rounds in results.values() for r in rounds if "library" in r})
    rounds = len(results.get("modkit.flat.1", ()))
    legend = (
        f"Generated model of {model.stat().st_size / 1e6:.0f} MB, Q8_0; {tokens} tokens a reply;"
        f" 1 inference thread; medians of {rounds} rounds. Frame work and tick:"
        " p50 / p99 / max of a round, medians over the rounds, and in brackets the worst of all rounds."
        " p99 ÷ without: frame work while a reply is generated ÷ before and after it, in the same process. Faults: page"
        " faults of the whole process during the reply. nobodywho chooses its own number of threads."
        f" Measured: {', '.join(libraries)}."
    )
    return "\n\n".join(["## Frame", lines, legend, *_remarks(results)]) + "\n", _targets(results)


def page(sections: Sequence[str], targets: Sequence[Target], command: str, provisional: bool) -> str:
    """RESULTS.md: where and how, what was promised, the tables."""
    missed = sum(not target.holds for target in targets)
    verdict = "All targets hold." if not missed else f"**{missed} of {len(targets)} targets missed.**"
    where = "\n".join(f"* {line}" for line in [*machine.describe(), f"`{command}`, {machine.today()}"])
    note = "\n**Provisional**: fewer than 5 rounds, or the small model.\n" if provisional else ""
    promises = "\n".join(target.line() for target in targets)
    head = (
        f"# Results\n\nWritten by the benchmarks themselves; change nothing here by hand.\n\n{where}\n{note}"
    )
    return f"{head}\n## Targets\n\n{verdict}\n\n{promises}\n\n" + "\n".join(sections)
