"""What a grammar costs: tokens a second held and free, and the frame while schemas are made into grammars.

    python -m benchmarks.grammar [--quick] [--model MODEL.gguf] [--tokens 120] [--rounds 5] [--seconds 20]

First, replies in turn over the same model and seeds, free and under three grammars: the model of the frame's table
(300 MB, 32,000 tokens), and a tiny one with 32,000 and 128,000, where a token is computed in a fraction of the time and
the grammar's part is largest. Random weights want other tokens than the grammar nearly always, so the whole vocabulary
is asked far more often than with a trained model: these are costs at their worst.

Then a game of 60 frames a second in which somebody speaks all the time and a short reply is asked for every second: in
every second window under a new schema of 300 rules, which the helper thread makes into a grammar and the worker
compiles. Nothing else should run on the machine meanwhile. --quick: that everything works, not how fast. 5 minutes.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import hosts
from benchmarks.figures import Target, percentile, spread, table
from benchmarks.models import FOLDER, frame_model, small_model
from modkit import Engine
from modkit.native.grammar import Grammar

__all__ = ["cost", "frames", "main", "section"]

# a thousand values: no reply comes to its end before it has all its tokens
JSON = r"""
root ::= "[" value ("," value){999} "]"
value ::= string | [0-9]{1,9} | "{" (pair ("," pair)*)? "}" | "[" (value ("," value)*)? "]"
pair ::= string ":" value
string ::= "\"" [^"\\\x00-\x1F]* "\""
"""
ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["lamp", "rope", "oil", "letter"]},
        "price": {"type": "integer", "minimum": 1, "maximum": 500},
        "worn": {"type": "boolean"},
    },
    "required": ["name", "kind", "price"],
    "additionalProperties": False,
}
LIMIT = 0.85  # of free speech
RULES = 300


def grammars() -> dict[str, str | Grammar | None]:
    """By name; "free" is none."""
    return {
        "free": None,
        "any text": r"root ::= [^\x00]*",
        "JSON": JSON,
        "a schema": Grammar.from_schema({"type": "array", "items": ITEM, "minItems": 999}),
    }


def tiny_model(vocab: int, quick: bool = False) -> Path:
    """4 layers of 256 with so large a vocabulary."""
    if vocab == 32_000:
        return small_model()
    from tests.make_model import make_model

    path = FOLDER / f"grammar-{'quick-' if quick else ''}{vocab}.gguf"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        made = make_model(path.with_suffix(".part"), width=64 if quick else 256, layers=4, vocab=vocab)
        made.replace(path)
    return path


def loaded(model: Path, **settings: Any) -> Engine:
    engine = Engine(model, gpu_layers=0, threads=1, cache_ram=None, draft=0, **settings)
    while engine.loading:
        engine.tick()
        time.sleep(0.001)
    time.sleep(2.0)  # it learns what a batch costs
    return engine


# ---- tokens a second ----


@dataclass
class Cost:
    """Of one grammar: tokens a second of each round, and seconds to the first token when it was new."""

    first: float = 0.0
    rates: list[float] = field(default_factory=list)


def cost(model: Path, tokens: int, rounds: int) -> dict[str, Cost]:
    """Each grammar in turn, in every round with the same seed."""
    found = {name: Cost() for name in grammars()}
    with loaded(model) as engine:
        for name, grammar in grammars().items():  # the first of all sorts the vocabulary
            first = engine.generate("the lamp", max_tokens=4, grammar=grammar)
            first.result()
            found[name].first = first.stats.time_to_first_token
        for seed in range(rounds):
            for name, grammar in grammars().items():
                stream = engine.generate("the lamp went out", max_tokens=tokens, grammar=grammar, seed=seed)
                stream.result()
                if stream.stats.generated_tokens == tokens:
                    found[name].rates.append(stream.stats.tokens_per_second)
    return found


# ---- the frame ----


def schema(number: int) -> dict[str, Any]:
    """One that was never seen before, of some 300 rules."""
    part = {"type": "object", "additionalProperties": False}
    properties = {
        f"field-{number}-{n}": {**part, "properties": {"n": {"type": "integer", "maximum": number + n}}}
        for n in range(RULES // 3)
    }
    return {**part, "properties": properties}


@dataclass
class Window:
    """Of one kind of window, all rounds: what hosts.Frames has, what asking took on the frame (ns), what making a
    grammar took on the helper thread (s), and when its reply's first token came (s)."""

    ticks: list[Sequence[int]] = field(default_factory=list)
    work: list[Sequence[int]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    made: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


def frames(model: Path, seconds: float, rounds: int) -> tuple[dict[str, Window], int]:
    """The windows "without" and "with" schemas, in turn; and the rules of such a schema's grammar."""
    found = {"without": Window(), "with": Window()}
    rules = Grammar.from_schema(schema(0)).gbnf.count("::=")
    amount = hosts.calibrate()
    numbers = iter(range(1, 1_000_000))
    with loaded(model, slots=2, context=2048) as engine:
        for _ in range(rounds):
            for name, window in found.items():
                _window(engine, window, name == "with", amount, round(seconds * 60), numbers)
    return found, rules


def _window(engine: Engine, window: Window, with_schemas: bool, amount: int, count: int, numbers: Any) -> None:
    made: deque[Grammar] = deque()
    speaker = [engine.generate("the lamp", max_tokens=1000)]
    replies = []

    def make() -> None:
        begun = time.perf_counter()
        grammar = Grammar.from_schema(schema(next(numbers)))
        window.made.append(time.perf_counter() - begun)
        made.append(grammar)

    def over(n: int) -> bool:
        begun = time.perf_counter_ns()
        asks = n % 60 == 30
        if asks and with_schemas:
            engine.background(make)
        elif asks or made:
            replies.append(engine.generate("the oil", max_tokens=8, grammar=made.popleft() if made else None))
            asks = True
        if asks:
            window.asked.append(time.perf_counter_ns() - begun)
        if speaker[0].done:
            speaker[0] = engine.generate("the lamp", max_tokens=1000)
        return n >= count

    played = hosts.run("60fps", amount, engine.tick, over)
    speaker[0].cancel()
    for reply in replies:
        reply.result()
        window.first.append(reply.stats.time_to_first_token)
    window.ticks.append(played.tick)
    window.work.append(played.work)


# ---- the report ----


def section(
    models: Sequence[tuple[str, Path, bool]], tokens: int, rounds: int, seconds: float
) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers. A model is its name, its file, and whether it has a target."""
    rows, targets = [], []
    for name, model, held in models:
        found = cost(model, tokens, rounds)
        free = median(found["free"].rates or [float("nan")])
        for grammar, one in found.items():
            if not one.rates:
                rows.append([name, grammar, "every reply ended early", *["–"] * 3])
                continue
            rate = median(one.rates)
            share = f"{rate / free:.3f}"
            more = f"{1e6 / rate - 1e6 / free:+.0f}"
            rows.append([name, grammar, f"{rate:.1f}", share, more, f"{one.first * 1e3:.0f}"])
            if held and grammar != "free":
                promise = f"tok/s under a grammar ({grammar}) ≥ {LIMIT} of free speech, {name}"
                targets.append(Target(promise, share, rate >= LIMIT * free))
    head = ("model", "reply", "tok/s", "of free", "µs a token", "first token when new, ms")
    windows, rules = frames(models[0][1], seconds, rounds)
    ticks = {name: spread(window.ticks, 1e-3) for name, window in windows.items()}
    lines = [
        [
            f"{name} schemas",
            ticks[name].text(0),
            spread(window.work, 1e-6).text(2),
            f"{max(window.asked, default=0) / 1e3:.0f}",
            f"{median(window.made) * 1e3:.0f}" if window.made else "–",
            f"{median(window.first) * 1e3:.0f}" if window.first else "–",
        ]
        for name, window in windows.items()
    ]
    before, after = ticks["without"].p99, ticks["with"].p99
    worst = percentile([tick for ticks in windows["with"].ticks for tick in ticks], 1.0) / 1e3
    promise = f"a new schema of {rules} rules each second: tick p99 unchanged (≤ 1.1 × and ≤ 100 µs)"
    fine = after <= max(1.1 * before, before + 5) and after <= 100
    targets.append(Target(promise, f"{before:.0f} → {after:.0f} µs (max {worst:.0f})", fine))
    second = ("window", "tick, µs", "frame's Python, ms", "asking, µs (max)", "made in, ms", "first token, ms")
    note = (
        f"{tokens} tokens a reply, 1 thread, random weights, medians of {rounds} round(s) in turn. Below:"
        f" {seconds:.0f} s a window at 60 frames a second of 8 ms Python each; p50 / p99 / max of a window, medians"
        " over the rounds, in brackets the worst of all. A grammar is made on the helper thread, in Python: it takes"
        " turns with the frame's Python, and that shows in the frame's own time, not in the tick's."
    )
    return f"## Grammars\n\n{table(head, rows)}\n\n{note}\n\n{table(second, lines)}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, help="instead of the frame's, and of the tiny ones")
    parser.add_argument("--vocab", default="32000,128000", help="of the tiny models")
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None)
    a = parser.parse_args()
    models = [(f"tiny, {int(n):,} tokens", tiny_model(int(n), a.quick), False) for n in a.vocab.split(",") if n]
    if a.model:
        models = [(a.model.name, a.model, True)]
    elif a.quick:
        models[0] = (models[0][0], models[0][1], True)
    else:
        models.insert(0, ("300 MB, 32,000 tokens", frame_model(), True))
    tokens, rounds = a.tokens or (24 if a.quick else 120), a.rounds or (1 if a.quick else 5)
    text, targets = section(models, tokens, rounds, a.seconds or (4 if a.quick else 20))
    print(text)
    print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
