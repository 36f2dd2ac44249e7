"""How a reply is sampled: one frozen, checked set of options for generate(), chat() and say()."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from modkit.errors import OptionError
from modkit.native.samplers import Sampler

__all__ = ["Options"]

MAX_STOPS = 16
MAX_LORAS = 8
MAX_STOP_BYTES = 256
_BY_SAMPLER = {"temperature", "top_k", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty"}
OVERFLOWS = ("refuse", "drop", "trim")  # in the order of core.h
PRIORITIES = ("ambient", "near", "player")  # in the order of core.h
MAX_GRAMMAR = 1 << 20
MAX_LOGPROBS = 100


def _pair(one: object) -> tuple[str, float]:
    """Path and scale of an adapter as it was given; an empty path when it is neither a path nor a pair."""
    path, scale = one, 1.0
    if isinstance(one, (list, tuple)) and len(one) == 2 and type(one[1]) in (int, float):
        path, scale = one[0], float(one[1])
    return (os.fspath(path), scale) if isinstance(path, (str, os.PathLike)) else ("", 0.0)


@dataclass(frozen=True)
class Options:
    """Keyword names are the field's own; see llama.cpp's sampling documentation for what each does.

    max_tokens          most tokens to generate (1 or more)
    temperature         0 is greedy: always the likeliest token
    top_k               keep the k likeliest; 0 keeps all
    top_p               keep the smallest set with this probability; 1 keeps all
    min_p               drop what is less likely than this share of the likeliest; 0 drops nothing
    seed                0 to 2**32 - 1; None takes a fresh random one
    stop                up to 16 strings that end the reply and are not part of it
    repeat_penalty      1 is off; above 1 makes repeats less likely
    frequency_penalty, presence_penalty   0 is off
    repeat_last_n       how many tokens back the penalties look
    pin                 how many tokens at the prompt's beginning stay whatever happens, and are worth keeping for the
                        next prompt that begins with them; None: in a chat, all before the first turn
    overflow            what happens when the context is too short. "drop": the oldest turns leave, never the pinned
                        beginning, also in mid-sentence; a last turn that alone is too long is refused. "trim": as
                        "drop", but such a turn loses its beginning. "refuse": an error, or the reply's end.
                        None: "drop" in a chat or with `pin`, else "refuse"
    lora                adapters for this reply: the path of a LoRA file, a list of paths, or of (path, scale) pairs; up
                        to 8. Others' replies are not touched, and what one set computed is not used for another
    control             a control vector: float32 numbers (a buffer, or a list), a row of the model's embedding size for
                        each layer but the first
    priority            "player" (who talks with the player), "near" or "ambient": shares of 4, 2 and 1 when several
                        speak and there is not time for all; a waiting one of higher priority starts first
    grammar             what the reply is held to: a Grammar, or a str of GBNF; a wrong one ends the stream with
                        GrammarError
    logprobs            1 to 100: `Stream.logprobs` has each token's log-probability and so many of the likeliest ones
    sampler             a Sampler, a profile's name ("precise", "balanced" …) or Sampler.plain(); temperature, top_k,
                        top_p, min_p and the penalties must then be left out. Or a function (candidates, tokens said) ->
                        token id: the slow road, see docs/engine.md
    thinking            in a chat with a model that can think before it speaks: True or False sets its template's switch
    thinking_budget     tokens after which a thought is ended (0: at once); they count in max_tokens; None: no end
    """

    max_tokens: int = 256
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int | None = None
    stop: str | Sequence[str] = ()
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int = 64
    pin: int | None = None
    priority: str = "near"
    grammar: object = None
    logprobs: int = 0
    sampler: object = None
    thinking: bool | None = None
    thinking_budget: int | None = None
    overflow: str | None = None
    lora: object = ()
    control: object = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_tokens", 1, 2**30),
            ("temperature", 0, 100),
            ("top_k", 0, 2**30),
            ("top_p", 0, 1),
            ("min_p", 0, 1),
            ("repeat_penalty", 0.01, 100),
            ("frequency_penalty", -100, 100),
            ("presence_penalty", -100, 100),
            ("repeat_last_n", 0, 2**20),
            ("logprobs", 0, MAX_LOGPROBS),
        ):
            value = getattr(self, name)
            whole = name in ("max_tokens", "top_k", "repeat_last_n", "logprobs")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise OptionError(f"{name}={value!r}: give a{' whole' if whole else ''} number")
            if math.isnan(value) or not low <= value <= high:
                raise OptionError(f"{name}={value!r} is outside {low} to {high}")
        if self.seed is not None and (not isinstance(self.seed, int) or not 0 <= self.seed < 2**32):
            raise OptionError(f"seed={self.seed!r}: give a whole number from 0 to 4294967295, or None")
        if self.pin is not None and (type(self.pin) is not int or not 0 <= self.pin < 2**30):
            raise OptionError(f"pin={self.pin!r}: give a number of tokens, or None")
        if self.priority not in PRIORITIES:
            raise OptionError(f'priority={self.priority!r}: give "player", "near" or "ambient"')
        if self.overflow is not None and self.overflow not in OVERFLOWS:
            raise OptionError(f'overflow={self.overflow!r}: give "drop", "trim", "refuse" or None')
        self.loras()
        self.control_vector()
        self.stops()
        self.grammar_text()
        self.chain()
        if self.thinking not in (None, True, False):
            raise OptionError(f"thinking={self.thinking!r}: give True, False or None")
        budget = self.thinking_budget
        if budget is not None and (type(budget) is not int or not 0 <= budget < 2**30):
            raise OptionError(f"thinking_budget={budget!r}: give a number of tokens, or None")

    def chain(self) -> Sampler | None:
        """The sampler, or None when the options above say it all; raises OptionError."""
        if callable(self.sampler) and not isinstance(self.sampler, Sampler):
            return None  # a function in Python: the engine asks it, not the worker
        made = Sampler.of(self.sampler)
        if made is not None and not made.links:
            raise OptionError("the sampler has no links: call one of its methods")
        return made

    def stops(self) -> list[bytes]:
        """The stop strings as UTF-8; raises OptionError when they are not usable."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop
        if not isinstance(given, Sequence) or not all(isinstance(s, str) for s in given):
            raise OptionError(f"stop={self.stop!r}: give a string or a list of strings")
        encoded = [s.encode("utf-8", "replace") for s in given if s]
        if len(encoded) > MAX_STOPS or any(len(s) > MAX_STOP_BYTES for s in encoded):
            raise OptionError(f"stop: at most {MAX_STOPS} strings of at most {MAX_STOP_BYTES} bytes")
        return encoded

    def grammar_text(self) -> tuple[bytes, bytes, list[bytes]] | None:
        """The grammar as (GBNF, root, triggers) in UTF-8, or None; raises OptionError when it is none.

        What is in the text is the worker's to judge: reading it can take longer than a frame has.
        """
        given = self.grammar
        if given is None:
            return None
        parts = given if isinstance(given, Mapping) else {"gbnf": given} if isinstance(given, str) else None
        text, root, triggers = (
            (getattr(given, "gbnf", None), getattr(given, "root", None), getattr(given, "triggers", ()))
            if parts is None
            else (parts.get("gbnf"), parts.get("root", "root"), parts.get("triggers", ()))
        )
        if not isinstance(text, str) or not isinstance(root, str):
            raise OptionError(f"grammar: give a Grammar or a str of GBNF, not {type(given).__name__}")
        if not isinstance(triggers, tuple | list) or not all(isinstance(t, str) and t for t in triggers):
            raise OptionError("grammar: its triggers are texts, none of them empty")
        made = [t.encode("utf-8", "replace") for t in triggers]
        if len(text) > MAX_GRAMMAR or len(root) > 200 or len(made) > MAX_STOPS or any(len(t) > 400 for t in made):
            raise OptionError(f"grammar: at most {MAX_GRAMMAR} characters, and {MAX_STOPS} triggers of 400 bytes")
        return text.encode("utf-8", "replace"), root.encode("utf-8", "replace"), made

    def plain_grammar(self) -> dict[str, object] | None:
        """The grammar as plain values, which `grammar=` takes as well."""
        made = self.grammar_text()
        if made is None:
            return None
        return {"gbnf": made[0].decode(), "root": made[1].decode(), "triggers": [t.decode() for t in made[2]]}

    def loras(self) -> tuple[tuple[str, float], ...]:
        """(absolute path, scale) of each; raises OptionError."""
        given = [self.lora] if isinstance(self.lora, (str, os.PathLike)) else self.lora
        made = []
        listed: Sequence[object] = given if isinstance(given, Sequence) else [None]
        for one in listed:
            path, scale = _pair(one)
            if not path or "\0" in path or not abs(scale) <= 1000:
                raise OptionError(f"lora={self.lora!r}: give the path of a LoRA file, or a list of (path, scale) pairs")
            made.append((os.path.abspath(path), scale))
        if len(made) > MAX_LORAS:
            raise OptionError(f"lora: at most {MAX_LORAS} adapters at once")
        return tuple(made)

    def control_vector(self) -> bytes:
        """As float32; raises OptionError."""
        if self.control is None:
            return b""
        try:
            if isinstance(self.control, (list, tuple)):
                numbers = array("f", self.control)
            else:
                numbers = array("f", bytes(memoryview(self.control).cast("B")))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as error:
            raise OptionError(f"control: give a buffer or a list of float32 numbers ({error})") from None
        if not numbers or len(numbers) > 1 << 24 or not all(map(math.isfinite, numbers)):
            raise OptionError("control: the vector is empty, too long, or has a number that is not finite")
        return numbers.tobytes()

    def drawn_seed(self) -> int:
        """The seed, or a random one."""
        return int.from_bytes(os.urandom(4), "little") if self.seed is None else self.seed

    @classmethod
    def of(cls, given: dict[str, object]) -> Options:
        """From keyword arguments; an unknown name raises OptionError that lists the known ones."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise OptionError(f"unknown option {unknown[0]!r}; the options are {', '.join(sorted(known))}")
        doubled = sorted(_BY_SAMPLER & set(given)) if given.get("sampler") is not None else []
        if doubled:
            raise OptionError(f"{doubled[0]} is the sampler's: write it there, or leave sampler= out")
        return cls(**given)  # type: ignore[arg-type]
