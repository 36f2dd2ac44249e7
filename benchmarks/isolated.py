"""What a process of its own costs: IsolatedEngine beside Engine, interleaved, same model, same prompts, greedy.

    python -m benchmarks.isolated [--rounds 5] [--tokens 200] [--streams 4] [--model GGUF] [--kills 20]

Throughput is tokens a second of all streams together, beside a host of 60 frames a second; the tick's time is taken
around every engine.tick(), idle frames included. Targets: tick p99 at most 150 µs, throughput at least 0.98 of the
engine in this process. Last, the child is killed while it speaks, and what follows is timed from the kill: until the
stream has ended, another child has said hello, it is ready, and a new reply is whole (target: 2 s). Nothing else should
run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.models import frame_model
from modkit import Engine, IsolatedEngine

__all__ = ["main"]

FRAME = 1 / 60


def measure(kind: type[Engine], model: Path, streams: int, tokens: int) -> tuple[float, list[float]]:
    """Tokens a second of all streams, and every tick's seconds."""
    ticks: list[float] = []
    with kind(model, context=2048, slots=streams, threads=1) as engine:
        while engine.loading:
            engine.tick()
            time.sleep(0.005)
        prompt = "The lamp went out and the keeper"
        made: list[Any] = [engine.generate(f"{prompt} {n}", max_tokens=tokens, temperature=0) for n in range(streams)]
        while not all(stream.done for stream in made):
            begin = time.perf_counter()
            engine.tick()
            ticks.append(time.perf_counter() - begin)
            time.sleep(max(0.0, FRAME - (time.perf_counter() - begin)))
        # The frame only sees whole frames; the streams' own figures are the worker's clock.
        rate = sum(stream.stats.tokens_per_second for stream in made)
    return rate, ticks


def kills(model: Path, count: int) -> dict[str, list[float]]:
    """Seconds from a kill until each of the four."""
    found: dict[str, list[float]] = {name: [] for name in ("ended", "hello", "ready", "reply")}
    with IsolatedEngine(model, context=2048, threads=1) as engine:
        while not engine.ready:
            engine.tick()
            time.sleep(0.005)
        for _ in range(count):
            stream = engine.generate("The lamp went out and the keeper", max_tokens=1000)
            while len(stream.text) < 10:
                engine.tick()
                time.sleep(0.005)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGTERM)
            killed = time.perf_counter()
            following: Any = None
            seen: dict[str, float] = {}
            while following is None or not following.done:
                engine.tick()
                now = {"ended": stream.done, "hello": stream.done and engine.pid, "ready": stream.done and engine.ready}
                for name, happened in now.items():
                    if happened:
                        seen.setdefault(name, time.perf_counter() - killed)
                if stream.done and following is None:
                    following = engine.generate("The tide", max_tokens=2)
                time.sleep(FRAME)
            seen["reply"] = time.perf_counter() - killed
            for name, seconds in seen.items():
                found[name].append(seconds)
    return found


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    a = parser.parse_args()
    model = a.model or frame_model()
    kinds: list[type[Engine]] = [Engine, IsolatedEngine]
    rates: dict[str, list[float]] = {kind.__name__: [] for kind in kinds}
    ticks: dict[str, list[float]] = {kind.__name__: [] for kind in kinds}
    for index in range(a.rounds):
        for kind in kinds if index % 2 == 0 else reversed(kinds):
            rate, times = measure(kind, model, a.streams, a.tokens)
            rates[kind.__name__].append(rate)
            ticks[kind.__name__] += times
    for name in rates:
        p50, p99 = (percentile(ticks[name], share) * 1e6 for share in (0.5, 0.99))
        print(f"{name:<16} {statistics.median(rates[name]):8.1f} tok/s   tick p50 {p50:6.1f} µs   p99 {p99:6.1f} µs")
    ratios = [there / here for here, there in zip(rates["Engine"], rates["IsolatedEngine"], strict=True)]
    if a.kills:
        for name, seconds in kills(model, a.kills).items():
            median = statistics.median(seconds)
            print(f"after a kill, until {name:<6} median {median:.3f} s   worst {max(seconds):.3f} s")
    print(f"ratio of neighbours, median: {statistics.median(ratios):.3f} (target 0.98)")


if __name__ == "__main__":
    main()
