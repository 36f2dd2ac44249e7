"""A Worker whose C engine lives in a child process: the same calls, the same records, no call into C.

It is looked after by the engine's thread, which calls pump() in a tick that finds something to do: one read that does
not wait, at most 16 KiB. Calls made while no child is there are kept and sent when one has come.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.errors import ModkitError, OptionError, ProtocolError
from modkit.ipc.calls import ENGINE_LIMITS, PROGRESS, options_to, plain
from modkit.ipc.framing import ERROR, EVENT, RECORDS, REQUEST
from modkit.ipc.python import command
from modkit.ipc.shared import Inlet
from modkit.ipc.supervisor import Arrived, Supervisor
from modkit.native.request import MAX_PROMPT_BYTES
from modkit.native.worker import Vectors, Worker, WorkerState

if TYPE_CHECKING:
    from modkit.native.sampling import Options

__all__ = ["ChildWorker"]

START = 1  # the id of the one request that is answered
MESSAGES_A_TICK = 256
BIG_READS = 32  # chunks in a tick while a frame longer than a chunk comes in (vectors)


class ChildVectors(Vectors):
    """Vectors that come from the child with the end of their request."""

    def __init__(self) -> None:
        # Vectors.__init__ is not called: there is no block of C's here.
        self._data = b""
        self._shape = [0, 0]
        self._rows_of: list[int] = []
        self._trimmed = 0

    def fill(self, params: dict[str, Any]) -> None:
        """Takes what the child sent. Raises ProtocolError when it does not fit together."""
        rows, columns = (int(n) for n in params["shape"])
        if rows < 0 or columns < 0 or len(params["data"]) != 4 * rows * columns:
            raise ProtocolError("the engine's process sent vectors whose size is not their shape")
        self._data, self._shape = params["data"], [rows, columns]
        self._rows_of, self._trimmed = params["rows_of"], int(params["trimmed"])

    @property
    def trimmed(self) -> int:
        return self._trimmed

    def rows_of(self, n: int) -> list[int]:
        return [*self._rows_of, *([0] * n)][:n]

    def column(self) -> list[float]:
        return list(memoryview(self._data).cast("f"))[:: self._shape[1] or 1]

    def view(self) -> memoryview[float]:
        return memoryview(self._data).cast("f", shape=self._shape) if self._data else memoryview(b"").cast("f")


class _Unknown:
    """Stands where an Inlet does: a pipe says whether there is news only when it is read."""

    written = (1,)
    counts = (0, 0, 0, 0, 0)
    at = 0

    @staticmethod
    def records() -> bytes | None:
        return None


class _Silent(_Unknown):
    """No child, no news."""

    written = (0,)


class ChildWorker(Worker):
    """Worker's face. What it adds: pump(), failed, refused, kill() and restart(); and for the tick, which looks here
    itself: there is something to pump when inlet.written[0] != inlet.at, or `more`, or `news` has something.
    """

    def __init__(
        self,
        python: str,
        model: Path,
        settings: dict[str, Any],
        library: str | os.PathLike[str] | None,
        log_level: int,
        memory: int | None,
    ) -> None:
        # Worker.__init__ is not called: it would make a C engine here.
        self.library: Any = None
        self.info = None
        self.words: Any = [0]
        self.seen = 0
        self.states: Sequence[int] = [WorkerState.LOADING]
        self.seen_state = int(WorkerState.LOADING)
        self.pid: int | None = None
        self.failed: tuple[str, str] | None = None  # the child's refusal to start: error's name, sentence
        self.refused: list[tuple[int, str, str]] = []  # requests that the child did not take
        self.paused = False
        self.paced = 0.0
        self.heard = 0  # messages ever
        self._start: dict[str, Any] = {
            "model": str(model.absolute()),
            "settings": settings,
            "library": None if library is None else os.fspath(library),
            "log_level": log_level,
            "memory": memory,
        }
        self.inlet: Any = _Silent
        self.more = False  # something waits here: to be sent, or beyond what one tick takes
        self._child: Arrived | None = None
        self._outbox: list[list[Any]] = []
        self._news: list[bytes] = []
        self._vectors: dict[int, ChildVectors] = {}
        self._info: dict[str, Any] | None = None
        self._progress_seen = 0.0
        self._decoded_seen = 0
        self._drafts_seen = (0, 0)
        self._death = ""
        self._closed = False
        line = command(python, "modkit.ipc.child", str(os.getpid()))
        self._supervisor = Supervisor(line, "modkit-engine", ENGINE_LIMITS, memory, shared=True)
        self.news = self._supervisor.news
        self._supervisor.start()

    # ---- the engine's thread, once a tick ----

    def pump(self) -> str | None:
        """Takes what has come; a sentence when the child has gone (then call restart()). Never waits."""
        if self.news:
            why = self._look_at_news()
            if why is not None:
                return why
        child = self._child
        self.more = bool(self.news)
        if child is None:
            return None
        connection = child.connection
        try:
            if connection.leaving:
                connection.flush()
            data = connection.link.read()
            if data:
                records = connection.decoder.records_in(data)
                if records is not None:  # all there is, nearly always; as _keep_records(), without the call
                    self.heard += 1
                    self._news.append(records)
                    self.words[0] += len(records)
                else:
                    self._take_all(connection, data)
            elif connection.decoder.waiting:  # messages beyond what one tick takes
                self._take(connection)
            self.more = self.more or bool(connection.leaving) or connection.decoder.waiting > 0
        except ProtocolError as error:  # Closed is one: the supervisor will say how it ended
            if not self._death:
                self._death = "" if "closed" in str(error) or "broke" in str(error) else str(error)
            self.kill()
        return None

    def _look_at_news(self) -> str | None:
        news = self.news.popleft()
        if isinstance(news, Arrived):
            self._child = news
            self.inlet = news.connection.link if isinstance(news.connection.link, Inlet) else _Unknown
            self.pid = news.process.pid
            outbox, self._outbox = self._outbox, []
            try:
                pause = [[REQUEST, 0, "pause", {"paused": True}]] if self.paused else []
                pace = [[REQUEST, 0, "pace", {"tokens_per_second": self.paced}]] if self.paced else []
                for message in ([REQUEST, START, "start", self._start], *pause, *pace, *outbox):
                    news.connection.send(message)
            except ProtocolError:
                news.kill()
            return None
        if self._child is not None:
            self._last_words(self._child)
        return self._death or news.why

    def _last_words(self, child: Arrived) -> None:
        """What the child still said before it went is not lost: whole words, and why it died."""
        try:
            for _ in range(MESSAGES_A_TICK):
                if not child.connection.receive():
                    break
                self._take(child.connection)
        except ModkitError:
            pass

    def _keep_records(self, records: bytes) -> None:
        self.heard += 1
        self._news.append(records)
        self.words[0] += len(records)

    def _take_all(self, connection: Any, data: bytes) -> None:
        """Of a big message (vectors) more than one chunk a tick, until it is whole."""
        decoder = connection.decoder
        for _ in range(BIG_READS):
            decoder.feed(data)
            if decoder.waiting:
                self._take(connection)
            if self._news or not data or not decoder.waiting:
                break
            data = connection.link.read()

    def _take(self, connection: Any) -> None:
        for _ in range(MESSAGES_A_TICK):
            message = connection.decoder.next()
            if message is None:
                return
            kind = message[0]
            if kind == RECORDS:
                self._keep_records(message[1])
                continue
            self.heard += 1
            if kind == EVENT:
                try:
                    self._event(message[1], message[2])
                except (KeyError, TypeError, ValueError) as error:
                    raise ProtocolError(f"the engine's process sent a {message[1][:40]!r} that is none") from error
            elif kind == ERROR and message[1] == START:
                if self._info is not None:
                    raise ProtocolError("the engine's process says that it cannot start, and it has")
                self.failed = (message[2], message[3])

    def _event(self, name: str, params: dict[str, Any]) -> None:
        if name == "status":
            self._progress_seen = float(params["progress"])
            self._decoded_seen = int(params["decoded"])
            ahead, said = params["drafts"]
            self._drafts_seen = int(ahead), int(said)
        elif name == "info":
            texts = [params[key] for key in ("name", "bos", "eos")] + [params["chat_template"] or ""]
            if not all(isinstance(text, str) for text in texts) or type(params["context"]) is not int:
                raise ValueError("what the model is")
            self._info = params
        elif name == "refused":
            self.refused.append((int(params["id"]), str(params["kind"]), str(params["why"])))
        elif name == "vectors":
            vectors = self._vectors.pop(int(params["id"]), None)
            if vectors is not None:
                vectors.fill(params)
        elif name == "dead":
            self._death = f"llama.cpp failed in it: {str(params['why'])[:500]}"

    def kill(self) -> None:
        """Ends the child at once; pump() says so when it has gone."""
        if self._child is not None:
            self._child.kill()

    def distrust(self, why: str) -> None:
        """Kills the child for what it said."""
        self._death = self._death or why
        self._news.clear()
        self.seen = self.words[0]
        self.kill()

    def restart(self, delay: float) -> None:
        """Starts another child after `delay` seconds. What was under way in the old one is forgotten."""
        self._forget()
        self._supervisor.start(delay)

    def _forget(self) -> None:
        if self._child is not None:
            self._child.connection.close()
            self._child = None
        self.inlet = _Silent
        self.pid = None
        self.info = self._info = None
        self.seen_state = WorkerState.LOADING
        self._outbox.clear()
        self._vectors.clear()
        self._progress_seen, self._decoded_seen, self._death = 0.0, 0, ""

    # ---- Worker's face ----

    def feed(self, unpacker: Any) -> int:
        size = 0
        for news in self._news:
            unpacker.feed(news)
            size += len(news)
        self._news.clear()
        self.seen = self.words[0]
        return size

    def state(self) -> WorkerState:
        return WorkerState(self.seen_state)

    def death(self) -> str:
        return self._death

    @property
    def beats(self) -> int:
        """Grows as long as the child lives."""
        return self.heard + int(self.inlet.counts[0])

    @property
    def progress(self) -> float:
        return 1.0 if self.info else max(self._progress_seen, min(1.0, self.inlet.counts[1] / PROGRESS))

    @property
    def decoded(self) -> int:
        return self._decoded_seen or int(self.inlet.counts[2])

    def plan(self) -> None:
        """It comes with `info`, as its JSON."""
        return None

    def buffers(self) -> list[tuple[str, str, int]]:
        return [(str(name), str(kind), int(size)) for name, kind, size in (self.info or {}).get("buffers", ())]

    def address(self, what: str) -> int:
        """None here: the model lies in the other process."""
        return 0

    def perf(self) -> dict[str, float]:
        return {}

    @property
    def drafts(self) -> tuple[int, int]:
        ahead, said = self.inlet.counts[3:5]
        return self._drafts_seen[0] or int(ahead), self._drafts_seen[1] or int(said)

    def loaded(self) -> dict[str, Any]:
        if self._info is None:
            raise ProtocolError("the engine's process says that the model is loaded, but not what it is")
        self.info = self._info
        return self.info

    def submit(
        self, id: int, segments: Sequence[tuple[Any, bool]], options: Options, **named: Any
    ) -> Vectors | None:
        pieces: list[list[Any]] = []
        total = 0
        for content, is_template in segments:
            if isinstance(content, str):
                # A lone surrogate has no UTF-8: what C would have been given, the child is given too.
                content = content.encode("utf-8", "replace").decode("utf-8")
                total += len(content)
            else:
                content = list(content)
                total += 4 * len(content)
            pieces.append([content, bool(is_template)])
        if total > MAX_PROMPT_BYTES:
            raise OptionError(f"the prompt has {total} bytes; at most {MAX_PROMPT_BYTES} are accepted")
        more = {name: plain(name, value) for name, value in named.items()}
        vectors = ChildVectors() if named.get("choices") else None
        if vectors is not None:
            self._vectors[id] = vectors
        self._call("submit", id=id, segments=pieces, options=options_to(options), **more)
        return vectors

    def embed(self, id: int, texts: Sequence[str], **named: Any) -> Vectors:
        sent = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        total = sum(map(len, sent))
        if total > MAX_PROMPT_BYTES:
            raise OptionError(f"the texts have {total} bytes; at most {MAX_PROMPT_BYTES} are accepted at once")
        self._vectors[id] = vectors = ChildVectors()
        self._call("embed", id=id, texts=sent, **{name: plain(name, value) for name, value in named.items()})
        return vectors

    def cancel(self, id: int) -> None:
        self._call("cancel", id=id)

    def pause(self, paused: bool) -> None:
        self.paused = paused
        if self._child is not None:
            self._call("pause", paused=paused)

    def pace(self, tokens_per_second: float) -> None:
        self.paced = tokens_per_second
        if self._child is not None:
            self._call("pace", tokens_per_second=tokens_per_second)

    def late(self, seconds: float) -> None:
        if self._child is not None:
            self._call("late", seconds=seconds)

    def fail_assertion(self) -> None:
        self._call("fail_assertion")

    def _call(self, method: str, **params: Any) -> None:
        message = [REQUEST, 0, method, params]
        if self._child is None:
            self._outbox.append(message)
            return
        try:
            self._child.connection.send(message)
            self.more = self.more or self._child.connection.outgoing > 0
        except ProtocolError:  # gone: the next pump() finds out
            self.kill()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._supervisor.stop()
            self._forget()


