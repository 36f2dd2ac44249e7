"""`Sampler`: how the next token is chosen, link by link, as `sampler=` of generate(), chat() and say() takes it.

    Sampler().top_k(40).min_p(0.05).temp(0.8)          # the last link chooses; without one that does, dist() is added
    Sampler.profile("balanced").dry(0.8)               # a named one, and more
    Sampler.from_json(text)                            # what to_json() wrote

Immutable: each call gives a new one. Links work in the order in which they are written. Every value is checked when it
is written, so nothing that llama.cpp would fail an assertion on reaches it. Any thread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modkit.errors import OptionError

__all__ = ["CHOOSERS", "KINDS", "PROFILES", "Kind", "Link", "Sampler"]

MAX_LINKS = 32
MAX_BREAKERS = 64
MAX_BIASES = 4096
_SEED = "seed"


@dataclass(frozen=True)
class Kind:
    """A sampler of llama.cpp: its number in core.h, and its values by name: (lowest, highest, whole, default).

    `ints` and `floats` say in which order C takes them; a seed goes apart.
    """

    number: int
    ints: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    values: Mapping[str, tuple[float, float, bool, float | None]] = field(default_factory=dict)
    seeded: bool = False


_KEEP = {"min_keep": (1, 1 << 20, True, 1.0)}


def _share(default: float | None = None) -> tuple[float, float, bool, float | None]:
    return (0, 1, False, default)


KINDS: dict[str, Kind] = {
    "greedy": Kind(1),
    "dist": Kind(2, seeded=True),
    "top_k": Kind(3, ("k",), (), {"k": (0, 1 << 30, True, None)}),
    "top_p": Kind(4, ("min_keep",), ("p",), {"p": _share(), **_KEEP}),
    "min_p": Kind(5, ("min_keep",), ("p",), {"p": _share(), **_KEEP}),
    "typical": Kind(6, ("min_keep",), ("p",), {"p": _share(), **_KEEP}),
    "temp": Kind(7, (), ("t",), {"t": (0, 100, False, None)}),
    "temp_ext": Kind(
        8,
        (),
        ("t", "delta", "exponent"),
        {"t": (0, 100, False, None), "delta": (0, 100, False, None), "exponent": (0, 100, False, 1.0)},
    ),
    "top_n_sigma": Kind(9, (), ("n",), {"n": (0, 1000, False, None)}),
    "xtc": Kind(10, ("min_keep",), ("p", "t"), {"p": _share(), "t": _share(), **_KEEP}, seeded=True),
    "mirostat": Kind(
        11,
        ("m",),
        ("tau", "eta"),
        {"tau": (0.01, 100, False, 5.0), "eta": (0.0001, 10, False, 0.1), "m": (2, 10000, True, 100.0)},
        seeded=True,
    ),
    "mirostat_v2": Kind(
        12, (), ("tau", "eta"), {"tau": (0.01, 100, False, 5.0), "eta": (0.0001, 10, False, 0.1)}, seeded=True
    ),
    "adaptive_p": Kind(
        13, (), ("target", "decay"), {"target": _share(), "decay": (0, 0.99, False, 0.9)}, seeded=True
    ),
    "penalties": Kind(
        14,
        ("last_n",),
        ("repeat", "frequency", "presence"),
        {
            "repeat": (0.01, 100, False, 1.0),
            "frequency": (-100, 100, False, 0.0),
            "presence": (-100, 100, False, 0.0),
            "last_n": (0, 1 << 20, True, 64.0),
        },
    ),
    "dry": Kind(
        15,
        ("allowed_length", "last_n"),
        ("multiplier", "base"),
        {
            "multiplier": (0, 100, False, None),
            "base": (1, 100, False, 1.75),
            "allowed_length": (0, 1 << 20, True, 2.0),
            "last_n": (0, 1 << 20, True, 1024.0),
        },
    ),
    "logit_bias": Kind(16),
    "infill": Kind(17),
}
CHOOSERS = ("greedy", "dist", "mirostat", "mirostat_v2", "adaptive_p")
"""Links that choose the token: one of them may stand at the end, and nowhere else."""

PROFILES: dict[str, list[dict[str, object]]] = {
    "deterministic": [{"kind": "greedy"}],
    "precise": [{"kind": "top_k", "k": 20}, {"kind": "min_p", "p": 0.1}, {"kind": "temp", "t": 0.3}],
    "balanced": [
        {"kind": "top_k", "k": 40},
        {"kind": "top_p", "p": 0.95},
        {"kind": "min_p", "p": 0.05},
        {"kind": "temp", "t": 0.8},
    ],
    "talkative": [
        {"kind": "dry", "multiplier": 0.8},
        {"kind": "min_p", "p": 0.05},
        {"kind": "temp", "t": 1.0},
    ],
    "creative": [
        {"kind": "dry", "multiplier": 0.8},
        {"kind": "xtc", "p": 0.5, "t": 0.1},
        {"kind": "min_p", "p": 0.02},
        {"kind": "temp", "t": 1.2},
    ],
}
"""deterministic: the likeliest token, always. precise: facts and forms. balanced: the defaults of generate().
talkative: long talk that does not go round in circles. creative: avoids the obvious word."""


@dataclass(frozen=True)
class Link:
    """One sampler and its values, all of them written out; `breakers` are dry()'s, `biases` logit_bias()'s."""

    kind: str
    values: tuple[tuple[str, float], ...] = ()
    seed: int | None = None
    breakers: tuple[str, ...] = ()
    biases: tuple[tuple[int, float], ...] = ()

    def plain(self) -> dict[str, object]:
        made: dict[str, object] = {"kind": self.kind, **dict(self.values)}
        if self.seed is not None:
            made[_SEED] = self.seed
        if self.kind == "dry":
            made["breakers"] = list(self.breakers)
        if self.kind == "logit_bias":
            made["biases"] = {str(token): by if math.isfinite(by) else "ban" for token, by in self.biases}
        return made


def _number(where: str, value: object, low: float, high: float, whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise OptionError(f"{where}={value!r}: give a{' whole' if whole else ''} number")
    if math.isnan(value) or not low <= value <= high:
        raise OptionError(f"{where}={value!r} is outside {low:g} to {high:g}")
    return value


def _link(kind: object, given: Mapping[str, object]) -> Link:
    """A checked link; raises OptionError."""
    known = KINDS.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(kind, str):
        raise OptionError(f"sampler {kind!r} is not known; there are {', '.join(KINDS)}")
    extra = ["seed"] if known.seeded else {"dry": ["breakers"], "logit_bias": ["biases"]}.get(kind, [])
    unknown = sorted(str(name) for name in given if name not in known.values and name not in extra)
    if unknown:
        takes = ", ".join([*known.values, *extra]) or "none"
        raise OptionError(f"sampler {kind}: unknown value {unknown[0]!r}; it takes {takes}")
    values = []
    for name, (low, high, whole, default) in known.values.items():
        value = given.get(name, default)
        if value is None:
            raise OptionError(f"sampler {kind}: {name} is missing")
        if whole and name not in given:
            value = int(default or 0)
        values.append((name, _number(f"sampler {kind}: {name}", value, low, high, whole)))
    seed = given.get(_SEED)
    if seed is not None:
        seed = int(_number(f"sampler {kind}: seed", seed, 0, 2**32 - 1, True))
    return Link(
        kind,
        tuple(values),
        seed,
        _breakers(given.get("breakers", _BREAKERS)) if kind == "dry" else (),
        _biases(given.get("biases")) if kind == "logit_bias" else (),
    )


_BREAKERS = ("\n", ":", '"', "*")


def _breakers(given: object) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)) or len(given) > MAX_BREAKERS:
        raise OptionError(f"sampler dry: breakers are a list of at most {MAX_BREAKERS} texts")
    if not all(isinstance(text, str) and 0 < len(text) <= 40 and "\0" not in text for text in given):
        raise OptionError("sampler dry: a breaker is a text of 1 to 40 characters")
    return tuple(given)


def _biases(given: object) -> tuple[tuple[int, float], ...]:
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_BIASES:
        raise OptionError(f"sampler logit_bias: give {{token id: bias}}, at most {MAX_BIASES} of them")
    found = []
    for token, by in given.items():
        number = int(token) if isinstance(token, str) and token.isdigit() and len(token) < 11 else token
        _number("sampler logit_bias: token", number, 0, 2**31 - 1, True)
        if by == "ban" or by == float("-inf"):
            found.append((int(number), float("-inf")))
        else:
            found.append((int(number), float(_number("sampler logit_bias: bias", by, -1000, 1000, False))))
    return tuple(found)


@dataclass(frozen=True)
class Sampler:
    """An immutable chain; see the module. Every method returns a longer one, and raises OptionError for bad values."""

    links: tuple[Link, ...] = ()

    def _then(self, kind: str, **values: object) -> Sampler:
        if self.links and self.links[-1].kind in CHOOSERS:
            raise OptionError(f"{self.links[-1].kind}() chooses the token, so {kind}() cannot come behind it")
        if len(self.links) >= MAX_LINKS:
            raise OptionError(f"a sampler has at most {MAX_LINKS} links")
        return Sampler((*self.links, _link(kind, {name: v for name, v in values.items() if v is not None})))

    def greedy(self) -> Sampler:
        """Always the likeliest. Chooses."""
        return self._then("greedy")

    def dist(self, seed: int | None = None) -> Sampler:
        """By chance, as the probabilities say. Chooses. seed: None takes that of the request."""
        return self._then("dist", seed=seed)

    def top_k(self, k: int) -> Sampler:
        """Keeps the k likeliest; 0 keeps all."""
        return self._then("top_k", k=k)

    def top_p(self, p: float, min_keep: int = 1) -> Sampler:
        """Keeps the smallest set with this probability."""
        return self._then("top_p", p=p, min_keep=min_keep)

    def min_p(self, p: float, min_keep: int = 1) -> Sampler:
        """Drops what is less likely than this share of the likeliest."""
        return self._then("min_p", p=p, min_keep=min_keep)

    def typical(self, p: float, min_keep: int = 1) -> Sampler:
        """Locally typical sampling: keeps what is about as surprising as the model expects."""
        return self._then("typical", p=p, min_keep=min_keep)

    def temp(self, t: float) -> Sampler:
        """Divides the logits; 0 leaves the likeliest alone."""
        return self._then("temp", t=t)

    def temp_ext(self, t: float, delta: float, exponent: float = 1.0) -> Sampler:
        """Dynamic temperature: t - delta to t + delta, lower the surer the model is."""
        return self._then("temp_ext", t=t, delta=delta, exponent=exponent)

    def top_n_sigma(self, n: float) -> Sampler:
        """Keeps logits within n standard deviations of the highest."""
        return self._then("top_n_sigma", n=n)

    def xtc(self, p: float, t: float, min_keep: int = 1, seed: int | None = None) -> Sampler:
        """With probability p, drops all tokens above the threshold t but the least likely of them."""
        return self._then("xtc", p=p, t=t, min_keep=min_keep, seed=seed)

    def mirostat(self, tau: float = 5.0, eta: float = 0.1, m: int = 100, seed: int | None = None) -> Sampler:
        """Mirostat 1: holds the surprise at tau. Chooses."""
        return self._then("mirostat", tau=tau, eta=eta, m=m, seed=seed)

    def mirostat_v2(self, tau: float = 5.0, eta: float = 0.1, seed: int | None = None) -> Sampler:
        """Mirostat 2. Chooses."""
        return self._then("mirostat_v2", tau=tau, eta=eta, seed=seed)

    def adaptive_p(self, target: float, decay: float = 0.9, seed: int | None = None) -> Sampler:
        """Prefers tokens near a target probability, over time. Chooses; behind min_p alone."""
        return self._then("adaptive_p", target=target, decay=decay, seed=seed)

    def penalties(
        self, repeat: float = 1.0, frequency: float = 0.0, presence: float = 0.0, last_n: int = 64
    ) -> Sampler:
        """Makes what was said in the last n tokens less likely."""
        return self._then("penalties", repeat=repeat, frequency=frequency, presence=presence, last_n=last_n)

    def dry(
        self,
        multiplier: float,
        base: float = 1.75,
        allowed_length: int = 2,
        last_n: int = 1024,
        breakers: Sequence[str] = _BREAKERS,
    ) -> Sampler:
        """Makes longer and longer repeats of whole passages unlikely; breakers end a passage."""
        return self._then(
            "dry",
            multiplier=multiplier,
            base=base,
            allowed_length=allowed_length,
            last_n=last_n,
            breakers=tuple(breakers) if not isinstance(breakers, str) else breakers,
        )

    def logit_bias(self, biases: Mapping[int, float]) -> Sampler:
        """Adds to the logits of tokens, by id; float("-inf") bans one. Ids outside the vocabulary end the stream."""
        return self._then("logit_bias", biases=biases)

    def infill(self) -> Sampler:
        """For filling the middle of a text; behind top_k and top_p."""
        return self._then("infill")

    @classmethod
    def profile(cls, name: str) -> Sampler:
        """A named one: see PROFILES."""
        if name not in PROFILES:
            raise OptionError(f"sampler profile {name!r} is not known; there are {', '.join(PROFILES)}")
        return cls.from_plain(PROFILES[name])

    def plain(self) -> list[dict[str, object]]:
        """As lists and dicts, one for each link."""
        return [link.plain() for link in self.links]

    @classmethod
    def from_plain(cls, links: object) -> Sampler:
        """From what plain() gives; raises OptionError."""
        if not isinstance(links, (list, tuple)):
            raise OptionError("a sampler is written as a list of links")
        made = cls()
        for link in links:
            if not isinstance(link, Mapping) or "kind" not in link:
                raise OptionError('a sampler\'s link is written as {"kind": …, and its values}')
            values = {str(name): value for name, value in link.items() if name != "kind"}
            made = made._then(str(link["kind"]), **{name: value for name, value in values.items() if name != "kind"})
        return made

    def to_json(self) -> str:
        """As text, for from_json()."""
        return json.dumps(self.plain())

    @classmethod
    def from_json(cls, text: str) -> Sampler:
        """From what to_json() gives; raises OptionError."""
        try:
            return cls.from_plain(json.loads(text))
        except (ValueError, RecursionError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"this is no sampler's JSON: {error}") from None

    @classmethod
    def of(cls, given: object) -> Sampler | None:
        """What `sampler=` takes: a Sampler, a profile's name, or plain(); None for None. Raises OptionError."""
        if given is None or isinstance(given, Sampler):
            return given
        return cls.profile(given) if isinstance(given, str) else cls.from_plain(given)
