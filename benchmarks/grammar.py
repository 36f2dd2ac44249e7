"""What a grammar costs: tokens per second beside none, and the frame while a 300-rule schema is compiled.

    python -m benchmarks.grammar [--rounds 5] [--tokens 120] [--vocab 32000|128000] [--llguidance]

Both kinds run in turn in every round on one engine, so that the machine's moods hit both. With --llguidance its
mask for the same schema and vocabulary is timed as well (install it first; it is not a dependency).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from statistics import median
from typing import Any

from benchmarks.figures import Target, percentile, table
from benchmarks.models import _built, frame_model
from modkit import Engine
from modkit.native.grammar import Grammar

__all__ = ["main"]

ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "kind": {"enum": ["lamp", "rope", "oil", "bread"]},
        "old": {"type": "boolean"},
    },
    "required": ["name", "count", "kind"],
    "additionalProperties": False,
}
GRAMMARS = {
    "JSON items": Grammar.from_schema({"type": "array", "items": ITEM, "minItems": 400}),
    "any JSON": Grammar.from_schema({"type": "array", "items": {}, "minItems": 400}),
    "SQL": Grammar.from_tables({"npcs": ["id", "name", "age"], "items": ["id", "owner", "weight"]}).repeat(
        400, None, "; "
    ),
    "words": Grammar.from_regex("([a-zA-Z]{1,12}[ ,.]){400,}"),
}
HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}  # far from what a grammar wants: the worst case
WARM = {"temperature": 0.8}


def big_schema(rules: int = 300) -> dict[str, Any]:
    """One that comes to about so many rules."""
    field = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 900}}, "required": ["n"]}
    fields = {f"field{n}": json.loads(json.dumps(field)) for n in range(rules // 2)}
    return {"type": "object", "properties": fields, "required": list(fields)}


def speed(engine: Engine, tokens: int, seed: int, **options: Any) -> float:
    """Tokens per second of one reply."""
    stream = engine.generate("The keeper of the lamp", max_tokens=tokens, seed=seed, **options)
    while not stream.done:
        engine.tick()
        time.sleep(0.002)
    if stream.error is not None:
        raise stream.error
    return stream.stats.tokens_per_second


def frames(engine: Engine, grammar: Grammar | None, seconds: float = 4.0) -> tuple[list[float], float]:
    """Milliseconds of each tick and of each submit while replies are asked for 3 times a second."""
    ticks: list[float] = []
    submit = 0.0
    streams: list[Any] = []
    end = time.perf_counter() + seconds
    for frame in itertools.count():
        begun = time.perf_counter()
        if begun > end:
            break
        if frame % 20 == 0:
            for stream in streams:
                stream.cancel()
            options = {} if grammar is None else {"grammar": grammar}
            streams = [engine.generate(f"Lamp {frame}", max_tokens=30, seed=frame, **options)]
            submit = max(submit, 1000 * (time.perf_counter() - begun))
        before = time.perf_counter()
        engine.tick()
        ticks.append(1000 * (time.perf_counter() - before))
        time.sleep(max(0.0, 1 / 60 - (time.perf_counter() - begun)))
    return ticks, submit


def llguidance_mask(vocab: int, steps: int = 300) -> tuple[float, float]:
    """Milliseconds that llguidance takes for a mask over so many tokens, and for taking one in: medians."""
    import random

    import llguidance
    import llguidance.numpy as masks

    class Vocabulary:
        eos_token_id = bos_token_id = vocab - 1
        tokens = (*(bytes([i]) for i in range(256)), *(f" tok{i}".encode() for i in range(vocab - 257)), b"<eos>")
        special_token_ids = (vocab - 1,)

        def __call__(self, text: bytes | str) -> list[int]:
            return list(text.encode() if isinstance(text, str) else text)

    schema = json.dumps({"type": "array", "items": ITEM, "minItems": 400})
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Vocabulary()))
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(schema))
    bitmask = masks.allocate_token_bitmask(1, vocab)
    rng = random.Random(1)
    masked, taken = [], []
    for _ in range(steps):
        begun = time.perf_counter()
        masks.fill_next_token_bitmask(matcher, bitmask, 0)
        masked.append(1000 * (time.perf_counter() - begun))
        allowed = [i for i in range(256) if int(bitmask[0][i // 32]) >> (i % 32) & 1]
        begun = time.perf_counter()
        if not matcher.consume_token(rng.choice(allowed)):
            break
        taken.append(1000 * (time.perf_counter() - begun))
    return median(masked), median(taken)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--llguidance", action="store_true")
    chosen = parser.parse_args(arguments)
    shape = {"width": 1024, "layers": 20, "heads": 16, "feed_forward": 2816}
    model = (
        frame_model() if chosen.vocab == 32000 else _built(f"frame-{chosen.vocab}.gguf", vocab=chosen.vocab, **shape)
    )
    targets: list[Target] = []
    with Engine(model, context=1024, threads=1) as engine:
        while engine.loading:
            engine.tick()
            time.sleep(0.01)
        rows = []
        for how, options in (("0.8", WARM), ("1.5, all tokens", HOT)):
            rates: dict[str, list[float]] = {"none": [], **{name: [] for name in GRAMMARS}}
            for number in range(chosen.rounds):
                rates["none"].append(speed(engine, chosen.tokens, number, **options))
                for name, grammar in GRAMMARS.items():
                    rates[name].append(speed(engine, chosen.tokens, number, grammar=grammar, **options))
            plain = median(rates["none"])
            for name, values in rates.items():
                shares = [1 - value / base for value, base in zip(values, rates["none"], strict=True)]
                rows.append([name, how, f"{median(values):.1f}", f"{median(shares):.1%}"])
                if name != "none" and how == "0.8":
                    held = median(shares) <= 0.15
                    targets.append(Target(f"{name}: at most 15% of {plain:.0f} tok/s", f"{median(shares):.1%}", held))
        print(table(["grammar", "temperature", "tok/s", "cost"], rows))
        begun = time.perf_counter()
        big = Grammar.from_schema(big_schema())
        took = 1000 * (time.perf_counter() - begun)
        print(f"\na schema of {len(big._rules)} rules: {took:.0f} ms to make (Python, while loading)")
        off, on = frames(engine, None), frames(engine, big)
        for name, (ticks, submit) in (("none", off), ("300 rules", on)):
            print(f"tick p99 {percentile(ticks, 0.99):.3f} ms, longest submit {submit:.3f} ms, grammar: {name}")
        unchanged = percentile(on[0], 0.99) <= max(0.2, 1.5 * percentile(off[0], 0.99))
        targets.append(
            Target("the frame's tick does not see a schema compiled", f"{percentile(on[0], 0.99):.3f} ms", unchanged)
        )
        if chosen.llguidance:
            mask, take = llguidance_mask(chosen.vocab)
            print(f"llguidance: {mask:.3f} ms for a mask, {take:.3f} ms to take a token in")
    print("\n" + "\n".join(target.line() for target in targets))


if __name__ == "__main__":
    sys.exit(main())
