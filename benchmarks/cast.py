"""A cast that speaks together: tokens a second in all, and when a second speaker's first token comes.

    python -m benchmarks.cast [--quick] [--types q8_0,q4_0,f16] [--casts 1,2,4,6,8,16] [--rounds 3] [--rivals]

Three ways to serve the same streams, each in a process of its own, with the same library, threads and prompts:
`together` (one engine, a slot each), `in turn` (one slot, one after another) and xllamacpp's own server. The
server's callbacks take Python's lock for every token; nothing else runs in its process. With --rivals also
llama-cpp-python and nobodywho (benchmarks/cast_rivals.py), found as benchmarks.frame finds them. A ratio is the median
of the rounds' own. --quick uses models of 20 MB and one round: it shows that everything works, not how fast.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cast_rivals import CONTEXT, RIVALS, prompt, result_of
from benchmarks.child import measured
from benchmarks.figures import Target, table
from benchmarks.frame import python_for
from benchmarks.models import cast_model
from benchmarks.server import started

__all__ = ["main", "section"]

WAYS = ("together", "in turn", "server")


# ---- in the child ----


def _speak(engine: Any, streams: Sequence[Any], times: Sequence[list[float]]) -> None:
    while not all(stream.done for stream in streams):
        engine.tick()
        now = time.perf_counter()
        for stream, seen in zip(streams, times, strict=True):
            seen.extend([now] * (len(stream.tokens) - len(seen)))
        time.sleep(0.0005)


def with_modkit(model: Path, cast: int, tokens: int, threads: int, together: bool) -> dict[str, float]:
    """The streams in one engine, all at once or one after another."""
    from modkit import Engine

    slots = max(2, cast) if together else 1
    options: dict[str, Any] = {"max_tokens": tokens, "temperature": 0}
    with Engine(model, context=CONTEXT, slots=slots, threads=threads, gpu_layers=0, cache_ram=None, draft=0) as engine:
        while engine.loading:
            engine.tick()
        time.sleep(3.0)  # it learns what a batch costs
        begun = time.perf_counter()
        times: list[list[float]] = [[] for _ in range(cast)]
        if together:
            _speak(engine, [engine.generate(prompt(i), **options) for i in range(cast)], times)
        else:
            for i in range(cast):
                _speak(engine, [engine.generate(prompt(i), **options)], [times[i]])
        second = 0.0
        if together:
            first = engine.generate(prompt(20), max_tokens=400, temperature=0)
            while len(first.tokens) < 10:
                engine.tick()
            asked = time.perf_counter()
            other = engine.generate(prompt(21, long=True), **options)
            while not other.tokens:
                engine.tick()
                time.sleep(0.0005)
            second = time.perf_counter() - asked
        return result_of(begun, times, second)


def with_server(model: Path, cast: int, tokens: int, threads: int) -> dict[str, float]:
    """The streams as requests to xllamacpp's server, in this process."""
    server = started(model, max(2, cast), CONTEXT, threads)

    def ask(text: str, n: int, seen: list[float], done: Callable[[], None]) -> None:
        def heard(_: Any) -> bool:
            seen.append(time.perf_counter())
            return False

        body = {"prompt": text, "n_predict": n, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        server.handle_completions(json.dumps({**body, "stream": True}), heard)
        done()

    def start(text: str, n: int, seen: list[float]) -> threading.Thread:
        thread = threading.Thread(target=ask, args=(text, n, seen, lambda: None))
        thread.start()
        return thread

    start(prompt(30), 8, []).join()
    begun = time.perf_counter()
    times: list[list[float]] = [[] for _ in range(cast)]
    for thread in [start(prompt(i), tokens, times[i]) for i in range(cast)]:
        thread.join()
    times = [seen[:tokens] for seen in times]  # the last chunk of each is its end, without a token
    first: list[float] = []
    other: list[float] = []
    running = start(prompt(20), 400, first)
    while len(first) < 10:
        time.sleep(0.0005)
    asked = time.perf_counter()
    start(prompt(21, long=True), tokens, other).join()
    running.join()
    return result_of(begun, times, other[0] - asked)


# ---- in the parent ----


def measure(way: str, model: Path, cast: int, tokens: int, threads: int) -> dict[str, float]:
    """One cell in a fresh process. Raises ChildFailed."""
    if way in RIVALS:
        command, python = ["benchmarks.cast_rivals", way], python_for(way)
    else:
        command, python = ["benchmarks.cast", "--child", way], None
    asked = ("--model", model, "--cast", cast, "--tokens", tokens, "--threads", threads)
    found: dict[str, float] = measured(*command, *asked, python=python)
    return found


def _cell(
    kind: str, model: Path, cast: int, ways: Sequence[str], tokens: int, rounds: int, threads: int
) -> dict[str, list[dict[str, float]]]:
    """All rounds of one row, by way; every second one backwards."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for index in range(rounds):
        for way in ways if index % 2 == 0 else reversed(ways):
            made = measure(way, model, cast, tokens, threads)
            found[way].append(made)
            print(f"{kind}, {cast} speakers, {way}: {made['rate']:.1f} tok/s", file=sys.stderr, flush=True)
    return found


def section(
    types: Sequence[str], casts: Sequence[int], ways: Sequence[str], tokens: int, rounds: int, threads: int, quick: bool
) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets, wins, cells = [], [], 0, 0
    for kind in types:
        for cast in casts:
            found = _cell(kind, cast_model(kind, quick), cast, ways, tokens, rounds, threads)
            rates = [f"{median(r['rate'] for r in found[way]):.1f}" for way in ways]
            ratio = {
                way: median(a["rate"] / b["rate"] for a, b in zip(found["together"], found[way], strict=True))
                for way in ways[1:]
            }
            share = min(r["share"] for r in found["together"])
            heard = [
                " / ".join(f"{median(r[key] for r in found[way]):.1f}" for key in ("first", "last", "second"))
                for way in ways
                if way != "in turn"
            ]
            rows.append([kind, str(cast), *rates, *(f"{ratio[way]:.2f}" for way in ways[1:]), f"{share:.2f}", *heard])
            if cast > 1:
                cells += 1
                wins += ratio["server"] >= 1.2
                for other in WAYS[1:]:
                    name = f"{kind}, {cast} speakers: ≥ 1.0 × {other}"
                    targets.append(Target(name, f"{ratio[other]:.2f} ×", ratio[other] >= 1))
                targets.append(Target(f"{kind}, {cast} speakers: shares ≥ 0.5", f"{share:.2f}", share >= 0.5))
    targets.append(Target("≥ 1.2 × the server in a third of the cells", f"{wins} of {cells}", 3 * wins >= cells))
    note = (
        f"{tokens} tokens each, {threads} thread(s), greedy, no drafts, medians of {rounds} round(s); rates count the"
        " prompts' prefill. First words: seconds from the question, the mean of all who begin at once / the last of"
        " them / one with a prompt of some 200 tokens who begins while another one speaks."
    )
    firsts = [f"first words, s: {way}" for way in ways if way != "in turn"]
    head = ("weights", "speakers", *(f"{way}, tok/s" for way in ways), *(f"/ {way}" for way in ways[1:]), "least share")
    title = "A cast and rivals" if any(way in RIVALS for way in ways) else "A cast"
    return f"## {title}\n\n{table((*head, *firsts), rows)}\n\n{note}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--types", default="q8_0,q4_0,f16")
    parser.add_argument("--casts", default=None)
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals", action="store_true")
    for name in ("--child", "--model"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--cast", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child == "server":
        print(json.dumps(with_server(Path(a.model), a.cast, a.tokens, a.threads)))
    elif a.child:
        print(json.dumps(with_modkit(Path(a.model), a.cast, a.tokens, a.threads, a.child == "together")))
    else:
        casts = [int(n) for n in (a.casts or ("1,4" if a.quick else "1,2,4,6,8,16")).split(",")]
        tokens, rounds = a.tokens or (32 if a.quick else 128), a.rounds or (1 if a.quick else 3)
        ways = (*WAYS, *(way for way in RIVALS if a.rivals and python_for(way)))
        text, targets = section(a.types.split(","), casts, ways, tokens, rounds, a.threads, a.quick)
        print(text)
        print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
