"""A request as C takes it, with everything that it points to kept alive until it was copied."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.native._core import ffi
from modkit.native._core import lib as core
from modkit.native.samplers import KINDS
from modkit.native.sampling import PRIORITIES

if TYPE_CHECKING:
    from modkit.native.samplers import Sampler
    from modkit.native.sampling import Options

__all__ = ["MAX_PROMPT_BYTES", "Request"]

MAX_PROMPT_BYTES = 1 << 26


class Request:
    """`c` is the mk_request to submit; this object owns the memory behind it."""

    def __init__(self, id: int) -> None:
        self.c = ffi.new("mk_request *")
        self.c.id = id
        self._keep: list[Any] = []

    def prompt(self, segments: Sequence[tuple[Any, bool]], turns: Sequence[int] | None) -> None:
        """The pieces of a prompt: (text or token ids, whether it is the template's). Raises OptionError."""
        made = ffi.new("mk_segment[]", max(1, len(segments)))
        total = 0
        for i, (content, is_template) in enumerate(segments):
            if isinstance(content, str):
                data = content.encode("utf-8", "replace")
                self._text(made[i], data)
                made[i].kind = core.MK_TEMPLATE if is_template else core.MK_TEXT
                total += len(data)
            else:
                tokens = ffi.new("int32_t[]", list(content))
                made[i].data, made[i].length, made[i].kind = tokens, len(content), core.MK_TOKENS
                self._keep.append(tokens)
                total += 4 * len(content)
            made[i].turn = turns is not None and i in turns
        if total > MAX_PROMPT_BYTES:
            raise OptionError(f"the prompt has {total} bytes; at most {MAX_PROMPT_BYTES} are accepted")
        self.c.segments, self.c.n_segments = made, len(segments)
        self._keep.append(made)

    def texts(self, texts: Sequence[str]) -> None:
        """Texts to embed or to rank. Raises OptionError."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        total = sum(map(len, encoded))
        if total > MAX_PROMPT_BYTES:
            raise OptionError(f"the texts have {total} bytes; at most {MAX_PROMPT_BYTES} are accepted at once")
        self.c.segments, self.c.n_segments = self._list(encoded), len(encoded)

    def choices(self, choices: Sequence[str]) -> None:
        """Answers to weigh."""
        encoded = [choice.encode("utf-8", "replace") for choice in choices]
        self.c.choices, self.c.n_choices = self._list(encoded), len(encoded)

    def thought(self, opens: str, closes: str, opened: bool, budget: int | None) -> None:
        """The marks between which the model thinks."""
        self.c.thought_open, self.c.thought_close = self._list([opens.encode()]), self._list([closes.encode()])
        self.c.thinking, self.c.thought_budget = opened, -1 if budget is None else budget

    def sampling(self, options: Options) -> None:
        """How the reply is sampled, and where it ends."""
        c, stops = self.c, options.stops()
        c.stops, c.n_stops = self._list(stops), len(stops)
        c.max_tokens = options.max_tokens
        c.temperature, c.top_p, c.min_p = options.temperature, options.top_p, options.min_p
        c.top_k, c.seed = options.top_k, options.drawn_seed()
        c.repeat_penalty = options.repeat_penalty
        c.frequency_penalty, c.presence_penalty = options.frequency_penalty, options.presence_penalty
        c.repeat_last_n = options.repeat_last_n
        c.priority = PRIORITIES.index(options.priority)
        c.logprobs = options.logprobs
        chain = options.chain()
        if chain is not None:
            self._samplers(chain, c.seed)
        grammar = options.grammar_text()
        if grammar is not None:
            gbnf, root, triggers = grammar
            c.grammar, c.root = self._list([gbnf]), self._list([root])
            c.triggers, c.n_triggers = self._list(triggers), len(triggers)

    def _samplers(self, chain: Sampler, seed: int) -> None:
        made = ffi.new("mk_sampler[]", len(chain.links))
        for at, link in zip(made, chain.links):
            kind, values = KINDS[link.kind], dict(link.values)
            at.kind = kind.number
            for i, name in enumerate(kind.ints):
                at.ints[i] = int(values[name])
            for i, name in enumerate(kind.floats):
                at.floats[i] = values[name]
            if kind.seeded:  # an int32 in C that carries 32 bits
                at.ints[3] = int(ffi.cast("int32_t", seed if link.seed is None else link.seed))
            data = b"".join(breaker.encode("utf-8", "replace") + b"\0" for breaker in link.breakers)
            data += b"".join(struct.pack("=if", token, by) for token, by in link.biases)
            block = ffi.from_buffer(data) if data else ffi.NULL
            at.data, at.size = block, len(data)
            self._keep.append(block)
        self._keep.append(made)
        self.c.samplers, self.c.n_samplers = made, len(chain.links)

    def _text(self, segment: Any, data: bytes) -> None:
        block = ffi.from_buffer(data) if data else ffi.NULL
        segment.data, segment.length, segment.kind = block, len(data), core.MK_TEXT
        self._keep.append(block)

    def _list(self, items: Sequence[bytes]) -> Any:
        made = ffi.new("mk_segment[]", max(1, len(items)))
        for segment, data in zip(made, items):
            self._text(segment, data)
        self._keep.append(made)
        return made
