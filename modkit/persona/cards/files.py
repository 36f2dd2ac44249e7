"""What a card comes in: JSON, the text chunks of a PNG, or a .charx archive. Everything else in it is kept."""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modkit.errors import CardError
from modkit.native.replacing import replace_with
from modkit.persona.cards.card import Card
from modkit.persona.cards.reading import MAX_JSON, parse_json, read

__all__ = ["read_card", "write_card"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_FILE = 1 << 28
_MAX_MEMBERS = 4096
_MAX_UNPACKED = 1 << 29
_OURS = (b"chara", b"ccv3")


def read_card(path: str | Path) -> Card:
    """The card in a .json, .png or .charx file; what it is is seen from its content. Raises CardError."""
    path = Path(path)
    data = read(path, _MAX_FILE)
    if data.startswith(_SIGNATURE):
        return _from_png(data, path.name)
    if data.startswith(b"PK"):
        return _from_charx(data, path.name)
    if data[:3] == b"\xff\xd8\xff" or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        raise CardError(f"{path.name} is a JPEG or WebP picture: save the card as PNG or JSON in the tool it is from")
    return Card.parse(parse_json(data, path.name), path.name)


def write_card(card: Card, path: str | Path, *, version: int | None = None, picture: bytes | None = None) -> None:
    """Write `card` as the ending of `path` says: .json, .png or .charx.

    `version` (default: the card's own; a .charx is always 3). `picture`: a PNG to put it into; default the one it came
    in, or a plain one. A PNG carries the card as V2 and as V3, so that old and new tools find it. The file is replaced
    in one step. Raises CardError.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".png":
        data = _into_png(picture or card.picture or _plain_picture(), card, path.name)
    elif kind == ".charx":
        data = _into_charx(card)
    elif kind == ".json":
        data = json.dumps(card.as_json(version), ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"
    else:
        raise CardError(f"{path.name}: a card is written as .json, .png or .charx")
    try:
        replace_with(path, data)
    except OSError as error:
        raise CardError(f"{path.name} cannot be written: {error.strerror or error}") from error


# ---- PNG ----


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG up to IEND. Raises CardError when it ends before."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            break
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size
    raise CardError(f"{name} is cut short: the picture has no end; get it again")


def _keyword(body: bytes) -> bytes:
    return body.split(b"\0", 1)[0][:80].lower()


def _words(kind: bytes, body: bytes) -> bytes | None:
    """The text of a text chunk, unpacked within bounds; None when it is none or is damaged."""
    parts = body.split(b"\0", 1)
    if len(parts) < 2:
        return None
    rest = parts[1]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _inflated(rest[1:])
    compressed = rest[:1] == b"\1"
    fields = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(fields) < 3:
        return None
    return _inflated(fields[2]) if compressed else fields[2]


def _inflated(data: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        made = unpacker.decompress(data, 2 * MAX_JSON)
    except zlib.error:
        return None
    return made if unpacker.eof else None


def _from_png(data: bytes, name: str) -> Card:
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for kind, body in _chunks(data, name):
        if kind in (b"tEXt", b"zTXt", b"iTXt") and _keyword(body) in _OURS:
            found.setdefault(_keyword(body), (kind, body))
    if not found:
        raise CardError(f"{name} is a picture without a card in it: uploads often strip it; get the original file")
    trouble: list[str] = []
    for keyword in (b"ccv3", b"chara"):  # the newer one first; a bad one is no reason to refuse the other
        if keyword not in found:
            continue
        try:
            packed = _words(*found[keyword]) or b""
            card = Card.parse(parse_json(base64.b64decode(packed, validate=False), name), name)
        except (binascii.Error, CardError) as error:
            trouble.append(f"{keyword.decode()}: {error}")
            continue
        card.picture = data
        card.warnings += [f"{name}: {reason}" for reason in trouble]
        return card
    raise CardError(f"{name} holds a card that cannot be read ({'; '.join(trouble)})")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _into_png(picture: bytes, card: Card, name: str) -> bytes:
    if not picture.startswith(_SIGNATURE):
        raise CardError(f"{name}: the picture is no PNG; save it as PNG first")
    out = [_SIGNATURE]
    for kind, body in _chunks(picture, name):
        if kind in (b"tEXt", b"zTXt", b"iTXt") and _keyword(body) in _OURS:
            continue
        if kind == b"IEND":
            for keyword, version in ((b"chara", 2), (b"ccv3", 3)):
                text = json.dumps(card.as_json(version), ensure_ascii=False).encode("utf-8", "replace")
                out.append(_chunk(b"tEXt", keyword + b"\0" + base64.b64encode(text)))
        out.append(_chunk(kind, body))
    return b"".join(out)


def _plain_picture(width: int = 256, height: int = 384) -> bytes:
    """A quiet gradient, for a card without a portrait."""
    rows = bytearray()
    for y in range(height):
        rows += b"\0"
        for x in range(width):
            shade = 40 + 90 * y // height + 20 * x // width
            rows += bytes((shade // 2, shade * 2 // 3, shade))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(bytes(rows), 9)) + _chunk(b"IEND", b"")


# ---- .charx ----


def _from_charx(data: bytes, name: str) -> Card:
    files: dict[str, bytes] = {}
    room = _MAX_UNPACKED
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise CardError(f"{name} has {len(members)} files in it; at most {_MAX_MEMBERS} are accepted")
            for member in members:
                if member.is_dir():
                    continue
                if member.flag_bits & 1:
                    raise CardError(f"{name} is encrypted: save it without a password")
                with archive.open(member) as file:
                    body = file.read(room + 1)  # what a member claims to be is not believed
                room -= len(body)
                if room < 0:
                    raise CardError(f"{name} unpacks to more than {_MAX_UNPACKED >> 20} MiB and is refused")
                files[member.filename] = body
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise CardError(f"{name} is a damaged .charx archive ({error}); get it again") from error
    if "card.json" not in files:
        raise CardError(f"{name} is an archive without a card.json in it, so it is no .charx card")
    card = Card.parse(parse_json(files.pop("card.json"), f"{name}/card.json"), name)
    card.files = files  # named by the archive, never written to a disk under these names
    return card


def _into_charx(card: Card) -> bytes:
    out = io.BytesIO()
    value: dict[str, Any] = card.as_json(3)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", json.dumps(value, ensure_ascii=False, indent=2))
        for path, body in card.files.items():
            archive.writestr(path, body)
        if card.picture is not None and not card.files:
            archive.writestr("assets/icon/images/main.png", card.picture)
    return out.getvalue()
