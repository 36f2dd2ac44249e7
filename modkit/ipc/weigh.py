"""What a server of the OpenAI protocol says of probabilities, and how answers are weighed by it.

Each choice is asked for by itself, with a grammar that allows nothing else (llama-server's `grammar`, vLLM's
`structured_outputs`): both tell how likely each token was before the grammar had its say, so the sum is what the model
finds of the whole choice. A server that knows no such thing is asked for its likeliest first tokens instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modkit.errors import EngineError

__all__ = ["LIKELIEST", "Told", "Weighing", "tokens_of"]

LIKELIEST = 20  # the most that OpenAI's own servers list; others list more
_NEVER = -1e30  # the logarithm of a choice that is not among the likeliest: its share is 0


class Told(NamedTuple):
    """A token as a server describes it; `token` is its id, or -1 where it is not told."""

    token: int
    logprob: float
    raw: bytes
    top: tuple[Told, ...] = ()

    def records(self) -> list[list[Any]]:
        """As a worker tells it: the chosen one, then the likeliest."""
        return [[one.token, one.logprob, one.raw.decode("utf-8", "replace")] for one in (self, *self.top)]


def tokens_of(choice: Mapping[str, Any]) -> list[Told]:
    """The tokens of one choice (or a piece of one) with their log-probabilities; [] when the server told none.

    Raises EngineError for what is neither of the protocol's two forms.
    """
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return []
    try:
        if isinstance(given.get("content"), list):
            return [_told(one, one.get("top_logprobs") or []) for one in given["content"]]
        names, logprobs, tops = given.get("tokens") or [], given.get("token_logprobs") or [], given.get("top_logprobs")
        listed: Sequence[Any] = tops or [None] * len(names)
        return [
            Told(-1, _number(logprob), name.encode("utf-8", "replace"), _likeliest(top or {}))
            for name, logprob, top in zip(names, logprobs, listed)
        ]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise EngineError("the server's log-probabilities are not what the OpenAI protocol says") from None


def _told(one: Mapping[str, Any], top: Sequence[Mapping[str, Any]]) -> Told:
    token = one.get("id")
    given = one.get("bytes")
    raw = bytes(given) if isinstance(given, list) else one["token"].encode("utf-8", "replace")
    likeliest = tuple(_told(other, ()) for other in top[:1000])
    return Told(token if type(token) is int else -1, _number(one["logprob"]), raw, likeliest)


def _likeliest(top: Mapping[str, Any]) -> tuple[Told, ...]:
    """The older form: a map from text to logarithm."""
    return tuple(Told(-1, _number(value), name.encode("utf-8", "replace")) for name, value in top.items())


def _number(value: Any) -> float:
    number = max(float(value), _NEVER)
    if math.isnan(number) or number > 1e-3:  # rounding makes a certain token a hair more than certain
        raise ValueError("no logarithm of a probability")
    return number


class Weighing:
    """One `ask()` on its way: request after request, until each choice has its logarithm.

    chat: whether the request is one of messages. `base` is the request's body without what is said here.
    """

    def __init__(self, choices: Sequence[str], *, chat: bool) -> None:
        self.base: dict[str, Any] = {}
        self.logarithms: list[float] = []
        self._choices = choices
        self._chat = chat
        self._held = True  # while the server is believed to hold a reply to a grammar

    @property
    def path(self) -> str:
        """Where to ask."""
        return "/chat/completions" if self._chat else "/completions"

    def body(self) -> dict[str, Any]:
        """The next request."""
        made = {**self.base, "temperature": 0, "stream": False, **self._logprobs(LIKELIEST if not self._held else 1)}
        if not self._held:
            return {**made, "max_tokens": 1}
        choice = self._choices[len(self.logarithms)]
        made["max_tokens"] = len(choice.encode("utf-8", "replace")) + 1
        from modkit.native.grammar.write import quoted  # here: grammars are for those who use them

        made["grammar"] = f"root ::= {quoted(choice)}"
        made["structured_outputs"] = {"choice": [choice]}
        made["cache_prompt"] = True  # the question is read once, then it is the choices' turn
        if self._chat:
            made["chat_template_kwargs"] = {"enable_thinking": False}
        return made

    def _logprobs(self, n: int) -> dict[str, Any]:
        return {"logprobs": True, "top_logprobs": n} if self._chat else {"logprobs": n}

    def take(self, body: Any) -> bool:
        """Takes an answer; True when no further one is needed. Raises EngineError."""
        listed = body.get("choices") if isinstance(body, dict) else None
        choice = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
        tokens = tokens_of(choice)
        if not tokens:
            raise EngineError(
                "the server tells no log-probabilities, without which answers cannot be weighed: ask() needs a "
                "llama-server, a vLLM, or an engine of one's own"
            )
        if not self._held:
            self.logarithms = self._by_first_tokens(tokens[0])
            return True
        weighed = _spelt(self._choices[len(self.logarithms)], tokens)
        if weighed is None:
            self._held = False  # it said something else: it does not know grammars
            return False
        self.logarithms.append(weighed)
        return len(self.logarithms) == len(self._choices)

    def refused(self) -> bool:
        """The server did not take the request; True when there is another way to ask."""
        held, self._held = self._held, False
        return held

    def _by_first_tokens(self, first: Told) -> list[float]:
        """Each choice by the tokens that begin it. Raises EngineError when these do not tell the choices apart."""
        shares = [0.0] * len(self._choices)
        spelt = [choice.encode("utf-8", "replace") for choice in self._choices]
        if self._chat:  # some templates leave the blank to the reply
            spelt = [choice.lstrip() for choice in spelt]
        for told in first.top or (first,):
            raw = told.raw.lstrip() if self._chat else told.raw
            begun = [i for i, choice in enumerate(spelt) if raw and choice.startswith(raw)]
            if len(begun) > 1:
                raise EngineError(
                    f"the server weighs first tokens only, and {self._choices[begun[0]][:40]!r} and "
                    f"{self._choices[begun[1]][:40]!r} begin with the same one: take choices that begin differently"
                )
            for i in begun:
                shares[i] += math.exp(told.logprob)
        if not any(shares):
            raise EngineError("none of the choices is among the server's likeliest tokens, so they cannot be weighed")
        return [math.log(share) if share > 0 else _NEVER for share in shares]


def _spelt(choice: str, tokens: Sequence[Told]) -> float | None:
    """The logarithm of the choice, when the tokens begin by spelling it; else None."""
    wanted = choice.encode("utf-8", "replace")
    said, logarithm = b"", 0.0
    for told in tokens:
        said += told.raw
        logarithm += told.logprob
        if said == wanted:
            return logarithm
        if not wanted.startswith(said):
            return None
    return None
