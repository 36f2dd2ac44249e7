"""What a question finds, and what finding costs.

    python -m benchmarks.retrieval --dumps FOLDER [--embedder auto|GGUF] [--set dev] [--write benchmarks/RESULTS.md]
    python -m benchmarks.retrieval --cost [--lines 10000 100000]

The first: recall@5 of the questions in retrieval_pairs.tsv, by words (BM25), by the vectors of the lines (dense), by
those and the vectors of their parts (dense with parts), and by all of it fused; once with every line of every dump in
one mind ("one mind"), once each speaker alone ("own"). FOLDER holds the dumps that the pairs name, a folder each. The
second: a query beside its two bare scans, FTS5 and sqlite-vec (vec0, int8, k = 20), in the same run, and what it does
to a frame. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import sqlite_vec

from modkit.persona import Embedder, Persona, Reading, build, open_embedder
from modkit.persona.memory import match_query, tokens

__all__ = ["main"]

PAIRS = Path(__file__).with_name("retrieval_pairs.tsv")
METHODS = {"bm25": "BM25", "dense": "dense", "parts": "dense with parts", "fused": "fused"}
DIMENSIONS = 384


@dataclass(frozen=True)
class Pair:
    """A question and the beginning of the line that answers it."""

    set: str
    style: str
    dump: str
    speaker: str
    opening: str
    question: str


def pairs() -> list[Pair]:
    """Those of the file."""
    rows = [row for row in PAIRS.read_text(encoding="utf-8").splitlines() if row and not row.startswith("#")]
    return [Pair(*row.split("\t")) for row in rows[1:]]


class Remembering:
    """An embedder that asks another once for each text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.dimensions = embedder.name, embedder.dimensions
        self._known: dict[str, bytes] = {}

    def embed(self, texts: Sequence[str]) -> memoryview[float]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            flat = self._embedder.embed(new).cast("B")
            size = len(flat) // len(new)
            self._known.update({text: bytes(flat[n * size : (n + 1) * size]) for n, text in enumerate(new)})
        rows = b"".join(self._known[text] for text in texts)
        return memoryview(rows).cast("f", shape=[len(texts), len(rows) // 4 // len(texts)])


def recall(
    dumps: Path, embedder: Embedder, folder: Path, which: str = "test"
) -> list[tuple[str, str, dict[str, float], int]]:
    """(mind, style, recall@5 by method, questions) of one set."""
    asked = [pair for pair in pairs() if pair.set == which]
    own = {}
    for dump, speaker in dict.fromkeys((pair.dump, pair.speaker) for pair in asked):
        path = folder / f"{len(own)}.persona"
        build([dumps / dump], speaker, path, embedder=embedder)
        own[speaker] = (Persona.open(path), without_parts(path))
    everybody = one_mind(dumps, sorted({pair.dump for pair in asked}), embedder, folder)
    one = (Persona.open(everybody), without_parts(everybody))
    rows = []
    for mind in ("one mind", "own"):
        hits: dict[str, dict[str, list[bool]]] = {}
        for pair in asked:
            persona, plain = one if mind == "one mind" else own[pair.speaker]
            for method in METHODS:
                options: dict[str, Any] = {} if method == "bm25" else {"embedder": embedder}
                if method in ("dense", "parts"):
                    options["words_weight"] = 0.0
                found = (plain if method == "dense" else persona).ask(pair.question, 5, **options)
                hit = any(memory.text.startswith(pair.opening) for memory in found)
                for style in (pair.style, "all") if pair.style == "plain" else (pair.style, "mixed + named", "all"):
                    hits.setdefault(style, {}).setdefault(method, []).append(hit)
        for style in ("plain", "mixed", "named", "mixed + named", "all"):
            shares = {method: sum(hits[style][method]) / len(hits[style][method]) for method in METHODS}
            rows.append((mind, style, shares, len(hits[style]["bm25"])))
    for opened in (one, *own.values()):
        for persona in opened:
            persona.close()
    return rows


def without_parts(path: Path) -> Persona:
    """The same persona with one vector a line."""
    copy = path.with_suffix(".plain.persona")
    shutil.copyfile(path, copy)
    connection = apsw.Connection(str(copy))
    connection.execute("DELETE FROM parts")
    connection.close()
    return Persona.open(copy)


def one_mind(dumps: Path, names: Iterable[str], embedder: Embedder, folder: Path) -> Path:
    """Everything that anybody says in these dumps, as one character's lines."""
    with (folder / "all.jsonl").open("w", encoding="utf-8") as file:
        for line in Reading([dumps / name for name in names]):
            speaker = line.speaker if line.speaker in (None, "Player") else "Everyone"
            row = {"speaker": speaker, "text": line.text, "kind": line.kind, "scene": line.scene}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    build([folder / "all.jsonl"], "Everyone", folder / "all.persona", embedder=embedder)
    return folder / "all.persona"


class Scattered:
    """An embedder for measuring: any text is a random direction, always the same one."""

    name = "scattered"
    dimensions = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> memoryview[float]:
        rows = array("f")
        for text in texts:
            row = [byte - 127.5 for byte in random.Random(text).randbytes(DIMENSIONS)]
            length = math.hypot(*row)
            rows.extend(x / length for x in row)
        return memoryview(rows).cast("B").cast("f", shape=[len(texts), DIMENSIONS])


def cost(lines: int, folder: Path, queries: int = 200) -> dict[str, float]:
    """Milliseconds at the 50th and 99th of a hundred: FTS5 alone, sqlite-vec alone, a whole query."""
    rng = random.Random(1)
    vocabulary = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in ("ar", "el", "in", "o", "u") for c in "bdgklmnprstvz"]
    weights = [1.0 / (n + 3) for n in range(len(vocabulary))]

    def sentence(low: int, high: int) -> str:
        return " ".join(rng.choices(vocabulary, weights, k=rng.randint(low, high)))

    def line() -> str:  # of one, two or three sentences
        return " ".join(sentence(4, 10) + "." for _ in range(rng.choice((1, 1, 2, 2, 3))))

    dump = folder / f"{lines}.jsonl"
    with dump.open("w", encoding="utf-8") as file:
        for n in range(lines):
            file.write(json.dumps({"speaker": "Mara", "text": line(), "scene": f"s{n // 20}"}) + "\n")
    embedder = Remembering(Scattered())
    report = build([dump], "Mara", folder / f"{lines}.persona", embedder=embedder)
    persona = Persona.open(folder / f"{lines}.persona")
    questions = [sentence(3, 8) for _ in range(queries)]
    vectors = [bytes(embedder.embed([question]).cast("B")) for question in questions]
    bare = apsw.Connection(str(folder / f"{lines}.persona"))
    bare.enable_load_extension(True)
    bare.load_extension(sqlite_vec.loadable_path())
    bare.execute(f"CREATE VIRTUAL TABLE temp.bare USING vec0 (v int8[{DIMENSIONS}])")
    bare.execute("INSERT INTO temp.bare (rowid, v) SELECT id, vec_int8(v) FROM vectors")
    times: dict[str, list[float]] = {"fts5": [], "vec": [], "query": []}
    by_words = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words) LIMIT 20"
    by_meaning = "SELECT rowid, distance FROM temp.bare WHERE v MATCH vec_quantize_int8(vec_f32(?), 'unit') AND k = 20"
    for text, vector in zip(questions, vectors, strict=True):
        query = match_query(tokens(text))
        started = time.perf_counter()
        bare.execute(by_words, (query,)).fetchall()
        words = time.perf_counter()
        bare.execute(by_meaning, (vector,)).fetchall()
        meaning = time.perf_counter()
        persona.search(text, 5, embedder=embedder)
        for name, spent in zip(times, (words - started, meaning - words, time.perf_counter() - meaning), strict=True):
            times[name].append(spent)
    still, asking = (
        frames(lambda n: None),
        frames(lambda n: persona.search(questions[n % queries], 5, embedder=embedder)),
    )
    bare.close()
    persona.close()
    figures = {f"{name} p{p}": quantile(values, p) * 1e3 for name, values in times.items() for p in (50, 99)}
    figures |= {"frame p99 alone": still * 1e3, "frame p99 asking": asking * 1e3}
    figures["of the two scans, p99"] = figures["query p99"] / (figures["fts5 p99"] + figures["vec p99"])
    return figures | {"lines": lines, "build s": report.seconds}


def frames(ask: Callable[[int], object], count: int = 300) -> float:
    """The 99th of a hundred of a frame's own work (2 ms of Python at 60 a second), while another thread asks."""
    wanted, stop = threading.Semaphore(0), threading.Event()

    def other() -> None:
        n = 0
        while wanted.acquire() and not stop.is_set():
            ask(n)
            n += 1

    thread = threading.Thread(target=other)
    thread.start()
    spent = []
    for _ in range(count):
        wanted.release()
        started = time.perf_counter()
        total = 0
        while time.perf_counter() - started < 0.002:
            total += sum(range(50))
        spent.append(time.perf_counter() - started)
        time.sleep(1 / 60)
    stop.set()
    wanted.release()
    thread.join()
    return quantile(spent, 99)


def quantile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def table_of_recall(rows: Sequence[tuple[str, str, dict[str, float], int]]) -> str:
    head = ["mind", "questions", "n", *METHODS.values(), "over the better of BM25 and dense"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for mind, style, share, count in rows:
        gain = share["fused"] - max(share["bm25"], share["dense"])
        cells = " | ".join(f"{share[method]:.1%}" for method in METHODS)
        lines.append(f"| {mind} | {style} | {count} | {cells} | {100 * gain:+.1f} |")
    return "\n".join(lines)


def table_of_cost(rows: Sequence[dict[str, float]]) -> str:
    names = [name for name in rows[0] if name != "lines"]
    lines = ["| lines | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {row['lines']:,.0f} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumps", type=Path)
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--set", choices=("test", "dev"), default="test", help="dev: those that choices were made on")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--write", type=Path, help="append the tables to this file")
    options = parser.parse_args()
    parts = []
    with tempfile.TemporaryDirectory() as name:
        if options.dumps is not None:
            embedder = open_embedder(options.embedder)
            if embedder is None:
                parser.error("no embedder: run `modkit embedder install`, or name one")
            with embedder.load():
                parts.append(table_of_recall(recall(options.dumps, Remembering(embedder), Path(name), options.set)))
        if options.cost:
            parts.append(table_of_cost([cost(lines, Path(name)) for lines in options.lines]))
    if not parts:
        parser.error("give --dumps FOLDER, or --cost")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.write is not None:
        with options.write.open("a", encoding="utf-8") as file:
            file.write(f"\n## Retrieval: recall@5, and what a query costs (ms)\n\n{text}")


if __name__ == "__main__":
    main()
