"""What a load does to the frames beside it, and what one more character costs in memory.

    python -m benchmarks.loading [--rounds 5] [--quick]

The game runs 60 frames a second of 2 ms Python while the model is loaded: by an engine that loads on its own thread
(modkit), or on a thread of the game's, as rivals are used. The longest time between two frames is what the player
sees. Then characters come one after another into the engine that is there, and each says eight tokens: modkit's share
one slot, a rival's have a context of 1,024 tokens each, for it knows no other way. Rivals are found as benchmarks.frame
finds them. Each measurement is a process of its own; the model file is in the page cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import hosts
from benchmarks.child import ChildFailed, measured
from benchmarks.figures import table
from benchmarks.frame import RIVALS, python_for
from benchmarks.models import frame_model, small_model

__all__ = ["main"]

CONTEXT = 1024
WORK_NS = 2_000_000
CHARACTERS = 8
PROMPT = "Once upon a time the keeper {} went out to the light"


# ---- in the child ----


def _gaps(ready: Callable[[], bool]) -> list[float]:
    """Milliseconds between frames until it is ready, and for a quarter of a second more."""
    gaps: list[float] = []
    last, end = time.perf_counter_ns(), 0.0
    while not end or time.perf_counter() < end:
        begun = time.perf_counter_ns()
        if not end and ready():
            end = time.perf_counter() + 0.25
        while time.perf_counter_ns() - begun < WORK_NS:
            hosts.work(50)
        time.sleep(max(0.0, (hosts.FRAME_NS - (time.perf_counter_ns() - begun)) / 1e9))
        now = time.perf_counter_ns()
        gaps.append((now - last) / 1e6)
        last = now
    return gaps


def _result(begun: float, gaps: list[float], characters: Callable[[int], Any]) -> dict[str, float]:
    seconds = time.perf_counter() - begun - 0.25
    kept = [characters(0)]
    before = hosts.rss_kib()
    kept += [characters(i + 1) for i in range(CHARACTERS)]
    more = (hosts.rss_kib() - before) / CHARACTERS / 1024
    return {"seconds": seconds, "longest": max(gaps), "frames": len(gaps), "more": more, "kept": len(kept)}


def modkit(model: Path, isolated: bool) -> dict[str, float]:
    from modkit import Chat, Engine, IsolatedEngine

    begun = time.perf_counter()
    engine: Engine = (IsolatedEngine if isolated else Engine)(model, context=CONTEXT, threads=1, gpu_layers=0)

    def ready() -> bool:
        engine.tick()
        return engine.ready

    def character(i: int) -> Any:
        chat = Chat(engine, PROMPT.format(i))
        chat.say("Who are you?", max_tokens=8).result()
        return chat

    gaps = _gaps(ready)
    try:
        return _result(begun, gaps, character)
    finally:
        engine.close()


def _in_a_thread(load: Callable[[], None]) -> Callable[[], bool]:
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return lambda: not thread.is_alive()


def llama_cpp_python(model: Path) -> dict[str, float]:
    import llama_cpp  # type: ignore[import-not-found]

    def load() -> Any:
        return llama_cpp.Llama(str(model), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, n_gpu_layers=0, verbose=False)

    def character(i: int) -> Any:
        made = load()
        made.create_completion(PROMPT.format(i), max_tokens=8)
        return made

    kept: list[Any] = []
    begun = time.perf_counter()
    return _result(begun, _gaps(_in_a_thread(lambda: kept.append(load()))), character)


def nobodywho(model: Path) -> dict[str, float]:
    import nobodywho as nw  # type: ignore[import-not-found]

    kept: list[Any] = []

    def character(i: int) -> Any:
        chat = nw.Chat(kept[0], n_ctx=CONTEXT)
        for count, _ in enumerate(chat.ask(PROMPT.format(i)), 1):
            if count >= 8:
                chat.stop_generation()
                break
        return chat

    def load() -> None:
        kept.append(nw.Model(str(model), use_gpu_if_available=False))

    begun = time.perf_counter()
    return _result(begun, _gaps(_in_a_thread(load)), character)


# ---- in the parent ----


def measure(way: str, model: Path) -> dict[str, float]:
    """One load in a fresh process. Raises ChildFailed."""
    found: dict[str, float] = measured("benchmarks.loading", "--child", way, "--model", model, python=python_for(way))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a model of 20 MB, one round")
    for name in ("--child", "--model"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        model = Path(a.model)
        ways: dict[str, Callable[[], dict[str, float]]] = {
            "modkit": lambda: modkit(model, False),
            "isolated": lambda: modkit(model, True),
            "llama_cpp_python": lambda: llama_cpp_python(model),
            "nobodywho": lambda: nobodywho(model),
        }
        print(json.dumps(ways[a.child]()))
        return
    model, rounds = (small_model(), 1) if a.quick else (frame_model(), a.rounds)
    names = ["modkit", "isolated", *(name for name in RIVALS if python_for(name))]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            try:
                found[name].append(measure(name, model))
            except ChildFailed as error:
                print(f"{name}: {error}", file=sys.stderr)
    rows = []
    for name in names:
        if found[name]:
            seconds, longest, more = (median(r[key] for r in found[name]) for key in ("seconds", "longest", "more"))
            worst = max(r["longest"] for r in found[name])
            rows.append([name, f"{seconds:.2f}", f"{longest:.1f}", f"{worst:.1f}", f"{more:.2f}"])
    head = ("engine", "load, s", "longest frame, ms", "worst of all, ms", "a character more, MB")
    print(f"## Loading\n\n{table(head, rows)}\n")
    print(f"Model of {model.stat().st_size / 1e6:.0f} MB; frames of 16.7 ms; medians of {rounds} round(s).")


if __name__ == "__main__":
    main()
