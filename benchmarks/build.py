"""What a build of a large dump costs, without vectors.

    python -m benchmarks.build [--lines 100000] [--rounds 1] [--profile]

Writes a game's worth of talk in five formats (CSV, JSON lines, Ren'Py, a transcript, Yarn), a fifth of the lines
each: scenes of thirty lines among a few people and the player, every word by Zipf's law. Then reads it (`persona
lines`), builds its main character from it twice, first and unchanged, with the cache, and says what each took:
seconds on the clock and CPU seconds, of one thread. Target: 100,000 lines in 60 s.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import pstats
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from modkit.persona import Reading, build

__all__ = ["main", "write_dump"]

HERO, OTHERS = "Mara", ("Tobin", "Ferris", "Old Nell", "Bram", "Captain Reed", "Player")
_SCENE = 30  # lines
_TARGET = 60.0  # seconds


def talk(lines: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """(scene, speaker, text) of that many lines; nearly half are hers, and a fifth of all are questions."""
    rng = random.Random(seed)
    syllables = [a + b for a in ("b", "d", "g", "k", "l", "m", "n", "r", "s", "st", "t") for b in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(12_000)]
    weights = [1.0 / (n + 3) for n in range(len(words))]
    spoken = iter(rng.choices(words, weights, k=lines * 16))
    for n in range(lines):
        if n % _SCENE == 0:
            cast = (HERO, *rng.sample(OTHERS, 2))
        sentence = [next(spoken) for _ in range(min(16, 2 + int(rng.expovariate(1 / 8))))]
        sentence[len(sentence) // 2] += rng.choice((",", ",", "", "'s", " Ferris"))
        yield f"scene_{seed}_{n // _SCENE}", rng.choice(cast), " ".join(sentence).capitalize() + rng.choice("....?!")


def write_dump(folder: Path, lines: int) -> None:
    """Write `lines` lines into `folder`, a fifth in each format."""
    writers: tuple[Callable[[Path, list[tuple[str, str, str]]], None], ...] = (_csv, _jsonl, _rpy, _transcript, _yarn)
    for number, write in enumerate(writers):
        share = lines // len(writers) + (number < lines % len(writers))
        write(folder, list(talk(share, number)))


def _csv(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "quests.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("id", "scene", "speaker", "text"))
        out.writerows((f"q{n:06}", *row) for n, row in enumerate(rows))


def _jsonl(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "barks.jsonl").open("w", encoding="utf-8") as file:
        for scene, speaker, text in rows:
            file.write(json.dumps({"scene": scene, "speaker": speaker, "text": text}) + "\n")


def _rpy(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    names = {name: f"c{n}" for n, name in enumerate((HERO, *OTHERS))}
    with (folder / "story.rpy").open("w", encoding="utf-8") as file:
        file.writelines(f'define {short} = Character("{name}")\n' for name, short in names.items())
        for scene, said in groupby(rows, key=lambda row: row[0]):
            file.write(f"\nlabel {scene}:\n")
            file.writelines(f'    {names[speaker]} "{text}"\n' for _, speaker, text in said)


def _transcript(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "table.txt").open("w", encoding="utf-8") as file:
        for scene, said in groupby(rows, key=lambda row: row[0]):
            file.write(f"\n# {scene}\n")
            file.writelines(f"{speaker}: {text}\n" for _, speaker, text in said)


def _yarn(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "harbour.yarn").open("w", encoding="utf-8") as file:
        for scene, said in groupby(rows, key=lambda row: row[0]):
            file.write(f"title: {scene}\n---\n")
            file.writelines(f"{speaker}: {text}\n" for _, speaker, text in said)
            file.write("===\n")


def measure(lines: int, folder: Path) -> dict[str, tuple[float, float]]:
    """(seconds, CPU seconds) of each step."""
    dump = folder / "dump"
    dump.mkdir()
    write_dump(dump, lines)
    spent = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        spent[name] = (time.perf_counter() - clock, time.process_time() - cpu)

    def made() -> None:
        report = build([dump], HERO, folder / "mara.persona", cache=folder / "cache")
        if report.read < 0.98 * lines:  # a few short lines are the same by chance
            raise SystemExit(f"only {report.read:,} of {lines:,} lines were read")

    timed("persona lines", lambda: sum(1 for _ in Reading([dump])))
    timed("persona build", made)
    timed("build again, nothing changed", made)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="where the time of the first build goes")
    options = parser.parse_args()
    if options.profile:
        with tempfile.TemporaryDirectory() as name, cProfile.Profile() as profile:
            write_dump(Path(name), options.lines)
            build([name], HERO, Path(name) / "mara.persona")
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            rounds.append(measure(options.lines, Path(name)))
    print(f"| {options.lines:,} lines | s | CPU s | target |\n|---|---|---|---|")
    for step in rounds[0]:
        clock, cpu = (statistics.median(one[step][which] for one in rounds) for which in (0, 1))
        target = f"{_TARGET * options.lines / 100_000:.0f} s" if step == "persona build" else ""
        print(f"| {step} | {clock:.1f} | {cpu:.1f} | {target} |")


if __name__ == "__main__":
    main()
