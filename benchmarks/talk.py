"""A cast as it talks in a game: Sable's replies about what she remembers, each engine as it comes.

    python -m benchmarks.talk [--quick] [--types q8_0,q4_0,f16] [--casts 2,4,6,8] [--rounds 5]

benchmarks.cast measures the scheduler alone, on random weights and without drafts. Here the replies are real: the
demo's model in the shape of one of 250 million weights, asked about facts that training never had, one of three
memories being the answer. Prompts are in the cache before they are asked, as they are in a game from the second turn
on. `together`: one engine, all at once, as it comes (drafts where they pay); `in turn`: the same one, one after
another; `server`: xllamacpp's own, as it comes (its speculation is off unless somebody sets it up), a slot for each.
Same library, threads, messages and template; greedy; each way a process of its own. A ratio is the median of the
rounds' own.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.child import measured
from benchmarks.drafts import prompts
from benchmarks.figures import Target, table
from benchmarks.models import quoting_model
from benchmarks.server import started

__all__ = ["main", "section"]

WAYS = ("together", "in turn", "server")
CONTEXT = 1024
MOST = 80  # tokens of a reply, which ends by itself before


def asked(cast: int, turn: int) -> list[list[dict[str, str]]]:
    """The messages of each speaker in that turn: no two are the same."""
    told = prompts("sable", 60)["quotes"]
    return [told[(cast * turn + i) % len(told)][0] for i in range(cast)]


# ---- in the child ----


def with_modkit(model: Path, cast: int, turns: int, threads: int, together: bool) -> dict[str, Any]:
    from modkit import Engine

    tokens, seconds, texts = 0, 0.0, []
    with Engine(model, context=CONTEXT, slots=cast, threads=threads, gpu_layers=0) as engine:
        while engine.loading:
            engine.tick()
        time.sleep(3.0)  # it learns what a batch costs
        for turn in range(turns):
            messages = asked(cast, turn)
            for one in messages:
                engine.chat(one, max_tokens=1, temperature=0).result()
            begun = time.perf_counter()
            streams: list[Any] = []
            for one in messages:
                streams.append(engine.chat(one, max_tokens=MOST, temperature=0))
                while not together and not streams[-1].done:
                    engine.tick()
                    time.sleep(0.0005)
            while not all(stream.done for stream in streams):
                engine.tick()
                time.sleep(0.0005)
            seconds += time.perf_counter() - begun
            tokens += sum(len(stream.tokens) for stream in streams)
            texts += [stream.text for stream in streams]
    return {"rate": tokens / seconds, "texts": texts}


def with_server(model: Path, cast: int, turns: int, threads: int) -> dict[str, Any]:
    server = started(model, cast, CONTEXT, threads)

    def ask(slot: int, messages: Sequence[dict[str, str]], n: int, heard: list[str]) -> None:
        def hear(chunk: str) -> bool:  # takes Python's lock for every token, as its users' does
            for choice in json.loads(chunk).get("choices", ()):
                text = choice.get("delta", {}).get("content")
                if text:
                    heard.append(text)
            return False

        body = {"messages": messages, "max_tokens": n, "temperature": 0, "id_slot": slot, "stream": True}
        server.handle_chat_completions(json.dumps(body), hear)

    tokens, seconds, texts = 0, 0.0, []
    for turn in range(turns):
        messages = asked(cast, turn)
        for slot, one in enumerate(messages):
            ask(slot, one, 1, [])
        heard: list[list[str]] = [[] for _ in messages]
        begun = time.perf_counter()
        threads_ = [
            threading.Thread(target=ask, args=(slot, one, MOST, heard[slot])) for slot, one in enumerate(messages)
        ]
        for thread in threads_:
            thread.start()
        for thread in threads_:
            thread.join()
        seconds += time.perf_counter() - begun
        tokens += sum(map(len, heard))
        texts += ["".join(said) for said in heard]
    return {"rate": tokens / seconds, "texts": texts}


# ---- in the parent ----


def measure(way: str, model: Path, cast: int, turns: int, threads: int) -> dict[str, Any]:
    """One cell in a fresh process. Raises ChildFailed."""
    asked = ("--child", way, "--model", model, "--cast", cast, "--turns", turns, "--threads", threads)
    found: dict[str, Any] = measured("benchmarks.talk", *asked)
    return found


def section(
    types: Sequence[str], casts: Sequence[int], turns: int, rounds: int, threads: int, quick: bool
) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets, wins, cells = [], [], 0, 0
    for kind in types:
        for cast in casts:
            found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for index in range(rounds):
                for way in WAYS if index % 2 == 0 else reversed(WAYS):
                    found[way].append(measure(way, quoting_model(kind, quick), cast, turns, threads))
                    rate = found[way][-1]["rate"]
                    print(f"{kind}, {cast} speakers, {way}: {rate:.1f} tok/s", file=sys.stderr, flush=True)
            rates = [f"{median(r['rate'] for r in found[way]):.1f}" for way in WAYS]
            ratio = {
                way: median(a["rate"] / b["rate"] for a, b in zip(found["together"], found[way], strict=True))
                for way in WAYS[1:]
            }
            pairs = list(zip(found["together"][0]["texts"], found["server"][0]["texts"], strict=True))
            same = sum(a.strip() == b.strip() for a, b in pairs)
            ratios = [f"{ratio[way]:.2f}" for way in WAYS[1:]]
            rows.append([kind, str(cast), *rates, *ratios, f"{same} of {len(pairs)}"])
            cells += 1
            wins += ratio["server"] >= 1.2
            for other in WAYS[1:]:
                targets.append(
                    Target(f"{kind}, {cast} speakers: ≥ 1.0 × {other}", f"{ratio[other]:.2f} ×", ratio[other] >= 1)
                )
    targets.append(Target("≥ 1.2 × the server in a third of the cells", f"{wins} of {cells}", 3 * wins >= cells))
    note = (
        f"Sable in 250 million weights, what she remembers; {turns} turns of each, prompts cached, {threads} thread(s),"
        f" greedy, each engine as it comes, medians of {rounds} round(s)."
    )
    head = ("weights", "speakers", *(f"{way}, tok/s" for way in WAYS), *(f"/ {way}" for way in WAYS[1:]), "same text")
    return f"## A cast that talks\n\n{table(head, rows)}\n\n{note}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="her own shape, one round")
    parser.add_argument("--types", default="q8_0,q4_0,f16")
    parser.add_argument("--casts", default=None)
    parser.add_argument("--turns", type=int, default=None, help="of each speaker")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    for name in ("--child", "--model"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--cast", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    turns, rounds = a.turns or (1 if a.quick else 3), a.rounds or (1 if a.quick else 5)
    if a.child == "server":
        print(json.dumps(with_server(Path(a.model), a.cast, turns, a.threads)))
    elif a.child:
        print(json.dumps(with_modkit(Path(a.model), a.cast, turns, a.threads, a.child == "together")))
    else:
        casts = [int(n) for n in (a.casts or ("2,4" if a.quick else "2,4,6,8")).split(",")]
        text, targets = section(a.types.split(","), casts, turns, rounds, a.threads, a.quick)
        print(text)
        print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
