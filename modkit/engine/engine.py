"""The engine in this process: a model, a C worker, and the streams that come out of it.

The thread that makes an Engine owns it: submit, tick, cancel and close belong to that thread (another
one gets WrongThread). Nothing here blocks except close(), which joins the worker within milliseconds.
A tick with no news makes no C call: it compares one number in shared memory.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgpack

from modkit.engine import choosing
from modkit.engine.helper import Helper
from modkit.engine.protocol import Message, check_pace
from modkit.engine.stream import Answer, Choice, Pending, Stream
from modkit.engine.template import ChatTemplate, Prompt, Segment, check_messages
from modkit.engine.vectors import check_choices, check_texts, pooling_number
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
    QueueFull,
    WrongThread,
)
from modkit.native.loading import LoadOptions
from modkit.native.sampling import Options
from modkit.native.settings import Settings, configure
from modkit.native.vocab import Vocab, read_metadata
from modkit.native.worker import MAX_WAITING, Vectors, Worker, WorkerState

__all__ = ["Engine"]

log = logging.getLogger("modkit.engine")
llama_log = logging.getLogger("modkit.llama")

P = TypeVar("P", bound=Pending[Any])
_FINISH = ("stop", "length", "cancelled", "stop")
_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


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


class Engine:
    """A language model inside this process, ticked by the game's loop.

    model: path of a GGUF file. context: tokens that each conversation may have. slots: conversations
    that can be spoken in at once. threads: CPU threads to compute with (None: half the cores, so that
    the game keeps the other half). gpu_layers: how many layers go to the GPU: a number, "all", or
    "auto": as many as fit into vram_budget (bytes or "4GiB") and into what is free; where none fits, a
    shorter context is tried, then the CPU. cache_ram: memory for conversations that have no slot at the
    moment, bytes or "256MiB" (the default; 0 or None for none): they come back without being computed again.
    cache_dir: a folder where they go, up to cache_disk bytes, when that memory is full, and where personas
    are kept for the next run (None: nowhere).
    library: a llama.cpp file or folder (None: see modkit.native.find). A model in several files is named by
    its first, or by a list of all. Everything else about loading is in modkit.native.LoadOptions, e.g.
    kv_type="q8_0", mmap=False.

    Returns at once; the file is read on the worker. Raises LibraryError, OptionError, and ModelError where
    no file is; what is wrong with the file comes out of tick() as ModelError, and as OutOfMemory when it
    does not fit.
    """

    drops_turns = True  # when the context is full, the oldest turns leave it by themselves: see Options.overflow

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        context: int = 4096,
        slots: int = 1,
        threads: int | None = None,
        gpu_layers: int | str = "auto",
        vram_budget: int | str | None = None,
        *,
        cache_ram: int | str | None = "256MiB",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_disk: int | str = "1GiB",
        library: str | os.PathLike[str] | None = None,
        chat_template: str | None = None,
        **loading: Any,
    ) -> None:
        parts = () if isinstance(model, (str, os.PathLike)) else tuple(os.fspath(part) for part in model)
        if not isinstance(model, (str, os.PathLike)) and not parts:
            raise OptionError("no model was named; give the path of a .gguf file")
        self.path = Path(parts[0] if parts else model)  # type: ignore[arg-type]
        self.name = ""
        self.context = context
        self._thread = threading.get_ident()
        self._streams: dict[int, Pending[Any]] = {}
        self._next_id = 1
        self._template = ChatTemplate(chat_template)
        self._own_template = chat_template is not None
        self._early: deque[tuple[Pending[Any], Sequence[Message], Options]] = deque()
        self._prepared: deque[Callable[[], None]] = deque()
        self._begin_records()
        self._helper = Helper("modkit-helper")
        self._failure: ModkitError | None = None
        self._raised = False
        self._vocab: Vocab | None = None
        self._closed = True  # until there is a worker to close
        more = LoadOptions.of(loading)
        folder = None if cache_dir is None else os.fspath(cache_dir)
        caches: dict[str, Any] = {"cache_ram": cache_ram, "cache_dir": folder, "cache_disk": cache_disk}
        settings = Settings(context, slots, threads, gpu_layers, vram_budget, loading=more, parts=parts, **caches)
        self._worker: Worker = self._start_worker(settings, library)
        self.library = self._worker.library
        self._closed = False
        _open_engines.add(self)

    def _start_worker(self, settings: Settings, library: str | os.PathLike[str] | None) -> Worker:
        """The seam for an engine whose worker is elsewhere."""
        return configure(self.path, settings, library, llama_log.getEffectiveLevel())

    def _begin_records(self) -> None:
        self._unpacker = msgpack.Unpacker(raw=False, unicode_errors="replace", max_buffer_size=1 << 24)
        self._fed = 0  # bytes given to the unpacker so far

    # ---- state ----

    @property
    def loading(self) -> bool:
        """True until the model is ready or has failed; tick() says which."""
        return not self._closed and self._failure is None and not self.ready

    @property
    def ready(self) -> bool:
        """True while the engine can speak."""
        return self._worker.info is not None and self._failure is None and not self._closed

    @property
    def progress(self) -> float:
        """Of loading, 0.0 to 1.0."""
        return self._worker.progress

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: name, description, vocab, context_train, layers, parameters, bytes… Empty until ready."""
        return dict(self._worker.info or {})

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own key/value pairs, of any length; lists are left out. Empty until ready."""
        address = self._worker.address("model")
        return read_metadata(self.library, address) if address else {}

    @property
    def vocab(self) -> Vocab:
        """Tokens to text and back, on the calling thread, without the worker. Raises EngineError until ready."""
        if self._vocab is None:
            address = self._worker.address("vocab")
            if not address:
                raise EngineError("the model is not loaded (here): its vocabulary comes with it")
            self._vocab = Vocab(self.library, address)
        return self._vocab

    def perf(self) -> dict[str, float]:
        """llama.cpp's counters as of the last decode (Engine(..., perf=True)): milliseconds and tokens."""
        self._check_alive()
        return self._worker.perf()

    @property
    def tool_format(self) -> str:
        """How this model's own template writes calls of tools: "tool_call" (Hermes, Qwen and their like), or ""."""
        return self._template.tool_format

    # ---- the frame's side ----

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

    def _look_at_state(self, worker: Worker) -> None:
        if self._failure is None and not self._closed and worker.state() is WorkerState.DEAD:
            self._die(worker.death())

    def _read(self, worker: Worker) -> None:
        """Hands on each record. Iterating over the unpacker would end in an exception every time, which
        costs several times what the record does; so it is asked only while there is something left."""
        unpacker = self._unpacker
        self._fed += worker.feed(unpacker)
        streams = self._streams
        while unpacker.tell() < self._fed:
            try:
                event = unpacker.unpack()
            except msgpack.OutOfData:  # a full buffer may end inside a record
                break
            kind = event[1]
            if kind == Worker.TOKEN:
                stream = streams.get(event[0])
                if stream is not None:
                    stream._feed(event[3], event[2])
            elif event[0] == 0:
                self._own_event(kind, event)
            else:
                self._stream_event(streams, kind, event)

    def _stream_event(self, streams: dict[int, Pending[Any]], kind: int, event: list[Any]) -> None:
        if kind == Worker.THOUGHT:
            stream = streams.get(event[0])
            if stream is not None:
                stream._thought(event[3])
            return
        if kind in (Worker.STARTED, Worker.LOGPROBS):
            stream = streams.get(event[0])
            if stream is not None:
                if kind == Worker.STARTED:
                    stream._started(event[2], event[3])
                else:
                    stream._told(event[2:])
            return
        if kind == Worker.LEFT:
            stream = streams.get(event[0])
            if stream is not None:
                stream._dropped(event[2], event[3])
            return
        stream = streams.pop(event[0], None)
        if stream is None:
            return
        if kind == Worker.ERROR:
            error = _ERRORS.get(event[2], EngineError)
            stream._end("error", error(event[3]))
            return
        finish, generated, first, rest, text = event[2:]
        stream._feed(text)
        stream.stats.generated_tokens = len(stream.tokens) if stream._cancelled else generated
        stream.stats.time_to_first_token = first
        stream.stats.tokens_per_second = (generated - 1) / rest if generated > 1 and rest > 0 else 0.0
        stream._end(_FINISH[finish], keep_tokens=finish != Worker.STOP_STRING)

    def _own_event(self, kind: int, event: list[Any]) -> None:
        if kind == Worker.LOG:
            llama_log.log({1: 10, 2: 20, 3: 30, 4: 40}.get(event[2], 10), "%s", event[3])
        elif kind == Worker.LOADED:
            info = self._worker.loaded()
            self.name = info["name"] or self.path.stem
            self.context = info["context"]
            if not self._own_template:
                self._template = ChatTemplate(info["chat_template"], info["bos"], info["eos"])
            self._helper.run(self._warm_template)
            while self._early:
                stream, messages, options = self._early.popleft()
                if stream.finish is None:
                    self._submit_chat(stream, messages, options)
        elif kind == Worker.FAILED:
            kind_of = OutOfMemory if event[3] == Worker.FAILED_MEMORY else ModelError
            self._fail(kind_of(f"{self.path} cannot be loaded: {event[2]}"))

    def _warm_template(self) -> None:
        try:
            self._template.compile()
        except ModkitError as error:
            log.warning("%s: %s; chat() will say so", self.path.name, error)

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

    def _end_all(self, error: ModkitError) -> None:
        streams: list[Pending[Any]] = [*self._streams.values(), *(early[0] for early in self._early)]
        self._streams.clear()
        self._early.clear()
        for stream in streams:
            stream._end("cancelled" if stream._cancelled else "error", None if stream._cancelled else error)

    def _run_prepared(self) -> None:
        while self._prepared:
            self._prepared.popleft()()

    # ---- asking ----

    def generate(self, prompt: str, **options: Any) -> Stream:
        """A reply to a bare prompt, which is data: no special token in it counts. See Options for options.

        Returns at once. Raises OptionError, QueueFull, EngineClosed, EngineDied, ModelError.
        """
        chosen = Options.of(options)
        if not isinstance(prompt, str) or not prompt:
            raise OptionError("the prompt is empty; give some text")
        stream = self._new_stream()
        self._submit(stream, [(prompt, False)], chosen, add_bos=True, trim_start=False)
        return stream

    def chat(self, messages: Sequence[Message] | Callable[[], Sequence[Message]], **options: Any) -> Stream:
        """The assistant's next turn, through the model's own chat template.

        messages: a list of {"role", "content"}, or a function that returns one; a function is called on
        the helper thread, off the frame, and its prompt submitted by a later tick. Contents are data.
        Returns at once. Raises as generate(), and TemplateError (or the stream ends with it).
        """
        chosen = Options.of(options)
        return self._chat(self._new_stream, messages, chosen)

    def ask(
        self,
        question: str | Sequence[Message] | Callable[[], Sequence[Message]],
        choices: Sequence[str],
        **options: Any,
    ) -> Answer[dict[str, float]]:
        """How likely the model finds each of several answers, from its logits: {choice: probability}, sum 1.

        question: as for chat(), or a str as for generate(). choices: 2 to 256 different texts; each is what the model
        would have to say next, so behind a bare prompt it usually begins with a space. A choice of several tokens
        is weighed by all of them. options: `priority` and `pin`, as for chat(). Costs the prefill, and a decode for
        each further token of a choice. Returns at once. Raises as chat().
        """
        chosen = Options.of({"thinking": False, **options})
        checked = check_choices(choices)
        if not isinstance(question, str):
            return self._chat(lambda: self._new_choice(checked), question, chosen)
        if not question:
            raise OptionError("the question is empty; give some text")
        answer = self._new_choice(checked)
        self._submit(answer, [(question, False)], chosen, add_bos=True, trim_start=False)
        return answer

    def _new_choice(self, choices: list[str]) -> Choice:
        answer = self._new_pending(Choice)
        answer.choices = choices
        return answer

    def _chat(
        self, new: Callable[[], P], messages: Sequence[Message] | Callable[[], Sequence[Message]], chosen: Options
    ) -> P:
        if callable(messages):
            stream = new()
            self._helper.run(lambda: self._prepare(stream, messages, chosen))
            return stream
        checked = check_messages(messages)
        stream = new()
        if self._worker.info is None and not self._own_template:
            self._early.append((stream, checked, chosen))
        else:
            self._submit_prompt(stream, self._template.prompt(checked, chosen.thinking), chosen)
        return stream

    def embed(
        self, texts: Sequence[str], *, pooling: str | None = None, normalise: bool = True, trim: bool = True
    ) -> Answer[memoryview[float]]:
        """Texts as vectors: the result is a memoryview of float32, of shape (texts, dimensions).

        pooling: None (the model's own way, or the mean), "mean", "cls", "last", or "none" for a vector per token
        (the rows of all texts one after another). normalise: vectors of length 1. trim: a text longer than the
        model reads is cut; False makes it an error. Works beside streams that speak, many texts in a decode.
        Returns at once. Raises as generate(). What `numpy.asarray()` needs is there; no numpy is.
        """
        answer: Answer[memoryview[float]] = self._new_pending(Answer)
        vectors = self._submit_texts(
            answer, check_texts(texts), pooling=pooling_number(pooling), normalise=normalise, trim=trim
        )
        answer._make = vectors.view
        return answer

    def rank(self, query: str, texts: Sequence[str], *, trim: bool = True) -> Answer[list[float]]:
        """How well each text answers the query, by a cross-encoder (a reranker): higher is better, any scale.

        Returns at once. Raises as generate(); a model that is no reranker ends the answer with EngineError.
        """
        pairs = [*check_texts([query]), *check_texts(texts)]
        answer: Answer[list[float]] = self._new_pending(Answer)
        vectors = self._submit_texts(answer, pairs, rank=True, trim=trim)
        answer._make = vectors.column
        return answer

    def _submit_texts(
        self, answer: Answer[Any], texts: list[str], *, rank: bool = False, pooling: int = -1,
        normalise: bool = False, trim: bool = True,
    ) -> Vectors:  # fmt: skip
        vectors = self._worker.embed(
            answer.id, texts, rank=rank, pooling=pooling, normalise=bool(normalise), trim=bool(trim)
        )
        self._streams[answer.id] = answer
        return vectors

    def background(self, function: Callable[[], None]) -> None:
        """Runs function on the helper thread, off the frame, in order with chat()'s functions."""
        self._helper.run(function)

    def _prepare(self, stream: Pending[Any], messages: Callable[[], Sequence[Message]], options: Options) -> None:
        """Helper thread: makes the messages, and the prompt when the template is known by now."""
        try:
            made = check_messages(messages())
            known = self._worker.info is not None or self._own_template
            rendered = self._template.prompt(made, options.thinking) if known else None
        except ModkitError as error:
            failure = error
            self._prepared.append(lambda: stream._end("error", failure))
            return
        except Exception as error:
            log.exception("the function given to chat() failed")
            wrapped = EngineError(f"the function given to chat() failed: {type(error).__name__}: {error}")
            self._prepared.append(lambda: stream._end("error", wrapped))
            return

        def submit() -> None:
            if stream.finish is not None:
                return
            if self._failure is not None or self._closed:
                stream._end("error", self._failure or EngineClosed("the engine is closed"))
            elif rendered is None:
                if self._worker.info is None:
                    self._early.append((stream, made, options))
                else:
                    self._submit_chat(stream, made, options)
            else:
                self._submit_or_end(stream, rendered, options)

        self._prepared.append(submit)

    def _submit_chat(self, stream: Pending[Any], messages: Sequence[Message], options: Options) -> None:
        try:
            rendered = self._template.prompt(messages, options.thinking)
        except ModkitError as error:
            stream._end("error", error)
            return
        self._submit_or_end(stream, rendered, options)

    def _submit_or_end(self, stream: Pending[Any], prompt: Prompt, options: Options) -> None:
        try:
            self._submit_prompt(stream, prompt, options)
        except ModkitError as error:
            stream._end("error", error)

    def _submit_prompt(self, stream: Pending[Any], prompt: Prompt, options: Options) -> None:
        first = prompt.segments[0][0] if prompt.segments else ""
        writes_bos = bool(self._template.bos) and isinstance(first, str) and first.startswith(self._template.bos)
        segments, thought = prompt.segments, prompt.thought
        if thought is not None and thought[2] and isinstance(stream, Choice):  # an answer is no thought
            segments, thought = [*segments, (f"\n{thought[1]}\n\n", True)], None
        self._submit(
            stream, segments, options, add_bos=not writes_bos, trim_start=True, turns=prompt.turns, thought=thought
        )

    def _new_stream(self) -> Stream:
        return self._new_pending(Stream)

    def _new_pending(self, kind: type[P]) -> P:
        self._check_thread()
        self._check_alive()
        if len(self._streams) + len(self._early) >= MAX_WAITING:
            raise QueueFull(f"{MAX_WAITING} requests are waiting already; tick, or cancel some")
        stream = kind(self, self._next_id)
        self._next_id += 1
        return stream

    def _submit(
        self,
        stream: Pending[Any],
        segments: Iterable[Segment],
        options: Options,
        *,
        add_bos: bool,
        trim_start: bool,
        turns: Sequence[int] | None = None,
        thought: tuple[str, str, bool] | None = None,
    ) -> None:
        if stream._cancelled:
            stream._end("cancelled")
            return
        if callable(options.sampler) and isinstance(stream, Stream):
            choosing.start(
                self, stream, list(segments), options, add_bos=add_bos, trim_start=trim_start, turns=turns
            )
            return
        choices = stream.choices if isinstance(stream, Choice) else ()
        made = self._worker.submit(
            stream.id,
            list(segments),
            options,
            add_bos=add_bos,
            trim_start=trim_start,
            turns=turns,
            choices=choices,
            thought=thought or (),
        )
        if isinstance(stream, Choice) and made is not None:
            stream.weighed_by(made.column)
        self._streams[stream.id] = stream

    def _cancel(self, stream: Pending[Any]) -> None:
        self._check_thread()
        if stream.id in self._streams:
            self._worker.cancel(stream.id)
        else:  # not with the worker yet: the submit, when it comes, finds it ended
            stream._end("cancelled")

    # ---- life ----

    def pause(self) -> None:
        """Stops computing after the batch under way; streams stay where they are."""
        self._check_thread()
        self._worker.pause(True)

    def resume(self) -> None:
        self._check_thread()
        self._worker.pause(False)

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Lets each stream say at most so many tokens a second; None takes the limit away.

        A reader's speed (10 or so) is enough for a subtitle, and leaves the machine to the game. First
        tokens do not wait. Raises OptionError.
        """
        self._check_thread()
        self._worker.pace(check_pace(tokens_per_second))

    def late(self, ms: float) -> None:
        """Says that a frame came `ms` milliseconds late: prompts are read in shorter slices for a while."""
        self._check_thread()
        if not 0 <= ms < 1e9:
            raise OptionError(f"late({ms!r}): give milliseconds, 0 or more")
        if ms > 0:
            self._worker.late(ms / 1e3)

    def attach(self) -> None:
        """Makes the calling thread the owner, for a host that loads on one thread and plays on another."""
        self._thread = threading.get_ident()

    def close(self) -> None:
        """Ends the worker, aborting a load, prefill or decode under way, and frees the model.

        Streams still running end with EngineClosed. Idempotent. Blocks for milliseconds, longer only
        while background jobs (a save's commit) finish.
        """
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        self._end_all(EngineClosed("the engine was closed while this reply was under way"))
        self._helper.close()
        self._run_prepared()
        if self._vocab is not None:
            self._vocab.close()
        self._worker.close()
        _open_engines.discard(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self._thread = threading.get_ident()
            self.close()

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

    def __repr__(self) -> str:
        state = "closed" if self._closed else "failed" if self._failure else "ready" if self.ready else "loading"
        return f"<Engine {self.path.name} {state}>"


@atexit.register
def _close_all() -> None:
    """A worker still inside llama.cpp while the process runs its exit handlers would crash it."""
    for engine in list(_open_engines):
        engine.attach()
        engine.close()
