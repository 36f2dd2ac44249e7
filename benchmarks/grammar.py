"""What a grammar costs: tokens a second with and without one, in turn, over the same model and seeds.

    python -m benchmarks.grammar [MODEL.gguf] [--tokens 120] [--rounds 5]

Without a model it makes one with a vocabulary of 32,000 (and another of 128,000 with --vocab 128000).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from modkit import Engine
from tests.make_model import make_model

JSON = r"""
root ::= "{" (pair ("," pair)*)? "}"
pair ::= string ":" value
value ::= string | [0-9]+ | root | "[" (value ("," value)*)? "]"
string ::= "\"" [^"\\\x00-\x1F]* "\""
"""
GRAMMARS = {"free": None, "any text": r"root ::= [^\x00]*", "JSON": JSON}


def measure(model: Path, tokens: int, rounds: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in GRAMMARS}
    with Engine(model, threads=1) as engine:
        for name, grammar in GRAMMARS.items():  # the first use of a grammar sorts the vocabulary
            first = engine.generate("the lamp", max_tokens=4, grammar=grammar)
            first.result()
            print(f"{name}: first token after {first.stats.time_to_first_token * 1e3:.0f} ms")
        for seed in range(rounds):
            for name, grammar in GRAMMARS.items():
                stream = engine.generate("the lamp went out", max_tokens=tokens, grammar=grammar, seed=seed)
                stream.result()
                if stream.stats.generated_tokens > tokens // 2:
                    speeds[name].append(stream.stats.tokens_per_second)
    free = statistics.median(speeds["free"])
    for name, found in speeds.items():
        if found:
            print(f"{name}: {statistics.median(found):.1f} tokens/s, {statistics.median(found) / free:.2f} of free")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32_000)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(a.model) if a.model else make_model(Path(folder) / "m.gguf", width=256, layers=4, vocab=a.vocab)
        measure(made, a.tokens, a.rounds)


if __name__ == "__main__":
    main()
