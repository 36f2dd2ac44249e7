"""What an engine hears of its worker: records on their way to the streams they belong to, and how it ended.

On the thread that owns the engine, inside tick(). A tick with no news makes no C call: it compares one number in
shared memory.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack

from modkit.engine.pending import Pending
from modkit.errors import (
    ContextOverflow,
    EngineClosed,
    EngineDied,
    EngineError,
    GrammarError,
    ModelError,
    ModkitError,
    OptionError,
    OutOfMemory,
    WrongThread,
)
from modkit.native.worker import Worker, WorkerState

__all__ = ["Hearing"]

_llama_log = logging.getLogger("modkit.llama")

# By names of their own: a look into a class costs a cold frame more than the comparison.
_TOKEN, _DONE = Worker.TOKEN, Worker.DONE
_FINISH = ("stop", "length", "cancelled", "stop")


def _grammar_error(message: str) -> GrammarError:
    """With the place that the worker's sentence names."""
    place = re.match(r"line (\d+), column (\d+)(?: in rule '([^']*)')?", message)
    if place is None:
        return GrammarError(message)
    return GrammarError(message, line=int(place[1]), column=int(place[2]), rule=place[3])


_ERRORS: dict[int, Callable[[str], ModkitError]] = {
    Worker.CODE_OVERFLOW: ContextOverflow,
    Worker.CODE_GRAMMAR: _grammar_error,
    Worker.CODE_OPTION: OptionError,
}


class Hearing:
    """The half of an engine that listens. `_worker` and `path` are made by who makes the engine."""

    path: Path
    name: str
    context: int
    _worker: Worker

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._streams: dict[int, Pending[Any]] = {}
        self._prepared: deque[Callable[[], None]] = deque()
        self._begin_records()
        self._failure: ModkitError | None = None
        self._raised = False
        self._closed = True  # until there is a worker to close

    @property
    def loading(self) -> bool:
        """True until the model is ready or has failed; tick() says which."""
        return not self._closed and self._failure is None and not self.ready

    @property
    def ready(self) -> bool:
        """True while the engine can speak."""
        return self._worker.info is not None and self._failure is None and not self._closed

    def tick(self) -> None:
        """Hands over what has arrived since the last tick. Call it once a frame; it never waits.

        Raises ModelError when the model could not be loaded and EngineDied when llama.cpp failed an
        assertion, each once; all streams have ended with that error by then, and later ticks do nothing.
        """
        if threading.get_ident() != self._thread:  # the check is written out: a frame's own work leaves
            self._check_thread()  # this code cold in the caches, and then each call costs microseconds
        if self._prepared:
            self._run_prepared()
        worker = self._worker
        if worker.words[0] != worker.seen:
            self._read(worker)
        if worker.states[0] != worker.seen_state:
            self._look_at_state(worker)
        if self._failure is not None and not self._raised:
            self._raised = True
            raise self._failure

    def attach(self) -> None:
        """Makes the calling thread the owner, for a host that loads on one thread and plays on another.

        The one call that any thread may make; the owner so far must make none any more.
        """
        self._thread = threading.get_ident()

    # ---- inside tick() ----

    def _look_at_state(self, worker: Worker) -> None:
        if self._failure is None and not self._closed and worker.state() is WorkerState.DEAD:
            self._die(worker.death())

    def _begin_records(self) -> None:
        self._unpacker = msgpack.Unpacker(raw=False, unicode_errors="replace", max_buffer_size=1 << 24)
        self._fed = 0  # bytes given to the unpacker so far

    def _read(self, worker: Worker) -> None:
        """Hands on each record. Iterating over the unpacker would end in an exception every time, which
        costs several times what the record does; so it is asked only while there is something left. To hand on a share
        of a crowd's words and the rest in the next frame was tried twice: the first record of a cold frame is what
        costs, and there are then twice as many of those."""
        unpacker = self._unpacker
        self._fed += worker.feed(unpacker)
        streams = self._streams
        while unpacker.tell() < self._fed:
            try:
                event = unpacker.unpack()
            except msgpack.OutOfData:  # a full buffer may end inside a record
                break
            kind = event[1]
            if kind == _TOKEN:
                stream = streams.get(event[0])
                if stream is not None:
                    stream._feed(event[3], event[2])
            elif event[0] == 0:
                self._own_event(kind, event)
            else:
                self._stream_event(streams, kind, event)

    def _stream_event(self, streams: dict[int, Pending[Any]], kind: int, event: list[Any]) -> None:
        stream = streams.get(event[0])
        if stream is None:
            return
        if kind == _DONE:
            del streams[event[0]]
            finish, generated, first, rest, text = event[2:]
            if text:
                stream._feed(text)
            stats = stream.stats
            stats.generated_tokens = len(stream.tokens) if stream._cancelled else generated
            stats.time_to_first_token = first
            stats.tokens_per_second = (generated - 1) / rest if generated > 1 and rest > 0 else 0.0
            stream._end(_FINISH[finish], keep_tokens=finish != Worker.STOP_STRING)
        elif kind == Worker.STARTED:
            stream._started(event[2], event[3])
        elif kind == Worker.THOUGHT:
            stream._thought(event[3])
        elif kind == Worker.LOGPROBS:
            stream._told(event[2:])
        elif kind == Worker.LEFT:
            stream._dropped(event[2], event[3])
        else:
            del streams[event[0]]
            stream._end("error", _ERRORS.get(event[2], EngineError)(event[3]))

    def _own_event(self, kind: int, event: list[Any]) -> None:
        if kind == Worker.LOG:
            _llama_log.log({1: 10, 2: 20, 3: 30, 4: 40}.get(event[2], 10), "%s", event[3])
        elif kind == Worker.LOADED:
            info = self._worker.loaded()
            self.name = info["name"] or self.path.stem
            self.context = info["context"]
            self._loaded(info)
        elif kind == Worker.FAILED:
            kind_of = OutOfMemory if event[3] == Worker.FAILED_MEMORY else ModelError
            self._fail(kind_of(f"{self.path} cannot be loaded: {event[2]}"))

    def _loaded(self, info: dict[str, Any]) -> None:
        """The model is there; `info` is what it says of itself."""

    def _die(self, message: str) -> None:
        if self._worker.info is None and "pre-allocated tensor (cache_" in message:
            # what a GPU's backend says of a KV cache larger than one of its buffers can be
            self._fail(OutOfMemory(f"{self.path} cannot be loaded: its context is too long for the GPU: {message}"))
        elif self._worker.info is None:
            self._fail(ModelError(f"{self.path} cannot be loaded: llama.cpp gave up on it: {message}"))
        else:
            self._fail(EngineDied(f"llama.cpp failed and its thread is parked: {message}; make a new Engine"))

    def _fail(self, error: ModkitError) -> None:
        self._failure = error
        self._end_all(error)

    def _end_all(self, error: ModkitError, also: Iterable[Pending[Any]] = ()) -> None:
        streams = [*self._streams.values(), *also]
        self._streams.clear()
        for stream in streams:
            stream._end("cancelled" if stream._cancelled else "error", None if stream._cancelled else error)

    def _run_prepared(self) -> None:
        while self._prepared:
            self._prepared.popleft()()

    # ---- who may ask ----

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise WrongThread(
                f"this engine belongs to thread {self._thread}, not {threading.get_ident()};"
                " call it there, or call engine.attach() on the new thread once"
            )

    def _check_alive(self) -> None:
        if self._closed:
            raise EngineClosed("the engine is closed; make a new one")
        if self._failure is not None:
            raise self._failure
