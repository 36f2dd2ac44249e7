"""One cell of the frame table, measured in this process, as one JSON object on stdout.

    python -m benchmarks.cells ENGINE MODE --model FILE --work AMOUNT [--tokens N] [--streams N]

ENGINE: shared (the C loop through cffi), beside (the C loop's program, a process of its own), modkit,
llama_cpp_python, nobodywho. MODE: see benchmarks/hosts.py.
The rivals run under a Python that has them and not modkit: so imports are inside the functions. A rival
speaks on a thread of its own and hands pieces to the frame through a deque, as its users do; its tick is
the emptying of that deque.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import hosts

if TYPE_CHECKING:
    from modkit import Stream

__all__ = ["CONTEXT", "PROMPT", "THREADS"]

CONTEXT = 1024
THREADS = 1
PROMPT = "Once upon a time the keeper went out to the light"
WARM_UP = 16  # tokens of the reply that is not counted
QUIET_FRAMES = 300  # frames before, and as many after, with an engine that has nothing to do
QUIET_TICKS = 500  # the same for the idle host, whose frames are ticks of a millisecond

Result = dict[str, Any]


def _result(quiet: hosts.Frames, loud: hosts.Frames, faults: int, count: int) -> Result:
    return {
        "rss_kib": hosts.rss_kib(),  # first: what follows is the benchmark's own memory
        "tokens": count,
        "quiet_work_ns": list(quiet.work),
        "quiet_tick_ns": list(quiet.tick),
        "work_ns": list(loud.work),
        "tick_ns": list(loud.tick),
        "faults": faults,
    }


def _between_quiet(
    a: argparse.Namespace, tick: Callable[[], None], loud: Callable[[], hosts.Frames]
) -> tuple[hosts.Frames, hosts.Frames, int]:
    """The frames without generation, those of loud(), and the page faults of these. Half of the former come before and
    half after, for a machine that is shared grows faster or slower by more in ten seconds than what is looked for."""
    frames = QUIET_TICKS if a.mode == "idle" else QUIET_FRAMES
    before = hosts.run(a.mode, a.work, tick, lambda n: n >= frames)
    faults = hosts.faults()
    played = loud()
    faults = hosts.faults() - faults
    after = hosts.run(a.mode, a.work, tick, lambda n: n >= frames)
    return hosts.Frames([*before.work, *after.work], [*before.tick, *after.tick]), played, faults


def modkit(a: argparse.Namespace) -> Result:
    from modkit import Engine

    with Engine(a.model, context=CONTEXT, slots=a.streams, threads=THREADS, gpu_layers=0) as engine:
        while engine.loading:
            engine.tick()
            time.sleep(0.001)
        engine.generate(PROMPT, max_tokens=WARM_UP, temperature=0).result()
        prompts = [PROMPT + " and" * i for i in range(a.streams)]
        streams: list[Stream] = []
        seen = [0.0, 0.0, 0.0]  # host's clock at the first words, how many they were, its clock at the end

        def over(_: int) -> bool:
            if not seen[0] and streams[0].stats.generated_tokens:
                seen[0], seen[1] = time.perf_counter(), streams[0].stats.generated_tokens
            return all(stream.done for stream in streams)

        def speak() -> hosts.Frames:
            streams.extend(engine.generate(prompt, max_tokens=a.tokens, temperature=0) for prompt in prompts)
            played = hosts.run(a.mode, a.work, engine.tick, over)
            seen[2] = time.perf_counter()
            return played

        quiet, loud, faults = _between_quiet(a, engine.tick, speak)
        count = sum(stream.stats.generated_tokens for stream in streams)
        result = _result(quiet, loud, faults, count)
        result["tokens_per_second"] = sum(stream.stats.tokens_per_second for stream in streams)
        # the host's own clock, coarse by a frame, so that the worker's figure is not only its own word
        if a.streams == 1 and seen[2] > seen[0]:
            result["seen_tokens_per_second"] = (count - seen[1]) / (seen[2] - seen[0])
        result["token_ids"] = list(streams[0].tokens)
        result["library"] = f"llama.cpp {engine.library.version} ({engine.library.path.name})"
    return result


class _Speaker:
    """A rival's reply, spoken on a thread of its own; `counted` pieces and when the first and last came."""

    def __init__(self, pieces: Iterator[Any]) -> None:
        self.arrived: deque[Any] = deque()
        self.text: list[str] = []
        self.counted, self.first, self.last = 0, 0.0, 0.0
        self.done = False
        self._pieces = pieces
        self._thread = threading.Thread(target=self._speak, daemon=True)
        self._thread.start()

    def _speak(self) -> None:
        for piece in self._pieces:
            self.last = time.perf_counter()
            if self.counted == 0:
                self.first = self.last
            self.counted += 1
            self.arrived.append(piece)
        self.done = True

    def tick(self) -> None:
        arrived = self.arrived
        while arrived:
            self.text.append(arrived.popleft())

    def rate(self) -> float:
        return (self.counted - 1) / (self.last - self.first) if self.counted > 1 else 0.0


def _measure_rival(a: argparse.Namespace, reply: Callable[[int], Iterator[Any]]) -> Result:
    for _ in reply(WARM_UP):
        pass
    speaker: _Speaker | None = None

    def tick() -> None:
        if speaker is not None:
            speaker.tick()

    def speak() -> hosts.Frames:
        nonlocal speaker
        speaker = speaking = _Speaker(reply(a.tokens))
        return hosts.run(a.mode, a.work, tick, lambda _: speaking.done)

    quiet, loud, faults = _between_quiet(a, tick, speak)
    assert speaker is not None
    result = _result(quiet, loud, faults, speaker.counted)
    result["tokens_per_second"] = speaker.rate()
    return result


def llama_cpp_python(a: argparse.Namespace) -> Result:
    import llama_cpp  # type: ignore[import-not-found]

    model = llama_cpp.Llama(
        a.model,
        n_ctx=CONTEXT,
        n_batch=512,
        n_threads=THREADS,
        n_threads_batch=THREADS,
        n_gpu_layers=0,
        verbose=False,
    )

    def reply(tokens: int) -> Iterator[str]:
        for chunk in model.create_completion(PROMPT, max_tokens=tokens, temperature=0.0, stream=True):
            if not chunk["choices"][0]["finish_reason"]:  # the last chunk carries the reason and no token
                yield chunk["choices"][0]["text"]

    return {**_measure_rival(a, reply), "library": f"llama-cpp-python {llama_cpp.__version__}"}


def nobodywho(a: argparse.Namespace) -> Result:
    from importlib.metadata import version

    import nobodywho as nw  # type: ignore[import-not-found]

    model = nw.Model(a.model, use_gpu_if_available=False)
    chat = nw.Chat(model, n_ctx=CONTEXT, sampler=nw.SamplerPresets.greedy())

    def reply(tokens: int) -> Iterator[str]:
        chat.reset_history()
        for count, piece in enumerate(chat.ask(PROMPT), 1):
            yield piece
            if count >= tokens:  # it has no limit of its own
                chat.stop_generation()
                return

    return {**_measure_rival(a, reply), "library": f"nobodywho {version('nobodywho')}"}


def shared(a: argparse.Namespace) -> Result:
    from benchmarks import plain
    from modkit.native import load

    library = load()
    measured = plain.run_shared(
        plain.compile_shared(),
        library,
        plain.params(library, CONTEXT, THREADS),
        Path(a.model),
        PROMPT,
        a.tokens,
    )
    return {
        **measured,
        "token_ids": measured["tokens"],
        "tokens": len(measured["tokens"]),
        "library": f"llama.cpp {library.version} ({library.path.name})",
    }


def beside(a: argparse.Namespace) -> Result:
    """What any generation costs the frames of this machine: the game here, the C loop in another process."""
    from benchmarks import plain
    from modkit.native import load

    library = load()
    program = plain.compile_program(library.path)
    blobs = plain.params(library, CONTEXT, THREADS)
    measured: Result = {}

    def speak() -> hosts.Frames:
        started = plain.start_program(program, library.path, blobs, Path(a.model), PROMPT, a.tokens)
        assert started.stderr is not None
        if started.stderr.readline().strip() != "warm":
            plain.result_of(started)  # raises what it said
        played = hosts.run(a.mode, a.work, lambda: None, lambda _: started.poll() is not None)
        measured.update(plain.result_of(started))
        return played

    quiet, loud, _ = _between_quiet(a, lambda: None, speak)
    return {
        **_result(quiet, loud, measured["faults"], measured["tokens"]),
        **{key: measured[key] for key in ("tokens_per_second", "rss_kib", "token_ids")},
        "library": f"llama.cpp {library.version} ({library.path.name})",
    }


ENGINES = {
    "shared": shared,
    "beside": beside,
    "modkit": modkit,
    "llama_cpp_python": llama_cpp_python,
    "nobodywho": nobodywho,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("mode", choices=hosts.MODES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--streams", type=int, default=1)
    a = parser.parse_args()
    result = ENGINES[a.engine](a)
    print(json.dumps(result))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
