"""Does she use what she remembers? ``python examples/npc_character/train/recall.py [MODEL]``

Asks every question of held_out.txt three times: with the memory alone, with it behind two others that do not matter
(as retrieval hands them over, the best one last), and with nothing at all. With the memory the answer has to carry
one of its key words; without, it has to be one of her ways of saying that she does not know.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from pathlib import Path

import corpus
import dump
import topics

import modkit

HOME = Path(__file__).resolve().parents[1]
UNKNOWING = re.compile(
    r"\b(?:do not know|don't know|never (?:heard|asked|met|seen)|know nothing|(?:cannot|could not) (?:tell|say)"
    r"|nobody (?:told|tells)|no word of mine|not (?:told|heard)|must ask|ask (?:nell|somebody|someone|\w+ about)"
    r"|have not heard|does not shine so far|no idea)\b",
    re.IGNORECASE,
)


def blocks(path: Path) -> list[dict[str, list[str]]]:
    """The facts of held_out.txt: for each its M, Q and K."""
    found = []
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        fields: dict[str, list[str]] = {}
        for line in block.splitlines():
            if line[1:3] == ": ":
                fields.setdefault(line[0], []).extend(topics.split(line[3:]))
        if fields.keys() >= {"M", "Q", "K"}:
            found.append(fields)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Asks about facts that training has never seen.")
    parser.add_argument("model", nargs="?", type=Path, default=HOME / "sable.gguf")
    parser.add_argument("--show", action="store_true", help="print every answer")
    options = parser.parse_args()
    rng = random.Random(1)
    card = (HOME / "card.txt").read_text(encoding="utf-8").strip()
    others = [corpus.Memory.of(line).text for line in dump.read(HOME / "dump") if line.speaker == corpus.SPEAKER]
    facts = blocks(HOME / "train" / "held_out.txt")
    right = {"memory": 0, "among three": 0, "nothing": 0}
    with modkit.Engine(options.model, context=1024, gpu_layers=0) as engine:

        def ask(question: str, memories: list[str]) -> str:
            content = corpus.prompt(question[:1].upper() + question[1:] + "?", memories)
            messages = [{"role": "system", "content": card}, {"role": "user", "content": content}]
            return engine.chat(messages, temperature=0, max_tokens=80).result()  # type: ignore[arg-type]

        for fact in facts:
            memory, question = fact["M"][0], fact["Q"][0]
            among = [*rng.sample(others, 2), memory]
            for way, given in (("memory", [memory]), ("among three", among), ("nothing", [])):
                reply = ask(question, given)
                if given:
                    good = any(key.lower() in reply.lower() for key in fact["K"])
                else:
                    good = bool(UNKNOWING.search(reply))
                right[way] += good
                if options.show:
                    sys.stdout.write(f"{'ok ' if good else '-- '}{way:12} {question}\n       {reply}\n")
    for way, count in right.items():
        sys.stdout.write(f"{way:12} {count} of {len(facts)} ({100 * count / len(facts):.0f} %)\n")


if __name__ == "__main__":
    main()
