"""Processes that build, speak and save, killed at random moments; what they leave is looked at by the survivor.

    python -m tests.persona.killed FOLDER KILLS SEED

Forks, so that a life costs milliseconds. Prints one JSON object: kills and what was committed, by kind of work.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from modkit.persona import NPC, Experience, Mind, Persona, Save, build
from modkit.testing import FakeEngine

LINES = 400
REPLY = "It is so. And so it stays."
Report = Callable[[int], None]


def dump(folder: Path, word: str) -> Path:
    path = folder / f"{word}.txt"
    path.write_text("".join(f"Mara: The {word} number {n} is here.\n" for n in range(LINES)), encoding="utf-8")
    return path


def building(folder: Path, done: Report) -> None:
    for n in range(1000):
        word = "lamp" if n % 2 else "boat"
        build([folder / f"{word}.txt"], "Mara", folder / "m.persona")
        done(n)


def speaking(folder: Path, done: Report) -> None:
    with Persona.open(folder / "still.persona") as persona:
        npc = NPC(persona, FakeEngine([REPLY], pace=9), save=folder / "say.save")
        first = npc.turn_count
        for n in range(first, first + 1000):
            npc.say(f"My name is number {n}.").result()
            done(n)


def saving(folder: Path, done: Report) -> None:
    save = Save.open(folder / "mods.save")
    mind = Mind(save, "Mara")
    first = int.from_bytes(save.get_state("mod", "n") or b"", "little")
    for n in range(first + 1, first + 1000):
        save.put_state("mod", {"n": n.to_bytes(8, "little"), "block": bytes(n % 5000)})
        mind.add([Experience(f"Number {n} happened.")])
        if n % 3 == 0:
            mind.forget(f"number {n - 2} ")
            save.copy_to(folder / "copy.save")
        done(n)


def look(folder: Path, kind: str, last: int) -> None:
    """Fails when something that was committed is not there, or a file is not whole."""
    if kind == "build":
        with Persona.open(folder / "m.persona") as persona:
            texts = [line.text for line in persona.lines()]
            word = texts[0].split()[1]
            assert texts == [f"The {word} number {n} is here." for n in range(LINES)]
            assert persona.ask(f"{word} number 7", 1)[0].text == f"The {word} number 7 is here."
        whole(folder / "m.persona")
    elif kind == "say":
        with Save.open(folder / "say.save") as save:
            turns = save.turns("Mara")
            lived = Mind(save, "Mara").everything()
        assert len(turns) >= last + 1
        assert [turn.words for turn in turns] == [f"My name is number {n}." for n in range(len(turns))]
        assert {turn.reply for turn in turns} <= {REPLY}
        numbers = [turn.number for turn in turns]
        assert [one.turn for one in lived if one.kind == "heard"] == numbers, "a turn and its memories are one"
        whole(folder / "say.save")
    else:
        with Save.open(folder / "mods.save") as save:
            n = int.from_bytes(save.get_state("mod", "n") or b"", "little")
            assert n >= last and len(save.get_state("mod", "block") or b"") == n % 5000
        whole(folder / "mods.save")
        if (folder / "copy.save").exists():
            whole(folder / "copy.save")


def whole(path: Path) -> None:
    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok", path
    connection.close()


def one_life(work: Callable[[Path, Report], None], folder: Path, seconds: float) -> tuple[int, bool]:
    """(the last number that the child reported, whether it was killed at work)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work(folder, lambda n: os.write(write, struct.pack("<q", n)) and None)
        finally:
            os._exit(3)
    os.close(write)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    told = b""
    while block := os.read(read, 65536):
        told += block
    os.close(read)
    last = struct.unpack("<q", told[-8:])[0] if len(told) >= 8 else -1
    return last, os.WIFSIGNALED(status)


def main(folder: Path, kills: int, seed: int) -> dict[str, dict[str, int]]:
    rng = random.Random(seed)
    for word in ("boat", "lamp"):
        dump(folder, word)
    build([folder / "boat.txt"], "Mara", folder / "m.persona")
    build([folder / "boat.txt"], "Mara", folder / "still.persona")
    works = {"build": building, "say": speaking, "save": saving}
    result = {kind: {"kills": 0, "last": -1} for kind in works}
    for n in range(kills):
        kind = ("build", "say", "save")[n % 3]
        last, killed = one_life(works[kind], folder, rng.uniform(0.0, 0.12))
        assert killed, f"{kind} ended by itself: it failed"
        if kind == "build":  # the file that a kill cut off is thrown away by the next build
            last = -1
        result[kind]["last"] = max(result[kind]["last"], last)
        result[kind]["kills"] += 1
        look(folder, kind, result[kind]["last"])
    build([folder / "lamp.txt"], "Mara", folder / "m.persona")
    assert [path.name for path in folder.glob(".m.persona.*")] == [], "what a kill left is cleared by the next build"
    return result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
