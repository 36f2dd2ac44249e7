"""A cast that speaks together: tokens a second in all, and when a second speaker's first token comes.

    python -m benchmarks.cast [--quick] [--types q8_0,q4_0,f16] [--casts 1,2,4,8,16] [--rounds 3]

Three ways to serve the same streams, each in a process of its own, with the same library, threads and prompts:
`together` (one engine, a slot each), `in turn` (one slot, one after another) and xllamacpp's own server. The
server's callbacks take Python's lock for every token; nothing else runs in its process. --quick uses models of
20 MB and one round: it shows that everything works, not how fast.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Target, table
from benchmarks.models import cast_model

__all__ = ["main", "section"]

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("together", "in turn", "server")
CONTEXT = 768
WORDS = "the keeper of the lamp went out in the night and the harbour was dark and the ships did not see it "


def prompt(i: int, long: bool = False) -> str:
    """Different from its first word on, so that no cache helps."""
    return f"{i} {chr(65 + i)} " + WORDS * (8 if long else 1)


def _shares(times: Sequence[Sequence[float]]) -> float:
    """The least share of its due that any stream got in any second in which all spoke."""
    begin, end = max(t[0] for t in times), min(t[-1] for t in times)
    least = 1.0
    while begin + 1 <= end:
        counts = [sum(begin <= at < begin + 1 for at in t) for t in times]
        least = min(least, min(counts) * len(times) / max(1, sum(counts)))
        begin += 0.25
    return least


def _result(begun: float, times: Sequence[Sequence[float]], second: float) -> dict[str, float]:
    end = max(t[-1] for t in times)
    return {
        "rate": sum(map(len, times)) / (end - begun),
        "first": max(t[0] for t in times) - begun,
        "second": second,
        "share": _shares(times),
    }


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
        return _result(begun, times, second)


def with_server(model: Path, cast: int, tokens: int, threads: int) -> dict[str, float]:
    """The streams as requests to xllamacpp's server, in this process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = max(2, cast)
    params.n_ctx = CONTEXT * params.n_parallel
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    server = xllamacpp.Server(params)

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
    return _result(begun, times, other[0] - asked)


# ---- in the parent ----


def measure(way: str, model: Path, cast: int, tokens: int, threads: int) -> dict[str, float]:
    """One cell in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.cast", "--child", way, "--model", str(model)]
    command += ["--cast", str(cast), "--tokens", str(tokens), "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{way} with {cast} speakers failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def section(
    types: Sequence[str], casts: Sequence[int], tokens: int, rounds: int, threads: int, quick: bool
) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets, wins, cells = [], [], 0, 0
    for kind in types:
        model = cast_model(kind, quick)
        for cast in casts:
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    found[way].append(measure(way, model, cast, tokens, threads))
                    rate = found[way][-1]["rate"]
                    print(f"{kind}, {cast} speakers, {way}: {rate:.1f} tok/s", file=sys.stderr, flush=True)
            rates = {way: median(r["rate"] for r in found[way]) for way in WAYS}
            second = {way: median(r["second"] for r in found[way]) * 1e3 for way in WAYS}
            share = min(r["share"] for r in found["together"])
            ratios = [f"{rates['together'] / rates[other]:.2f}" for other in WAYS[1:]]
            ends = [f"{share:.2f}", f"{second['together']:.0f}", f"{second['server']:.0f}"]
            rows.append([kind, str(cast), *(f"{rates[way]:.1f}" for way in WAYS), *ratios, *ends])
            if cast > 1:
                cells += 1
                wins += rates["together"] >= 1.2 * rates["server"]
                for other in ("in turn", "server"):
                    ratio = rates["together"] / rates[other]
                    targets.append(Target(f"{kind}, {cast} speakers: ≥ 1.0 × {other}", f"{ratio:.2f} ×", ratio >= 1))
                targets.append(Target(f"{kind}, {cast} speakers: shares ≥ 0.5", f"{share:.2f}", share >= 0.5))
    targets.append(Target("≥ 1.2 × the server in a third of the cells", f"{wins} of {cells}", 3 * wins >= cells))
    head = ("weights", "speakers", *(f"{way}, tok/s" for way in WAYS), "/ in turn", "/ server", "least share")
    note = (
        f"{tokens} tokens each, {threads} thread(s), greedy, no drafts, medians of {rounds} round(s); rates count the"
        " prompts' prefill. The second speaker has a prompt of some 200 tokens and begins while another one speaks."
    )
    body = table((*head, "second's first token, ms", "server's, ms"), rows)
    return f"## A cast\n\n{body}\n\n{note}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--types", default="q8_0,q4_0,f16")
    parser.add_argument("--casts", default=None)
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
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
        text, targets = section(a.types.split(","), casts, tokens, rounds, a.threads, a.quick)
        print(text)
        print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
