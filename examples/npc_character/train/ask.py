"""Asks Sable the plain questions of questions.txt and prints what she says, for a reader to judge.

python examples/npc_character/train/ask.py                  with her memories, each question in a talk of its own
python examples/npc_character/train/ask.py --bare           without memories
python examples/npc_character/train/ask.py --talk           all in one long talk
python examples/npc_character/train/ask.py "Who are you?"   other questions
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME.parents[1]))

import modkit  # noqa: E402  (from this checkout, installed or not)
from modkit.persona import build  # noqa: E402


def questions(path: Path) -> list[str]:
    """The lines of ``path``, without its comments."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask Sable plain questions.")
    parser.add_argument("questions", nargs="*", help="default: those of questions.txt")
    parser.add_argument("--model", type=Path, default=HOME / "sable.gguf", help="the GGUF to ask")
    parser.add_argument("--bare", action="store_true", help="give her no memories")
    parser.add_argument("--talk", action="store_true", help="ask everything in one conversation")
    parser.add_argument("--seed", type=int, default=1, help="of the sampling")
    parser.add_argument("--temperature", type=float, default=0.7, help="0 for the likeliest words (default: 0.7)")
    options = parser.parse_args()
    asked = options.questions or questions(HOME / "train" / "questions.txt")
    how = {"seed": options.seed, "temperature": options.temperature}
    with tempfile.TemporaryDirectory() as folder, modkit.Engine(options.model, context=1024) as engine:
        path = Path(folder) / "sable.persona"
        build(HOME / "dump", "Sable", path, card=(HOME / "card.txt").read_text(encoding="utf-8").strip())
        with modkit.Persona.open(path) as persona:
            npc = None
            for question in asked:
                if npc is None or not options.talk:
                    npc = modkit.NPC(persona, engine, memories=0 if options.bare else 3)
                reply = npc.say(question, **how).result()
                sys.stdout.write(f"> {question}\n")
                for memory in npc.last_memories:
                    sys.stdout.write(f"    ({memory.speaker}: {memory.text})\n")
                sys.stdout.write(f"{reply}\n\n")


if __name__ == "__main__":
    main()
