"""How soon a cancelled reply is over, and whether anybody else notices.

    python -m benchmarks.cancel [--runs 15] [--large]

A prompt of 3,000 tokens is cancelled at a different place of its prefill each time: once alone, once
while another stream speaks. For that other stream the gaps between its tokens are compared: with nobody
else, while the long prompt is prefilled, around the cancel, and while such a prompt is read to its end: for
slices late in a prompt take longer, and what comes around a cancel is later than all that came before it.
On the small test model; --large takes the model of the frame table. The host ticks every half millisecond.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Target, percentile, table
from benchmarks.models import frame_model, small_model

if TYPE_CHECKING:
    from modkit import Engine, Stream

__all__ = ["main", "section"]

PROMPT_TOKENS = 3000
LIMIT_MS = 60.0
SPEAKER_TOKENS = 4000


def _prompt(index: int) -> str:
    """About 3,000 tokens, different from the first word on, so that nothing of it is in a cache."""
    return f"word{1000 + index} " + "the keeper and the light " * (PROMPT_TOKENS // 5)


def _wait(engine: Engine, until: Callable[[], bool], each: Callable[[], None] = lambda: None) -> None:
    while not until():
        engine.tick()
        each()
        time.sleep(0.0005)


class _Gaps:
    """When another stream's tokens arrived; `mark()` begins a new list of gaps, in ms."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.count = stream.stats.generated_tokens
        self.at = time.perf_counter()
        self.lists: dict[str, list[float]] = {}
        self.current: list[float] = []

    def mark(self, name: str) -> None:
        self.current = self.lists.setdefault(name, [])

    def look(self) -> None:
        if self.stream.stats.generated_tokens > self.count:
            now = time.perf_counter()
            self.current.append(1000 * (now - self.at))
            self.count, self.at = self.stream.stats.generated_tokens, now


def _cancel(engine: Engine, index: int, delay: float, gaps: _Gaps | None) -> tuple[float, int, str]:
    """One cancel, `delay` seconds after the prefill began: ms until done, prompt tokens, text."""
    look = gaps.look if gaps else (lambda: None)
    if gaps:
        gaps.mark("while a long prompt is prefilled")
    stream = engine.generate(_prompt(index), max_tokens=4, temperature=0)
    _wait(engine, lambda: stream.stats.prompt_tokens > 0 or stream.done, look)
    begun = time.perf_counter()
    _wait(engine, lambda: time.perf_counter() - begun >= delay or stream.done, look)
    if gaps:
        gaps.mark("around the cancel")
    cancelled = time.perf_counter()
    stream.cancel()
    _wait(engine, lambda: stream.done, look)
    took = 1000 * (time.perf_counter() - cancelled)
    if gaps:  # the token after the cancel belongs to it too
        count = gaps.count
        _wait(engine, lambda: gaps.count > count or gaps.stream.done, look)
    if stream.finish != "cancelled":
        raise RuntimeError(
            f"the prompt was through before the cancel ({stream.finish}); it was cancelled too late"
        )
    return took, stream.stats.prompt_tokens, stream.text


def _prefill_seconds(
    engine: Engine, index: int, limit: float = 5.0, each: Callable[[], None] = lambda: None
) -> float:
    """How long the whole prefill takes, or the limit when that is sooner."""
    stream = engine.generate(_prompt(index), max_tokens=1, temperature=0)
    begun = time.perf_counter()
    _wait(engine, lambda: stream.done or time.perf_counter() - begun > limit, each)
    took = time.perf_counter() - begun
    stream.cancel()
    _wait(engine, lambda: stream.done)
    return took


def _open(model: Path, slots: int) -> Engine:
    from modkit import Engine

    engine = Engine(model, context=PROMPT_TOKENS + 2000, slots=slots, threads=1, gpu_layers=0)
    _wait(engine, lambda: not engine.loading)
    return engine


def _alone(model: Path, runs: int) -> list[float]:
    with _open(model, 1) as engine:
        whole = _prefill_seconds(engine, 0)
        return [_cancel(engine, 1 + i, whole * (0.05 + 0.75 * i / runs), None)[0] for i in range(runs)]


def _beside_a_speaker(model: Path, runs: int) -> tuple[list[float], dict[str, list[float]]]:
    with _open(model, 2) as engine:
        whole = _prefill_seconds(engine, 0)
        cancels: list[float] = []
        merged: dict[str, list[float]] = {}
        while len(cancels) < runs:
            speaker = engine.generate(
                f"Once upon a time {len(cancels)}", max_tokens=SPEAKER_TOKENS, temperature=0.9, seed=7
            )
            _wait(engine, lambda s=speaker: s.stats.generated_tokens > 4 or s.done)  # type: ignore[misc]
            gaps = _Gaps(speaker)
            gaps.mark("with nobody else")
            until = time.perf_counter() + 0.3
            _wait(engine, lambda t=until: time.perf_counter() > t, gaps.look)  # type: ignore[misc]
            gaps.mark("while one is read to its end")
            _prefill_seconds(engine, 2000 + len(cancels), 20.0, gaps.look)
            for _ in range(min(3, runs - len(cancels))):
                if speaker.done:
                    break
                i = len(cancels)
                cancels.append(_cancel(engine, 1000 + i, whole * (0.05 + 0.75 * i / runs), gaps)[0])
            speaker.cancel()
            _wait(engine, lambda s=speaker: s.done)  # type: ignore[misc]
            for name, values in gaps.lists.items():
                merged.setdefault(name, []).extend(values)
        return cancels, merged


def _at_once(model: Path, runs: int) -> int:
    """Characters that arrive from streams cancelled right after submit: none is promised."""
    with _open(model, 1) as engine:
        count = 0
        for i in range(runs):
            stream = engine.generate(f"Once {i}", max_tokens=8, temperature=0)
            stream.cancel()
            _wait(engine, lambda s=stream: s.done)  # type: ignore[misc]
            count += len(stream.text)
        return count


def section(runs: int, large: bool = False) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    model = frame_model() if large else small_model()
    alone = _alone(model, runs)
    beside, gaps = _beside_a_speaker(model, runs)
    characters = _at_once(model, runs)
    rows = [
        [name, f"{median(v):.1f}", f"{percentile(v, 0.99):.1f}", f"{max(v):.1f}", str(len(v))]
        for name, v in (
            ("cancel to done, alone", alone),
            ("cancel to done, another stream speaking", beside),
            *((f"the other's gap between tokens, {name}", v) for name, v in gaps.items() if v),
        )
    ]
    whole, around = gaps["while one is read to its end"], gaps["around the cancel"]
    noticed = max(around) <= max(whole) * 1.05 + 1
    targets = [
        Target(
            f"cancel during a prefill of {PROMPT_TOKENS} tokens: done ≤ {LIMIT_MS:.0f} ms later",
            f"at most {max(alone):.1f} ms alone, {max(beside):.1f} ms beside a speaker",
            max(*alone, *beside) <= LIMIT_MS,
        ),
        Target(
            "no other stream notices the cancel (its longest gap is none longer than when nobody cancels)",
            f"{max(around):.1f} ms against {max(whole):.1f} ms",
            noticed,
        ),
        Target(
            "cancel right after submit yields no text",
            f"{characters} characters in {runs} replies",
            characters == 0,
        ),
    ]
    text = [
        "## Cancel",
        table(("what", "median, ms", "p99, ms", "max, ms", "of"), rows),
        f"Model of {model.stat().st_size / 1e6:.0f} MB, 1 inference thread; the host ticks each 0.5 ms.",
    ]
    return "\n\n".join(text) + "\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--large", action="store_true")
    a = parser.parse_args()
    text, targets = section(max(2, a.runs), a.large)
    print(text)
    print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
