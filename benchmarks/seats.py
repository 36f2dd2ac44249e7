"""Some of a cast: eight characters have been spoken to, then two or four of them who are no neighbours speak at once.

    python -m benchmarks.seats [--quick] [--types q8_0,q4_0,f16] [--rounds 3]

llama.cpp computes together only sequences whose numbers follow each other. In modkit's engine and in xllamacpp's
server, each in a process of its own with eight slots: tokens a second of those who speak, when they are the first of
the eight (`neighbours`) and when one or more sit between any two of them (`scattered`). Every prompt but its last
words is in the cache. A ratio is the median of the rounds' own.
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

from benchmarks.cast_rivals import CONTEXT, prompt
from benchmarks.child import measured
from benchmarks.figures import Target, table
from benchmarks.models import cast_model
from benchmarks.server import started

__all__ = ["main", "section"]

CAST = 8
WHO = {"neighbours": {2: (0, 1), 4: (0, 1, 2, 3)}, "scattered": {2: (0, 4), 4: (0, 2, 5, 7)}}
WAYS = ("modkit", "server")

Ask = Callable[[Sequence[str], int], None]
"""Asks for replies of so many tokens to all of these at once, and returns when all are said."""


# ---- in the child ----


def _rates(ask: Ask, tokens: int) -> dict[str, float]:
    """By how many speak and who; the scattered come first, while every slot is where its conversation began."""
    asked = [prompt(i, long=True) for i in range(CAST)]
    rates = {}
    ask(asked, 4)
    for kind in ("scattered", "neighbours"):
        for count, who in WHO[kind].items():
            for i in who:
                asked[i] += " and the ships did"
            begun = time.perf_counter()
            ask([asked[i] for i in who], tokens)
            rates[f"{count} {kind}"] = count * tokens / (time.perf_counter() - begun)
    return rates


def with_modkit(model: Path, tokens: int, threads: int) -> dict[str, float]:
    from modkit import Engine

    with Engine(model, context=CONTEXT, slots=CAST, threads=threads, gpu_layers=0, cache_ram=None, draft=0) as engine:
        while engine.loading:
            engine.tick()
        time.sleep(3.0)  # it learns what a batch costs

        def ask(texts: Sequence[str], count: int) -> None:
            streams = [engine.generate(text, max_tokens=count, temperature=0) for text in texts]
            while not all(stream.done for stream in streams):
                engine.tick()
                time.sleep(0.0005)

        return _rates(ask, tokens)


def with_server(model: Path, tokens: int, threads: int) -> dict[str, float]:
    server = started(model, CAST, CONTEXT, threads)
    seats: dict[str, int] = {}  # by what a prompt begins with: the server itself would choose any slot at first

    def one(text: str, count: int) -> None:
        seat = seats.setdefault(text[:8], len(seats))
        body = {"prompt": text, "n_predict": count, "temperature": 0, "ignore_eos": True, "id_slot": seat}
        server.handle_completions(json.dumps({**body, "cache_prompt": True, "stream": True}), lambda _: False)

    def ask(texts: Sequence[str], count: int) -> None:
        threads = [threading.Thread(target=one, args=(text, count)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _rates(ask, tokens)


# ---- in the parent ----


def section(types: Sequence[str], tokens: int, rounds: int, threads: int, quick: bool) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets = [], []
    for kind in types:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for index in range(rounds):
            for way in WAYS if index % 2 == 0 else reversed(WAYS):
                asked = ("--model", cast_model(kind, quick), "--tokens", tokens, "--threads", threads)
                found[way].append(measured("benchmarks.seats", "--child", way, *asked))
                print(f"{kind}, {way}: {found[way][-1]}", file=sys.stderr, flush=True)
        for count in WHO["scattered"]:
            scattered, near = f"{count} scattered", f"{count} neighbours"
            own = median(r[scattered] / r[near] for r in found["modkit"])
            ratio = median(a[scattered] / b[scattered] for a, b in zip(*(found[way] for way in WAYS), strict=True))
            shown = [f"{median(r[who] for r in found[way]):.1f}" for way in WAYS for who in (near, scattered)]
            rows.append([kind, f"{count} of {CAST}", *shown, f"{own:.2f}", f"{ratio:.2f}"])
            name = f"{kind}, {count} of {CAST}, scattered: ≥ 1.0 × server"
            targets.append(Target(name, f"{ratio:.2f} ×", ratio >= 1))
    columns = [f"{way}, {who}, tok/s" for way in WAYS for who in ("neighbours", "scattered")]
    head = ("weights", "speak", *columns, "scattered / neighbours", "scattered / server's")
    note = f"{tokens} tokens each, {threads} thread(s), greedy, no drafts, medians of {rounds} round(s)."
    return f"## Some of a cast\n\n{table(head, rows)}\n\n{note}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--types", default="q8_0,q4_0,f16")
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    for name in ("--child", "--model"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    a = parser.parse_args()
    tokens, rounds = a.tokens or (16 if a.quick else 48), a.rounds or (1 if a.quick else 3)
    ways: dict[str, Any] = {"modkit": with_modkit, "server": with_server}
    if a.child:
        print(json.dumps(ways[a.child](Path(a.model), tokens, a.threads)))
    else:
        text, targets = section(a.types.split(","), tokens, rounds, a.threads, a.quick)
        print(text)
        print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
