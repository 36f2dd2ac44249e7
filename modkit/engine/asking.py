"""What an engine can be asked: replies, answers, vectors, scores. Each becomes one request to the worker.

On the thread that owns the engine; a function that makes a prompt runs on the helper thread, off the frame, and what it
made is submitted by a later tick.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from modkit.engine import choosing
from modkit.engine.hearing import Hearing
from modkit.engine.helper import Helper
from modkit.engine.pending import Answer, Choice, Pending
from modkit.engine.protocol import Message
from modkit.engine.stream import Stream
from modkit.engine.template import ChatTemplate, Prompt, Segment, check_messages
from modkit.engine.vectors import check_choices, check_texts, pooling_number
from modkit.errors import EngineClosed, EngineError, ModkitError, OptionError, QueueFull
from modkit.native.library import Library
from modkit.native.sampling import Options
from modkit.native.vocab import Vocab
from modkit.native.worker import MAX_WAITING, Vectors

__all__ = ["Asking"]

log = logging.getLogger("modkit.engine")

P = TypeVar("P", bound=Pending[Any])


class Asking(Hearing):
    """The half of an engine that asks its worker. `chat_template`: instead of the model's own."""

    library: Library

    def __init__(self, chat_template: str | None) -> None:
        super().__init__()
        self._next_id = 1
        self._template = ChatTemplate(chat_template)
        self._own_template = chat_template is not None
        self._early: deque[tuple[Pending[Any], Sequence[Message], Options]] = deque()
        self._helper = Helper("modkit-helper")
        self._vocab: Vocab | None = None

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

    def background(self, function: Callable[[], None]) -> None:
        """Runs function on the helper thread, off the frame, in order with chat()'s functions.

        Returns at once. What it raises is logged, and nothing else comes of it. close() waits for what is queued.
        """
        self._helper.run(function)

    @property
    def vocab(self) -> Vocab:
        """Tokens to text and back, on the calling thread, without the worker. Raises EngineError until ready.

        The same object at each look; close() closes it.
        """
        if self._vocab is None:
            address = self._worker.address("vocab")
            if not address:
                raise EngineError("the model is not loaded (here): its vocabulary comes with it")
            self._vocab = Vocab(self.library, address)
        return self._vocab

    @property
    def tool_format(self) -> str:
        """How this model's own template writes calls of tools: "tool_call" (Hermes, Qwen and their like), or "".

        "" as well while the template is not known, because the model is loading.
        """
        return self._template.tool_format

    # ---- a prompt, from messages to segments ----

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

    def _loaded(self, info: dict[str, Any]) -> None:
        if not self._own_template:
            self._template = ChatTemplate(info["chat_template"], info["bos"], info["eos"])
        self._helper.run(self._warm_template)
        while self._early:
            stream, messages, options = self._early.popleft()
            if stream.finish is None:
                self._submit_chat(stream, messages, options)

    def _warm_template(self) -> None:
        try:
            self._template.compile()
        except ModkitError as error:
            log.warning("%s: %s; chat() will say so", self.path.name, error)

    # ---- requests ----

    def _new_stream(self) -> Stream:
        return self._new_pending(Stream)

    def _new_choice(self, choices: list[str]) -> Choice:
        answer = self._new_pending(Choice)
        answer.choices = choices
        return answer

    def _new_pending(self, kind: type[P]) -> P:
        self._check_thread()
        self._check_alive()
        if len(self._streams) + len(self._early) >= MAX_WAITING:
            raise QueueFull(f"{MAX_WAITING} requests are waiting already; tick, or cancel some")
        stream = kind(self, self._next_id)  # type: ignore[arg-type]  # the rest of an engine is in Engine
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

    def _submit_texts(
        self, answer: Answer[Any], texts: list[str], *, rank: bool = False, pooling: int = -1,
        normalise: bool = False, trim: bool = True,
    ) -> Vectors:  # fmt: skip
        vectors = self._worker.embed(
            answer.id, texts, rank=rank, pooling=pooling, normalise=bool(normalise), trim=bool(trim)
        )
        self._streams[answer.id] = answer
        return vectors

    def _cancel(self, stream: Pending[Any]) -> None:
        self._check_thread()
        if stream.id in self._streams:
            self._worker.cancel(stream.id)
        else:  # not with the worker yet: the submit, when it comes, finds it ended
            stream._end("cancelled")

    def _end_all(self, error: ModkitError, also: Iterable[Pending[Any]] = ()) -> None:
        early = [asked[0] for asked in self._early]
        self._early.clear()
        super()._end_all(error, [*early, *also])
