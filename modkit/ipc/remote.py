"""`RemoteEngine`: the face of Engine for servers that speak the OpenAI protocol (llama-server, vLLM, Ray Serve).

The game's thread hands requests over and drains what came; each request runs on one of a few threads, which
speak HTTP. What a server sends is bounded and believed in nothing. An answer that has begun is never asked for
again, because the words would come twice; one that has not is retried, later each time, by chance.
"""

from __future__ import annotations

import collections
import logging
import queue
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modkit.engine.helper import Helper
from modkit.engine.protocol import Message, check_pace
from modkit.engine.stream import Answer, Pending, Stream
from modkit.engine.template import check_messages
from modkit.engine.vectors import check_texts
from modkit.errors import EngineClosed, EngineError, ModkitError, OptionError, QueueFull, WrongThread
from modkit.ipc.http import Job, Place, run
from modkit.native.sampling import Options
from modkit.native.worker import MAX_WAITING

__all__ = ["RemoteEngine"]

log = logging.getLogger("modkit.ipc")
NEWS_A_TICK = 512
# Options by the name that servers know them under; those after the bar are llama-server's and vLLM's own.
_NAMES = {
    "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed", "stop": "stop",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty",
}  # fmt: skip
_LOCAL = frozenset({"repeat_last_n", "pin", "priority"})  # of no meaning to another machine, and no harm


class RemoteEngine:
    """Models on another machine, or in another program on this one.

    url: "http://host:port" or "https://…", with or without the "/v1". model: the server's name for it (None: the
    first it lists). context: tokens of a conversation (None: what the server says, else 4096). api_key: sent as a
    bearer token, to this host only (redirects are not followed). connections: requests under way at once, each on
    a thread. retries: how often a request that has not begun to be answered is tried again. timeout: seconds that
    a server may say nothing. extra: more fields for every request's body.

    Returns at once; `loading` until the server has answered for the first time or could not be reached. What is asked
    meanwhile waits. One thread for everything, the one that ticks. Raises OptionError.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        context: int | None = None,
        api_key: str | None = None,
        connections: int = 8,
        retries: int = 4,
        timeout: float = 60.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= connections <= 256:
            raise OptionError(f"connections={connections!r}: give a number from 1 to 256")
        self.name = model or ""
        self.context = context or 4096
        self.ready = False
        self.loading = True
        self._place = Place(url, api_key, timeout)
        self._model = model
        self._asks_context = context is None
        self._retries = retries
        self._extra = dict(extra or {})
        self._thread = threading.get_ident()
        self._most = connections
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: dict[int, Job] = {}
        self._pending: dict[int, Pending[Any]] = {}
        self._news: collections.deque[tuple[Any, ...]] = collections.deque()
        self._helper = Helper("modkit-helper")
        self._next_id = 1
        self._closed = False
        self._probe()

    @property
    def progress(self) -> float:
        """Of reaching the server: 0.0, then 1.0."""
        return 0.0 if self.loading else 1.0

    def tick(self) -> None:
        """Hands over what has arrived since the last tick. Never waits."""
        if threading.get_ident() != self._thread:
            self._check_thread()
        news = self._news
        for _ in range(min(len(news), NEWS_A_TICK)):
            self._take(*news.popleft())

    # ---- asking ----

    def generate(self, prompt: str, **options: Any) -> Stream:
        """A reply to a bare prompt. Returns at once. Raises OptionError, QueueFull, EngineClosed."""
        fields = self._fields(options)
        if not isinstance(prompt, str) or not prompt:
            raise OptionError("the prompt is empty; give some text")
        stream: Stream = self._new(Stream)
        self._start(stream.id, "/completions", lambda: {"prompt": prompt, **fields}, streams=True)
        return stream

    def chat(self, messages: Sequence[Message] | Callable[[], Sequence[Message]], **options: Any) -> Stream:
        """The assistant's next turn, by the server's own template. A function is called on the helper thread.

        Returns at once. Raises as generate(), and TemplateError (or the stream ends with it).
        """
        fields = self._fields(options)
        if callable(messages):
            stream: Stream = self._new(Stream)
            self._helper.run(lambda: self._prepare(stream.id, messages, fields))
            return stream
        plain = _plain(messages)
        stream = self._new(Stream)
        self._start(stream.id, "/chat/completions", lambda: {"messages": plain, **fields}, streams=True)
        return stream

    def embed(
        self, texts: Sequence[str], *, pooling: str | None = None, normalise: bool = True, trim: bool = True
    ) -> Answer[memoryview[float]]:
        """Texts as rows of float32, as Engine.embed(). The pooling is the server's; lengths are as it sends them."""
        if pooling is not None or not normalise:
            raise OptionError("a server pools and scales vectors in its own way: leave pooling and normalise out")
        checked = check_texts(texts)
        answer: Answer[memoryview[float]] = self._new(Answer)
        self._start(answer.id, "/embeddings", lambda: {"input": checked, "encoding_format": "float"})
        return answer

    def rank(self, query: str, texts: Sequence[str], *, trim: bool = True) -> Answer[list[float]]:
        """A score for each text, by the server's reranker (/rerank of llama-server and vLLM)."""
        asked, checked = check_texts([query])[0], check_texts(texts)
        answer: Answer[list[float]] = self._new(Answer)
        self._start(answer.id, "/rerank", lambda: {"query": asked, "documents": checked})
        return answer

    def ask(
        self,
        question: str | Sequence[Message] | Callable[[], Sequence[Message]],
        choices: Sequence[str],
        **options: Any,
    ) -> Answer[dict[str, float]]:
        """Not to be had: the protocol shows no probabilities of whole answers. Raises EngineError."""
        raise EngineError("a server of the OpenAI protocol does not weigh answers: ask() needs an engine of one's own")

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Checked, and of no effect: a server speaks as fast as it likes."""
        check_pace(tokens_per_second)

    def late(self, ms: float) -> None:
        """Of no effect: the server computes elsewhere."""

    def background(self, function: Callable[[], None]) -> None:
        """Runs function on the helper thread, off the frame, in order with chat()'s functions."""
        self._helper.run(function)

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = Options.of(options)
        made: dict[str, Any] = {}
        for name, value in vars(chosen).items():
            default = Options.__dataclass_fields__[name].default
            if name in _NAMES:
                if value != default or name in ("max_tokens", "temperature"):
                    made[_NAMES[name]] = list(value) if isinstance(value, (list, tuple)) else value
            elif name == "grammar":
                grammar = chosen.plain_grammar()
                if grammar is not None:
                    made["grammar"] = grammar["gbnf"]  # llama-server's name for it
            elif value != default and name not in _LOCAL:
                raise OptionError(f"{name}= is not part of the OpenAI protocol: leave it out with a RemoteEngine")
        return made

    def _prepare(self, id: int, messages: Callable[[], Sequence[Message]], fields: dict[str, Any]) -> None:
        """Helper thread."""
        try:
            plain = _plain(messages())
        except ModkitError as error:
            self._news.append(("error", id, error))
        except Exception as error:
            log.exception("the function given to chat() failed")
            wrapped = EngineError(f"the function given to chat() failed: {type(error).__name__}: {error}")
            self._news.append(("error", id, wrapped))
        else:
            self._news.append(("start", id, {"messages": plain, **fields}))

    def _new(self, kind: type[Any]) -> Any:
        self._check_thread()
        if self._closed:
            raise EngineClosed("the engine is closed; make a new one")
        if len(self._pending) >= MAX_WAITING:
            raise QueueFull(f"{MAX_WAITING} requests are waiting already; tick, or cancel some")
        made = kind(self, self._next_id)
        self._next_id += 1
        self._pending[made.id] = made
        return made

    def _start(self, id: int, path: str, body: Callable[[], dict[str, Any]], *, streams: bool = False) -> None:
        def whole() -> dict[str, Any]:  # on the job's thread: the model's name may be known only then
            made = {**body(), **({"model": self._model or self.name} if self._model or self.name else {})}
            if streams:
                made |= {"stream": True, "stream_options": {"include_usage": True}}
            return {**made, **self._extra}

        job = Job(id, path, whole, streams, self._retries)
        self._running[id] = job
        self._queue(job)

    def _queue(self, job: Job) -> None:
        self._jobs.put(job)
        if len(self._threads) < min(self._most, len(self._running) + 1):
            thread = threading.Thread(target=self._work, name="modkit-remote", daemon=True)
            self._threads.append(thread)
            thread.start()

    # ---- the threads ----

    def _work(self) -> None:
        connection: Any = None
        while (job := self._jobs.get()) is not None:
            connection = run(job, self._place, connection, self._news.append)
        if connection is not None:
            connection.close()

    # ---- what came ----

    def _probe(self) -> None:
        self._queue(Job(0, "/models", None, False, self._retries))

    def _take(self, kind: str, id: int, *rest: Any) -> None:
        if id == 0:
            self._greeted(kind, *rest)
            return
        pending = self._pending.get(id)
        if pending is None:
            return
        if kind == "text":
            pending._feed(rest[0])
            return
        if kind == "start":
            if not pending._cancelled:
                self._start(id, "/chat/completions", lambda: rest[0], streams=True)
                return
            kind, rest = "done", ("cancelled", {})
        del self._pending[id]
        self._running.pop(id, None)
        if kind == "error":
            pending._end("cancelled" if pending._cancelled else "error", None if pending._cancelled else rest[0])
        elif kind == "whole":
            self._whole(pending, rest[0])
        else:
            finish, stats = rest
            for name, value in stats.items():
                setattr(pending.stats, name, value)
            self.ready = self.ready or finish in ("stop", "length")
            pending._end(finish)

    def _whole(self, pending: Pending[Any], body: Any) -> None:
        try:
            value = _vectors(body) if "data" in body else _scores(body)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            pending._end("error", EngineError("the server's answer is not what the OpenAI protocol says"))
            return
        assert isinstance(pending, Answer)
        pending._make = lambda: value
        pending._end("stop")

    def _greeted(self, kind: str, what: Any) -> None:
        self.loading = False
        if kind == "error":
            log.warning("%s: %s", self._place, what)
            return
        self.ready = True
        models = what.get("data") if isinstance(what, dict) else None
        first = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
        if not self.name:
            self.name = str(first.get("id", ""))[:200]
        meta = first.get("meta") if isinstance(first.get("meta"), dict) else {}
        said = first.get("max_model_len") or (meta or {}).get("n_ctx")  # vLLM's name for it; llama-server's
        if self._asks_context and type(said) is int and said > 0:
            self.context = said

    # ---- ending ----

    def _cancel(self, stream: Pending[Any]) -> None:
        self._check_thread()
        job = self._running.get(stream.id)
        if job is not None:
            job.cancel()
        self._news.append(("done", stream.id, "cancelled", {}))

    def close(self) -> None:
        """Ends every stream with EngineClosed and lets the threads go. Idempotent."""
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        self._helper.close()
        for job in list(self._running.values()):
            job.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        pending, self._pending = list(self._pending.values()), {}
        gone = EngineClosed("the engine was closed while this reply was under way")
        for one in pending:
            one._end("cancelled" if one._cancelled else "error", None if one._cancelled else gone)
        for thread in self._threads:
            thread.join(1.0)
        self.ready = self.loading = False

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def attach(self) -> None:
        """Makes the calling thread the owner."""
        self._thread = threading.get_ident()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise WrongThread("this engine belongs to another thread; call it there, or call engine.attach() here once")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ready" if self.ready else "loading" if self.loading else "unreachable"
        return f"<RemoteEngine {self._place} {state}>"


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Roles and contents alone: tokens belong to the model that made them."""
    return [{"role": m["role"], "content": m["content"]} for m in check_messages(messages)]


def _vectors(body: Any) -> memoryview[float]:
    rows = sorted(body["data"], key=lambda row: row["index"])
    flat = array("f")
    for row in rows:
        flat.extend(row["embedding"])
    return memoryview(flat).cast("B").cast("f", shape=[len(rows), len(flat) // len(rows)])


def _scores(body: Any) -> list[float]:
    rows = body["results"]
    scores = [0.0] * len(rows)
    for row in rows:
        scores[row["index"]] = float(row["relevance_score"])
    return scores
