"""What the tests of this room share: short ways to read, to build, and to damage."""

from __future__ import annotations

import random
from pathlib import Path

from modkit.persona import Line, Persona, Reading, build

DATA = Path(__file__).parent / "data"


def read(*names: str | Path, **options: object) -> list[Line]:
    """Every line of these data files; fails when a file was not understood."""
    reading = Reading([DATA / name for name in names], **options)  # type: ignore[arg-type]
    lines = list(reading)
    assert reading.failed == []
    return lines


def said(lines: list[Line], kind: str = "dialogue") -> list[tuple[str | None, str]]:
    return [(line.speaker, line.text) for line in lines if line.kind == kind]


def text_file(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def built(folder: Path, rows: str, speaker: str = "Mara", **options: object) -> Persona:
    """A persona of `speaker` from a transcript."""
    dump = text_file(folder, "talk.txt", rows)
    build([dump], speaker, folder / "made.persona", **options)  # type: ignore[arg-type]
    return Persona.open(folder / "made.persona")


def mutate(raw: bytes, seed: int) -> bytes:
    """`raw` with a few seeded injuries: bytes changed, cut out, doubled, or the end missing."""
    rng = random.Random(seed)
    data = bytearray(raw)
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(data) + 1), rng.randint(1, 20)
        how = rng.randrange(6)
        if how == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif how == 1:
            del data[at : at + length]
        elif how == 2:
            data[at:at] = data[at : at + length] * 3
        elif how == 3:
            data[at:at] = rng.choice(
                [b'"', b"{", b"[", b"(", b"\n", b"\0", b"\\", b":", b'"""', b"\xff", b"\t", b",", b"#"]
            )
        elif how == 4:
            del data[rng.randrange(len(data) + 1) :]
        else:
            data[at:at] = bytes(rng.randrange(256) for _ in range(length))
    return bytes(data)
