"""`RemoteEngine`: the face of Engine for servers that speak the OpenAI protocol (llama-server, vLLM, Ray Serve).

The game's thread hands requests over and drains what came; each request runs on one of a few threads, which
speak HTTP. What a server sends is bounded and believed in nothing. An answer that has begun is never asked for
again, because the words would come twice; one that has not is retried, later each time, by chance.
"""

from __future__ import annotations

import collections
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modkit.engine.helper import Helper
from modkit.engine.pending import Answer, Choice, Pending
from modkit.engine.protocol import Message, check_pace
from modkit.engine.stream import Stream
from modkit.engine.vectors import check_choices, check_texts
from modkit.errors import EngineClosed, EngineError, ModkitError, OptionError, QueueFull, WrongThread
from modkit.ipc.bodies import chat_form, fields_of, model_of, plain_messages, scores_of, vectors_of
from modkit.ipc.http import REFUSED, Job, Place, run
from modkit.ipc.weigh import Weighing
from modkit.native.worker import MAX_WAITING

if TYPE_CHECKING:
    from modkit.native.vocab import Vocab

__all__ = ["RemoteEngine"]

log = logging.getLogger("modkit.ipc")
NEWS_A_TICK = 512


class RemoteEngine:
    """Models on another machine, or in another program on this one.

    url: "http://host:port" or "https://…", with or without the "/v1". model: the server's name for it (None: the
    first it lists). context: tokens of a conversation (None: what the server says, else 4096). api_key: sent as a
    bearer token, to this host only (redirects are not followed). connections: requests under way at once, each on
    a thread. retries: how often a request that has not begun to be answered is tried again. timeout: seconds that
    a server may say nothing. extra: more fields for every request's body. ca_file: a PEM file with the only
    certificates that an https server's may rest on, such as its own (None: those that the system trusts). An https
    server is never believed unchecked.

    Returns at once; `loading` until the server has answered for the first time or could not be reached. What is asked
    meanwhile waits. One thread for everything, the one that ticks. Raises OptionError.
    """

    drops_turns = False  # what a server does with a context that is full is its own affair
    tool_format = ""  # nor does it say how its template writes calls
    library = None

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
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        if not 1 <= connections <= 256:
            raise OptionError(f"connections={connections!r}: give a number from 1 to 256")
        self.name = model or ""
        self.context = context or 4096
        self.ready = False
        self.loading = True
        self._place = Place(url, api_key, timeout, ca_file)
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
        self._weighings: dict[int, Weighing] = {}
        self._news: collections.deque[tuple[Any, ...]] = collections.deque()
        self._helper = Helper("modkit-helper")
        self._next_id = 1
        self._info: dict[str, Any] = {}
        self._paused = False
        self._closed = False
        self._probe()

    @property
    def progress(self) -> float:
        """Of reaching the server: 0.0, then 1.0."""
        return 0.0 if self.loading else 1.0

    @property
    def info(self) -> dict[str, Any]:
        """What the server says of its model, under the names of Engine.info where it does. Empty until ready."""
        return dict(self._info)

    @property
    def metadata(self) -> dict[str, str]:
        """Empty: servers do not show a model's key/value pairs."""
        return {}

    @property
    def vocab(self) -> Vocab:
        """Raises EngineError: the tokens are the server's affair."""
        raise EngineError("the vocabulary lies with the server: open the file with modkit.native.Model to look into it")

    def perf(self) -> dict[str, float]:
        """Empty: the counters of llama.cpp are the server's; a stream's own are in its `stats`."""
        return {}

    def tick(self) -> None:
        """Hands over what has arrived since the last tick. Never waits."""
        if threading.get_ident() != self._thread:
            self._check_thread()
        if self._paused:
            return
        news = self._news
        for _ in range(min(len(news), NEWS_A_TICK)):
            self._take(*news.popleft())

    # ---- asking ----

    def generate(self, prompt: str, **options: Any) -> Stream:
        """A reply to a bare prompt. Returns at once. Raises OptionError, QueueFull, EngineClosed."""
        fields = fields_of(options)
        if not isinstance(prompt, str) or not prompt:
            raise OptionError("the prompt is empty; give some text")
        stream: Stream = self._new(Stream)
        self._start(stream.id, "/completions", lambda: {"prompt": prompt, **fields}, streams=True)
        return stream

    def chat(self, messages: Sequence[Message] | Callable[[], Sequence[Message]], **options: Any) -> Stream:
        """The assistant's next turn, by the server's own template. A function is called on the helper thread.

        Returns at once. Raises as generate(), and TemplateError (or the stream ends with it).
        """
        fields = chat_form(fields_of(options))
        if callable(messages):
            stream: Stream = self._new(Stream)
            self._helper.run(lambda: self._prepare(stream.id, messages, fields))
            return stream
        plain = plain_messages(messages)
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
        """How likely each choice is, as Engine.ask(), by the log-probabilities that the server tells.

        Costs a request for each choice. llama-server and vLLM weigh whole choices; of other servers the likeliest first
        tokens are taken, where the choices begin with different ones. The answer ends with EngineError where a server
        tells nothing.
        """
        fields = fields_of({name: value for name, value in options.items() if name != "thinking"})
        checked = check_choices(choices)
        if isinstance(question, str) and not question:
            raise OptionError("the question is empty; give some text")
        asked: dict[str, Any] | None = None
        if not callable(question):
            asked = {"prompt": question} if isinstance(question, str) else {"messages": plain_messages(question)}
        answer: Choice = self._new(Choice)
        answer.choices = checked
        self._weighings[answer.id] = weighing = Weighing(checked, chat=not isinstance(question, str))
        if asked is None:
            assert callable(question)
            self._helper.run(lambda: self._prepare(answer.id, question, fields))
        else:
            weighing.base = {**fields, **asked}
            self._weigh(answer.id, weighing)
        return answer

    def _weigh(self, id: int, weighing: Weighing) -> None:
        body = weighing.body()
        self._start(id, weighing.path, lambda: body)

    def _weighed(self, answer: Choice, weighing: Weighing, kind: str, what: Any) -> bool:
        """Takes one answer to a weighing; True while another request is under way for it."""
        if kind == "error":
            over = not (str(what).startswith(REFUSED) and weighing.refused())
        else:
            over = weighing.take(what)
        if not over and not answer._cancelled:
            self._weigh(answer.id, weighing)
            return True
        return False

    def pause(self) -> None:
        """Streams stay where they are until resume(): what comes is kept. The server may go on computing."""
        self._check_thread()
        self._paused = True

    def resume(self) -> None:
        """Hands on what was kept, and what comes."""
        self._check_thread()
        self._paused = False

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Checked, and of no effect: a server speaks as fast as it likes."""
        check_pace(tokens_per_second)

    def late(self, ms: float) -> None:
        """Of no effect: the server computes elsewhere."""

    def background(self, function: Callable[[], None]) -> None:
        """Runs function on the helper thread, off the frame, in order with chat()'s functions."""
        self._helper.run(function)

    def _prepare(self, id: int, messages: Callable[[], Sequence[Message]], fields: dict[str, Any]) -> None:
        """Helper thread."""
        try:
            plain = plain_messages(messages())
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
        if kind == "told":
            pending._told(rest[0])
            return
        weighing = self._weighings.get(id)
        if kind == "start":
            if pending._cancelled:
                kind, rest = "done", ("cancelled", {})
            elif weighing is not None:
                weighing.base = rest[0]
                self._weigh(id, weighing)
                return
            else:
                self._start(id, "/chat/completions", lambda: rest[0], streams=True)
                return
        elif weighing is not None and isinstance(pending, Choice) and kind in ("whole", "error"):
            try:
                if self._weighed(pending, weighing, kind, rest[0]):
                    return
            except EngineError as error:
                kind, rest = "error", (error,)
        self._weighings.pop(id, None)
        del self._pending[id]
        self._running.pop(id, None)
        if kind == "error":
            pending._end("cancelled" if pending._cancelled else "error", None if pending._cancelled else rest[0])
        elif isinstance(pending, Choice) and weighing is not None and kind == "whole":
            pending.weighed_by(lambda: weighing.logarithms)
            pending._end("stop")
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
            value = vectors_of(body) if "data" in body else scores_of(body)
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
        self._info = model_of(what)
        if not self.name:
            self.name = self._info.get("name", "")
        if self._asks_context:
            self.context = self._info.get("context", self.context)

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
