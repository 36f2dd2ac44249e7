"""A cast on the engines that know of one speaker at a time, each under a Python that has it and perhaps not modkit.

    python -m benchmarks.cast_rivals ENGINE --model GGUF --cast N --tokens N --threads N

llama_cpp_python: one model, whose callers wait for each other, as its documentation asks for: a lock around each reply.
nobodywho: one model, a Chat and a thread for each speaker; it chooses its own number of inference threads. Prints one
JSON object, as the other ways of benchmarks/cast.py do. Standard library only, but for the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["CONTEXT", "RIVALS", "prompt", "result_of"]

CONTEXT = 768
WORDS = "the keeper of the lamp went out in the night and the harbour was dark and the ships did not see it "
FIRST = 400  # tokens of the one who speaks already when a second begins

Reply = Callable[[str, int], Iterator[object]]


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


def result_of(begun: float, times: Sequence[Sequence[float]], second: float) -> dict[str, float]:
    """times: when each token of each stream came; second: seconds until the second speaker's first."""
    end = max(t[-1] for t in times)
    return {
        "rate": sum(map(len, times)) / (end - begun),
        "first": sum(t[0] - begun for t in times) / len(times),
        "last": max(t[0] for t in times) - begun,
        "second": second,
        "share": _shares(times),
    }


def _together(replies: Sequence[Reply], tokens: int) -> dict[str, float]:
    """Each reply on a thread of its own; then one more beside somebody who speaks."""

    def speak(reply: Reply, text: str, count: int, seen: list[float]) -> None:
        for _ in reply(text, count):
            seen.append(time.perf_counter())

    def start(reply: Reply, text: str, count: int, seen: list[float]) -> threading.Thread:
        thread = threading.Thread(target=speak, args=(reply, text, count, seen), daemon=True)
        thread.start()
        return thread

    speak(replies[0], prompt(30), 8, [])
    times: list[list[float]] = [[] for _ in replies]
    begun = time.perf_counter()
    for thread in [start(reply, prompt(i), tokens, times[i]) for i, reply in enumerate(replies)]:
        thread.join()
    if len(replies) < 2:
        return result_of(begun, times, 0.0)
    first: list[float] = []
    other: list[float] = []
    running = start(replies[0], prompt(20), FIRST, first)
    while len(first) < 10:
        time.sleep(0.0005)
    asked = time.perf_counter()
    start(replies[1], prompt(21, long=True), 4, other).join()
    running.join()
    return result_of(begun, times, other[0] - asked)


def llama_cpp_python(model: Path, cast: int, threads: int) -> list[Reply]:
    import llama_cpp  # type: ignore[import-not-found]

    engine = llama_cpp.Llama(
        str(model),
        n_ctx=CONTEXT,
        n_batch=512,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        verbose=False,
    )
    lock = threading.Lock()

    def reply(text: str, tokens: int) -> Iterator[object]:
        with lock:
            for chunk in engine.create_completion(text, max_tokens=tokens, temperature=0.0, stream=True):
                if not chunk["choices"][0]["finish_reason"]:
                    yield chunk

    return [reply] * cast


def nobodywho(model: Path, cast: int, threads: int) -> list[Reply]:
    import nobodywho as nw  # type: ignore[import-not-found]

    loaded = nw.Model(str(model), use_gpu_if_available=False)

    def reply_of() -> Reply:
        chat = nw.Chat(loaded, n_ctx=CONTEXT, sampler=nw.SamplerPresets.greedy())

        def reply(text: str, tokens: int) -> Iterator[object]:
            chat.reset_history()
            for count, piece in enumerate(chat.ask(text), 1):
                yield piece
                if count >= tokens:
                    chat.stop_generation()
                    return

        return reply

    return [reply_of() for _ in range(cast)]


RIVALS = {"llama_cpp_python": llama_cpp_python, "nobodywho": nobodywho}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=RIVALS)
    parser.add_argument("--model", type=Path, required=True)
    for name in ("--cast", "--tokens", "--threads"):
        parser.add_argument(name, type=int, required=True)
    a = parser.parse_args()
    print(json.dumps(_together(RIVALS[a.engine](a.model, max(2, a.cast), a.threads)[: a.cast], a.tokens)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
