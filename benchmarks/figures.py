"""Percentiles, medians over rounds, and targets that are met or missed. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Spread", "Target", "over_rounds", "percentile", "spread", "table"]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was really measured. 0.0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]


@dataclass(frozen=True)
class Spread:
    """Medians over the rounds of each round's p50, p99 and max; `worst` is the largest of all rounds."""

    p50: float
    p99: float
    max: float
    worst: float

    def text(self, digits: int) -> str:
        if self.max == 0:
            return "–"
        return (
            f"{self.p50:.{digits}f} / {self.p99:.{digits}f} / {self.max:.{digits}f} ({self.worst:.{digits}f})"
        )


def spread(rounds: Iterable[Sequence[float]], scale: float) -> Spread:
    """From each round's raw values, multiplied by `scale`."""
    full = [values for values in rounds if values]
    if not full:
        return Spread(0, 0, 0, 0)
    return Spread(
        median(percentile(v, 0.50) for v in full) * scale,
        median(percentile(v, 0.99) for v in full) * scale,
        median(max(v) for v in full) * scale,
        max(max(v) for v in full) * scale,
    )


def over_rounds(results: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
    """The median over rounds of a figure of each; 0.0 for none."""
    values = [value(result) for result in results]
    return median(values) if values else 0.0


@dataclass(frozen=True)
class Target:
    """A promise, what was measured, and whether it holds."""

    promise: str
    measured: str
    holds: bool

    def line(self) -> str:
        return f"* {'holds' if self.holds else '**MISSED**'}: {self.promise}; measured {self.measured}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are also straight on a terminal."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    made = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    made.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(made)
