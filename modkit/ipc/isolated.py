"""`IsolatedEngine`: an Engine whose llama.cpp runs in a supervised child process.

Everything on the game's side is Engine itself: templates, streams, the helper thread. Only the worker is
elsewhere (child_worker.py). When the child goes, by a crash, a kill, no memory or a hang, the streams under
way end with EngineDied, another child is started with back-off, and what is asked meanwhile waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from modkit import errors
from modkit.engine.engine import Engine
from modkit.engine.engine import llama_log as _llama_log
from modkit.errors import EngineDied, EngineError, ModelError, ModkitError, ProtocolError
from modkit.ipc.child_worker import ChildWorker
from modkit.ipc.python import find_python
from modkit.ipc.records import check_record
from modkit.native.settings import Settings
from modkit.native.worker import Worker

if TYPE_CHECKING:
    from modkit.native.vocab import Vocab

__all__ = ["IsolatedEngine"]

log = logging.getLogger("modkit.ipc")

_TOKEN = Worker.TOKEN
STILLBORN = 5  # children in a row that end before they can speak, after which it is given up
_STEP = 0.5  # of time that one tick may count as silence: a host that was away has not been waiting


class IsolatedEngine(Engine):
    """The face of Engine; llama.cpp in a child process.

    Arguments as Engine's, and: python, the Python to start the child with (None: MODKIT_PYTHON, else the one that
    runs this process, when that is a Python and not a game with one inside). hang_timeout: seconds that the child
    may be silent, or compute without getting anywhere, before it is killed and started anew. memory_limit: bytes
    of address space for the child (None: the system's own limits; POSIX).

    Returns at once. Raises OptionError when no Python is found, ModelError when there is no such file. A child
    that goes ends its streams with EngineDied; `tick()` does not raise for that. It raises ModelError or
    LibraryError, once, when the first child says that the model cannot be used, and EngineDied when five in a row
    ended before they could speak.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *arguments: Any,
        python: str | os.PathLike[str] | None = None,
        hang_timeout: float = 20.0,
        memory_limit: int | None = None,
        **named: Any,
    ) -> None:
        self._closed = True  # until Engine.__init__ is through: nothing to warn about
        self._python = find_python(python)
        self._memory = memory_limit
        self.hang_timeout = hang_timeout
        self.restarts = 0
        self._stillborn = 0
        self._quick = 0
        self._ready_at: float | None = None
        self._spoken_once = False
        self._heard = 0
        self._ticks = 0
        self._done = (0, 0)
        self._silence = self._stuck = 0.0
        self._last_tick = time.monotonic()
        if isinstance(model, (str, os.PathLike)) and not Path(model).is_file():
            raise ModelError(f"{os.fspath(model)} does not exist or is a folder; give the path of a .gguf file")
        super().__init__(model, *arguments, **named)

    def _start_worker(self, settings: Settings, library: str | os.PathLike[str] | None) -> Worker:
        level = _llama_log.getEffectiveLevel()
        self._child = ChildWorker(self._python, self.path, asdict(settings), library, level, self._memory)
        return self._child

    @property
    def info(self) -> dict[str, Any]:
        """As Engine.info."""
        found = super().info
        found.pop("metadata", None)
        return found

    @property
    def metadata(self) -> dict[str, str]:
        """As Engine.metadata, as the child found it; values of more than 131,072 characters are left out."""
        return dict((self._worker.info or {}).get("metadata", {}))

    @property
    def vocab(self) -> Vocab:
        """Raises EngineError: it lies in the other process, and looking into it there would take a frame's answer."""
        raise EngineError(
            "the vocabulary lies in the engine's process: open the file with modkit.native.Model(path, vocab_only=True)"
        )

    def perf(self) -> dict[str, float]:
        """Empty: llama.cpp's counters are in the other process; a stream's own are in its `stats`."""
        self._check_alive()
        return {}

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._child.pid

    def tick(self) -> None:
        """As Engine.tick(). Reads at most 16 KiB and never waits."""
        if threading.get_ident() != self._thread:
            self._check_thread()
        child = self._child
        inlet = child.inlet  # written out, like all of this: a frame's own work leaves the caches cold
        try:
            if inlet.written[0] != inlet.at or child.more or child.news:
                records = None if child.more or child.news else inlet.records()
                if records is not None:
                    child.heard += 1
                    child.seen = child.words[0] = child.words[0] + len(records)
                    self._unpacker.feed(records)
                    self._fed += len(records)
                    self._read_records()
                else:
                    self._hear(child)
            self._ticks += 1
            if not self._ticks & 15 and child.words[0] == child.seen:  # news is life enough
                self._watch()
            if child.words[0] != child.seen or self._prepared or self._failure is not None:
                super().tick()
        except ProtocolError as error:  # what such a child says next is worth nothing
            log.warning("%s: %s", self.path.name, error)
            child.distrust(str(error))
            self._begin_records()

    def _hear(self, child: ChildWorker) -> None:
        if self._closed or self._failure is not None:
            return
        why = child.pump()
        if why is not None:
            self._child_gone(why)
        elif child.failed is not None or child.refused:
            self._refusals()

    def _read(self, worker: Worker) -> None:
        self._fed += worker.feed(self._unpacker)
        self._read_records()

    def _read_records(self) -> None:
        """As Hearing._read(), but that nothing is believed: a child's memory may be in ruins when it says its last."""
        unpacker, streams = self._unpacker, self._streams
        while unpacker.tell() < self._fed:
            try:
                event = unpacker.unpack()
            except msgpack.OutOfData:
                break
            except (ValueError, TypeError, msgpack.UnpackException) as error:
                raise ProtocolError(f"the engine's process sent records that are none: {str(error)[:100]}") from None
            if (  # a token, as nearly all are, whole
                type(event) is list
                and len(event) == 4
                and event[1] == _TOKEN
                and type(event[0]) is type(event[1]) is type(event[2]) is int
                and type(event[3]) is str
            ):
                stream = streams.get(event[0])
                if stream is not None:
                    stream._feed(event[3], event[2])
                continue
            check_record(event)
            if event[0] == 0:
                self._own_event(event[1], event)
            else:
                self._stream_event(streams, event[1], event)

    def _watch(self) -> None:
        """Kills a child that hangs: one that is not heard of, or has work and does not get on with it."""
        if self._closed or self._failure is not None:
            return
        now = time.monotonic()
        passed = min(now - self._last_tick, _STEP)
        self._last_tick = now
        child = self._child
        beats = child.beats
        if beats != self._heard or child.pid is None:
            self._heard = beats
            self._silence = 0.0
            done = (child.decoded, child.words[0])  # counted in the child now and then, and the words of the streams
            if done != self._done or child.info is None or not self._streams:
                self._done = done
                self._stuck = 0.0
        self._silence += passed
        self._stuck += passed
        if child.paused:
            self._stuck = 0.0
        if self._silence > self.hang_timeout or self._stuck > self.hang_timeout:
            log.warning("%s: the engine's process %s hangs and is killed", self.path.name, child.pid)
            self._silence = self._stuck = 0.0
            child.kill()

    def _refusals(self) -> None:
        child = self._child
        if child.failed is not None:
            kind, why = child.failed
            self._fail(_error(kind, why))
        refused, child.refused = child.refused, []
        for id, kind, why in refused:
            stream = self._streams.pop(id, None)
            if stream is not None:
                stream._end("error", _error(kind, why))

    def _child_gone(self, why: str) -> None:
        """Ends what was under way in it and starts another one, sooner when it had lived for a while."""
        worker = self._child
        try:
            while worker.words[0] != worker.seen and self._failure is None:
                self._read(worker)  # its last words
        except ProtocolError as wrong:
            log.warning("%s: %s", self.path.name, wrong)
        if self._failure is not None:
            return
        if self._ready_at is None:
            self._stillborn += 1
        else:
            self._stillborn = 0
            self._quick = 0 if time.monotonic() - self._ready_at > 10 else self._quick + 1
        lived, self._ready_at = self._ready_at is not None, None
        self._begin_records()  # what the old one left unfinished
        if self._stillborn >= STILLBORN:
            self._fail(EngineDied(f"{why}; that was {STILLBORN} times in a row, so it is given up: make a new engine"))
            return
        delay = _delay(self._quick) if lived else min(4.0, 0.1 * 2**self._stillborn)
        log.warning("%s: %s; another one is started in %.2f s", self.path.name, why, delay)
        self.restarts += 1
        self._child.restart(delay)
        error = EngineDied(f"{why}; another one is being started, ask again")
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:  # last: what hears of the end may ask again, and that is for the next child
            stream._end("cancelled" if stream._cancelled else "error", None if stream._cancelled else error)

    def _own_event(self, kind: int, event: list[Any]) -> None:
        super()._own_event(kind, event)
        if kind == Worker.LOADED:
            self._ready_at = time.monotonic()
            self._spoken_once = True

    def _fail(self, error: ModkitError) -> None:
        if isinstance(error, ModelError) and self._spoken_once and self._stillborn < STILLBORN:
            log.warning("%s (it could be loaded before: trying again)", error)
            self._child.kill()  # it could be loaded before, so memory or a disk is short just now
            return
        super()._fail(error)
        self._child.kill()


def _delay(quick: int) -> float:
    """Seconds until one that had lived is followed by the next: none, and a little when several went in a hurry."""
    return min(0.25, 0.01 * 2**quick) if quick else 0.0


def _error(kind: str, why: str) -> ModkitError:
    """An error of the child as one of ours, by its name."""
    found = getattr(errors, kind, errors.EngineError) if kind in errors.__all__ else errors.EngineError
    made: ModkitError = found(why)
    return made
