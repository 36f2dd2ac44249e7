"""What the child of an IsolatedEngine does all day: one worker, its event records passed on as they are, calls taken.

It computes nothing itself: the C worker does, on its own thread. What the worker says goes out byte for byte; when the
parent does not read, the worker's ring fills and the worker waits. The end of stdin ends the process.
"""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path
from typing import Any

import msgpack

from modkit.errors import ModkitError, ProtocolError
from modkit.ipc.calls import ASKING, ONE_WAY, PROGRESS, options_from
from modkit.ipc.framing import ERROR, EVENT, RECORDS, REPLY, REQUEST
from modkit.ipc.leash import give_way, limit
from modkit.ipc.shared import Outlet
from modkit.ipc.transport import Connection
from modkit.native.vocab import read_metadata
from modkit.native.worker import Worker

__all__ = ["Service"]

STATUS_SECONDS = 0.25  # how often the parent hears that we live, while it hears nothing else
COUNTS_SECONDS = 5.0  # and how often the counters while it does: a frame that has to parse them is a slow one
ACTIVE_SECONDS = 0.004  # between looks at the ring while words come: each takes the game's processor for a moment
IDLE_SECONDS = 0.02  # and else, where the worker cannot wake us
CALM_SECONDS = 2.0  # without news until the looks become rare
MAX_VALUE = 1 << 17  # characters of one of the model's values that is passed on
ROOM = 1 << 16  # bytes that may wait for the parent before the worker's ring is left to fill


class _Tap:
    """Stands where an unpacker would, and keeps the bytes as they are."""

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: memoryview) -> None:
        self.data += bytes(data)


class Service:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.worker: Any = None
        self._vectors: dict[int, tuple[Any, int]] = {}  # of requests whose end has not been seen
        self._reader = msgpack.Unpacker(raw=False, unicode_errors="replace", max_buffer_size=1 << 24)
        self._wake = _wake_pipe()  # the worker writes a byte into it when there is news
        self._told_ready = False
        self._last_status = 0.0
        self._last_news = 0.0
        self._last_sent = 0.0
        self._decoded = self._beats = 0

    def run(self) -> None:
        while True:
            self.connection.flush()
            self.connection.receive()
            while (message := self.connection.decoder.next()) is not None:
                self._take(message)
                self._last_news = time.monotonic()
            self._pass_on()
            self._wait()

    def _take(self, message: list[Any]) -> None:
        if message[0] != REQUEST:
            raise ProtocolError("only requests are taken here")
        id, method, params = message[1:]
        try:
            if method == "start" and self.worker is None:
                self._start(params)
            elif method in ONE_WAY and self.worker is not None:
                self._call(method, params)
            else:
                raise ProtocolError(f"unknown method {method[:40]!r}")
        except ModkitError as error:
            kind = type(error).__name__
            if method in ASKING and self.worker is not None:
                refused = {"id": params.get("id", 0), "kind": kind, "why": str(error)}
                self.connection.send([EVENT, "refused", refused])
            elif id:
                self.connection.send([ERROR, id, kind, str(error)])
            else:
                raise
        else:
            if id:
                self.connection.send([REPLY, id, None])

    def _start(self, params: dict[str, Any]) -> None:
        from modkit.native.settings import Settings, configure

        limit(params.get("memory"))
        settings = Settings(**params["settings"])
        model, library, level = Path(params["model"]), params.get("library"), params["log_level"]
        self.worker = configure(model, settings, library, level, self._wake[1] if self._wake else 0)
        give_way()

    def _call(self, method: str, params: dict[str, Any]) -> None:
        if "options" in params:
            params["options"] = options_from(params["options"])
        made = getattr(self.worker, method)(**params)
        if made is not None:
            self._vectors[params["id"]] = (made, len(params.get("texts", ())))

    def _pass_on(self) -> None:
        worker, connection = self.worker, self.connection
        if worker is None or connection.outgoing > ROOM:
            return
        now = time.monotonic()
        tap = _Tap()
        if worker.words[0] != worker.seen:
            worker.feed(tap)
        state = worker.state()  # after the records: what the model is goes out before the record that says it is loaded
        if not self._told_ready and state.name == "READY":
            self._told_ready = True
            connection.send([EVENT, "info", {**worker.loaded(), "metadata": self._metadata()}])
        if tap.data:
            self._look_for_vectors(tap.data)
            connection.send([RECORDS, tap.data])
            self._last_news = self._last_sent = now
        if state.name == "DEAD":
            connection.send([EVENT, "dead", {"why": worker.death()}])
            deadline = now + 1.0
            while connection.outgoing and time.monotonic() < deadline:
                connection.flush()
            os._exit(70)
        self._tell(now)

    def _tell(self, now: float) -> None:
        """That we live, and how far the worker is."""
        worker, connection = self.worker, self.connection
        quiet = now - self._last_sent >= STATUS_SECONDS
        if now - self._last_status < (STATUS_SECONDS if quiet else COUNTS_SECONDS) or connection.outgoing:
            return
        self._last_status = now
        decoded, drafts = worker.decoded, worker.drafts
        if decoded != self._decoded:
            self._decoded, self._last_news = decoded, now
        if isinstance(connection.link, Outlet):
            self._beats += 1
            connection.link.tell(self._beats, int(worker.progress * PROGRESS), decoded, *drafts)
        else:
            connection.send(
                [EVENT, "status", {"progress": worker.progress, "decoded": decoded, "drafts": list(drafts)}]
            )

    def _metadata(self) -> dict[str, str]:
        """The model's own keys and values, as far as they are no longer than a template is."""
        found = read_metadata(self.worker.library, self.worker.address("model"))
        return {key: value for key, value in found.items() if len(value) <= MAX_VALUE}

    def _look_for_vectors(self, records: bytes) -> None:
        """What a request for vectors has made goes out before the record that says it is done."""
        self._reader.feed(records)
        for event in self._reader:
            asked = self._vectors.pop(event[0], None) if event[1] in (Worker.DONE, Worker.ERROR) else None
            if asked is not None and event[1] == Worker.DONE and event[2] == 0:
                vectors, texts = asked
                view = vectors.view()
                made = {"id": event[0], "shape": list(view.shape), "data": bytes(view)}
                more = {"trimmed": vectors.trimmed, "rows_of": vectors.rows_of(texts)}
                self.connection.send([EVENT, "vectors", {**made, **more}])

    def _wait(self) -> None:
        """Until there is something to do: no longer than a status may take, and no shorter than we may disturb."""
        now = time.monotonic()
        fds = [fd for fd in (self.connection.link.wait_on(),) if fd is not None]
        if self.connection.outgoing:
            seconds = ACTIVE_SECONDS
        elif self._wake is None:
            seconds = IDLE_SECONDS if now - self._last_news > CALM_SECONDS else ACTIVE_SECONDS
        elif now - self._last_sent < ACTIVE_SECONDS:
            seconds = ACTIVE_SECONDS - (now - self._last_sent)
        else:
            seconds = STATUS_SECONDS
            fds.append(self._wake[0])
        if not fds:
            time.sleep(seconds)
            return
        ready, _, _ = select.select(fds, [], [], seconds)
        if self._wake is not None and self._wake[0] in ready:
            os.read(self._wake[0], 4096)


def _wake_pipe() -> tuple[int, int] | None:
    """Its two ends, neither of which waits; None where select() knows no pipes."""
    if sys.platform == "win32":
        return None
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends
