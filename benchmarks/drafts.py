"""What drafts bring: replies that quote what they were told, and replies that do not, with drafts and without.

    python -m benchmarks.drafts [--quick] [--types q4_0,f16,q8_0] [--models sable,frame] [--rounds 3]

`sable` is the demo's model, which really quotes, in the shape of one of 250 million weights (`--quick`: in her own
shape): asked about facts that training never had, one of three memories being the answer, as the demo builds her
prompts; and asked with none at hand. `frame` has random weights: where words said before are rewarded a little it
runs in circles, which is a quotation without end; at temperature 1 it says nothing twice. Each prompt is in the cache
before it is asked, and each is asked of two engines in one process, with drafts and without, in turns: a ratio is of
a pair, tokens a second, by the worker's clock and by the processor time of the process.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.child import measured
from benchmarks.figures import Target, table
from benchmarks.models import ROOT, cast_model, quoting_model

__all__ = ["main", "section"]

DEMO = ROOT / "examples" / "npc_character"
CONTEXT = 1024
WORDS = "the keeper of the lamp went out in the night and the harbour was dark and the ships did not see it"
Prompt = tuple[Any, dict[str, Any]]


def _held_out() -> list[tuple[str, str]]:
    """Facts and questions that Sable was never taught."""
    text = (DEMO / "train" / "held_out.txt").read_text(encoding="utf-8")
    return re.findall(r"^M: (.+)\nQ: ([^|\n]+)", text, re.MULTILINE)


def _asked(question: str, memories: Sequence[str]) -> list[dict[str, str]]:
    """The messages of a first turn, as an NPC of the demo makes them."""
    lines = ["You remember:", *(f"* {text}" for text in memories)] if memories else []
    question = question.strip()
    lines.append(f"Player: {question[:1].upper()}{question[1:]}?")
    card = (DEMO / "card.txt").read_text(encoding="utf-8").strip()
    return [{"role": "system", "content": card}, {"role": "user", "content": "\n".join(lines)}]


def prompts(name: str, count: int) -> dict[str, list[Prompt]]:
    """By the kind of reply they lead to: what is asked, and how."""
    if name == "sable":
        facts, greedy = _held_out(), {"temperature": 0, "max_tokens": 80}
        told = [(fact, [facts[i - 3][0], facts[i - 7][0], fact[0]]) for i, fact in enumerate(facts)][:count]
        return {
            "quotes": [(_asked(question, memories), greedy) for (_, question), memories in told],
            "quotes, temperature 0.7": [
                (_asked(question, memories), {"temperature": 0.7, "seed": i, "max_tokens": 80})
                for i, ((_, question), memories) in enumerate(told)
            ],
            "no memory": [(_asked(question, []), greedy) for _, question in facts[:count]],
        }
    texts = [f"{i} {chr(65 + i)} {WORDS}" for i in range(max(2, count // 5))]
    circles = {"temperature": 0, "presence_penalty": -0.5, "repeat_last_n": 64, "max_tokens": 160}
    return {
        "in circles": [(text, circles) for text in texts],
        "never twice": [
            (text, {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "seed": i, "max_tokens": 80})
            for i, text in enumerate(texts)
        ],
    }


# ---- in the child ----


def _reply(engine: Any, prompt: Prompt) -> dict[str, Any]:
    what, options = prompt
    ask = engine.generate if isinstance(what, str) else engine.chat
    ask(what, **{**options, "max_tokens": 1}).result()
    drafted, accepted = engine._worker.drafts
    begun = time.process_time()
    stream = ask(what, **options)
    while not stream.done:
        engine.tick()
        time.sleep(0.002)
    cpu = time.process_time() - begun
    ahead, said = engine._worker.drafts
    return {
        "text": stream.text,
        "rate": stream.stats.tokens_per_second,
        "cpu": len(stream.tokens) / cpu,
        "tokens": len(stream.tokens),
        "drafted": ahead - drafted,
        "accepted": said - accepted,
    }


def with_modkit(model: Path, name: str, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """Pairs of replies, (without, with), by kind."""
    from modkit import Engine

    options: dict[str, Any] = {"context": CONTEXT, "threads": threads, "gpu_layers": 0}
    found: dict[str, list[Any]] = {}
    with Engine(model, draft=0, **options) as plain, Engine(model, **options) as drafting:
        for engine in (plain, drafting):
            while engine.loading:
                engine.tick()
            time.sleep(2.0)  # it learns what a batch costs
        for number in range(rounds):
            for kind, asked in prompts(name, count).items():
                for i, prompt in enumerate(asked):
                    order = (plain, drafting) if (i + number) % 2 else (drafting, plain)
                    said = {engine: _reply(engine, prompt) for engine in order}
                    found.setdefault(kind, []).append((said[plain], said[drafting]))
    return found


# ---- in the parent ----


def measure(name: str, kind: str, count: int, rounds: int, threads: int, quick: bool) -> dict[str, Any]:
    """One model in a fresh process. Raises ChildFailed."""
    model = quoting_model(kind, quick) if name == "sable" else cast_model(kind, quick)
    asked = ("--child", name, "--model", model, "--count", count, "--rounds", rounds, "--threads", threads)
    found: dict[str, Any] = measured("benchmarks.drafts", *asked, limit=3600)
    return found


def section(
    names: Sequence[str], types: Sequence[str], count: int, rounds: int, threads: int, quick: bool
) -> tuple[str, list[Target]]:
    """A Markdown section, and the targets it answers."""
    rows, targets = [], []
    for name in names:
        for weights in types:
            for kind, pairs in measure(name, weights, count, rounds, threads, quick).items():
                ratio = {key: [b[key] / a[key] for a, b in pairs if min(a[key], b[key]) > 0] for key in ("rate", "cpu")}
                wall, cpu = median(ratio["rate"]), median(ratio["cpu"])
                drafted, accepted = (sum(b[key] for _, b in pairs) for key in ("drafted", "accepted"))
                tokens = sum(b["tokens"] for _, b in pairs)
                same = sum(a["text"] == b["text"] for a, b in pairs)
                speed = median(a["rate"] for a, _ in pairs)
                share = f"{accepted / drafted:.2f}" if drafted else "–"
                figures = [f"{speed:.1f}", f"{wall:.2f}", f"{cpu:.2f}", f"{min(ratio['cpu']):.2f}", share]
                rows.append([name, weights, kind, *figures, f"{drafted / tokens:.2f}", f"{same} of {len(pairs)}"])
                quotes = kind in ("quotes", "in circles") and weights != "q8_0"
                least = 1.25 if quotes else 0.98
                promise = f"drafts, {name} in {weights}, {kind}: ≥ {least} ×"
                targets.append(Target(promise, f"{wall:.2f} ×", wall >= least))
    head = ("model", "weights", "replies", "without, tok/s", "with ÷ without", "by processor time", "least pair")
    note = f"Medians of pairs, {rounds} round(s), {threads} thread(s)."
    return f"## Drafts\n\n{table((*head, 'accepted', 'drafted a token', 'same text'), rows)}\n\n{note}\n", targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="models of 8 and 20 MB, one round")
    parser.add_argument("--types", default="q4_0,f16,q8_0")
    parser.add_argument("--models", default="sable,frame")
    parser.add_argument("--count", type=int, default=None, help="prompts of a kind")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    for name in ("--child", "--model"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    a = parser.parse_args()
    count, rounds = a.count or (6 if a.quick else 20), a.rounds or (1 if a.quick else 3)
    if a.child:
        print(json.dumps(with_modkit(Path(a.model), a.child, count, rounds, a.threads)))
    else:
        text, targets = section(a.models.split(","), a.types.split(","), count, rounds, a.threads, a.quick)
        print(text)
        print("\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
