"""Frames: whole messages out of bytes in any pieces, and nothing else gets through."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import msgpack
import pytest

from modkit.errors import ProtocolError
from modkit.ipc.framing import EVENT, RECORDS, REPLY, REQUEST, Decoder, Limits, Rate, encode
from modkit.testing import ManualClock

VECTORS = Path(__file__).parent / "vectors"


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def decode(data: bytes, **limits: int) -> list[list[object]]:
    decoder = Decoder(Limits(**limits))  # type: ignore[arg-type]
    decoder.feed(data)
    found = []
    while (message := decoder.next()) is not None:
        found.append(message)
    return found


def test_messages_come_out_whole_however_the_bytes_are_cut() -> None:
    messages = [
        [REQUEST, 1, "say", {"text": "Wo ist das Öl?", "facts": ["it rains"], "n": -3, "x": 1.5}],
        [REPLY, 1, {"stream": 4}],
        [EVENT, "words", {"stream": 4, "text": ""}],
        [RECORDS, bytes(range(256))],
    ]
    data = b"".join(encode(message) for message in messages)
    chance = random.Random(5)
    for _ in range(200):
        decoder = Decoder()
        found, at = [], 0
        while at < len(data):
            step = chance.randint(1, 40)
            decoder.feed(data[at : at + step])
            at += step
            while (message := decoder.next()) is not None:
                found.append(message)
        assert found == messages
        assert decoder.waiting == 0


def nested(depth: int, kind: str) -> bytes:
    inner = b"\xc0"
    head = b"\x91" if kind == "array" else b"\x81\xa1k"
    return b"\x94\x00\x01\xa1m\x81\xa1k" + head * depth + inner


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "0 bytes"),
        (b"\xc1", "msgpack"),
        (b"\x93\x01\x01", "msgpack"),
        (msgpack.packb([REPLY, 1, None]) + b"\xc0", "msgpack"),
        (msgpack.packb("hello"), "no message"),
        (msgpack.packb({}), "no message"),
        (msgpack.packb([]), "no message"),
        (msgpack.packb([9, 1, 1]), "unknown kind"),
        (msgpack.packb([True, 1, None]), "unknown kind"),
        (msgpack.packb([REPLY, 1]), "unknown kind or length"),
        (msgpack.packb([REQUEST, 1, "say", []]), "has a list for a dict"),
        (msgpack.packb([REQUEST, True, "say", {}]), "has a bool for a int"),
        (msgpack.packb([REQUEST, -1, "say", {}]), "id"),
        (msgpack.packb([REQUEST, 1 << 60, "say", {}]), "id"),
        (msgpack.packb([REQUEST, 1, "say", {b"k": 1}]), "key"),
        (msgpack.packb([REQUEST, 1, "say", {"k": msgpack.ExtType(5, b"x")}]), "extension"),
        (msgpack.packb([REQUEST, 1, "say", {"k": msgpack.Timestamp(5)}]), "Timestamp"),
        (b"\x94\x00\x01\xa1m\x81\xa1k\xa2\xff\xfe", "msgpack"),  # not UTF-8
        (b"\x94\x00\x01\xa1m\x81\x01\x01", "msgpack"),  # a number for a key
        (b"\xdd\xff\xff\xff\xff", "msgpack"),  # an array of four thousand million
        (nested(20, "array"), "nested"),
        (nested(20, "map"), "nested"),
        (nested(900, "array"), "nested"),
        (nested(100_000, "array"), "msgpack"),
        (nested(60_000, "map"), "msgpack"),
    ],
)
def test_what_is_not_a_message_is_refused_with_a_sentence(body: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode(frame(body))


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_are_waited_for() -> None:
    decoder = Decoder(Limits(frame=100))
    decoder.feed(struct.pack(">I", 101))
    with pytest.raises(ProtocolError, match="101 bytes"):
        decoder.next()
    with pytest.raises(ProtocolError):
        decode(b"GET / HTTP/1.1\r\n")  # a browser at the wrong door


def test_the_deepest_message_that_is_allowed_passes() -> None:
    assert decode(frame(nested(6, "array")), depth=8)
    with pytest.raises(ProtocolError, match="deeper than 8"):
        decode(frame(nested(7, "array")), depth=8)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536])
def test_a_chunk_that_is_one_frame_of_records_is_known_without_a_parser(size: int) -> None:
    records = random.Random(size).randbytes(size)
    data = encode([RECORDS, records])
    known = Decoder().records_in(data)
    assert known == (records if size < 65_536 else None)  # a longer one takes more than one chunk anyway
    decoder = Decoder()
    decoder.feed(data)
    assert decoder.next() == [RECORDS, records]


def test_anything_else_is_left_to_the_parser() -> None:
    records = b"\x01" * 300
    data = encode([RECORDS, records])
    for wrong in (b"", data[:-1], data + b"\0", data + data, data[:6], encode([EVENT, "x", {}])):
        assert Decoder().records_in(wrong) is None
    for at in range(9):  # one byte of what says how long it is, or what
        assert Decoder().records_in(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    assert Decoder(Limits(frame=100)).records_in(data) is None
    begun = Decoder()
    begun.feed(data[:10])
    assert begun.records_in(data) is None


def test_a_bucket_lets_a_burst_through_and_then_as_many_as_time_brings() -> None:
    clock = ManualClock()
    rate = Rate(Limits(rate=10, burst=5), clock)
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.advance(0.35)
    assert [rate.take() for _ in range(5)] == [True] * 3 + [False] * 2
    clock.advance(100)
    assert sum(rate.take() for _ in range(50)) == 5
    unlimited = Rate(Limits(rate=0), clock)
    assert all(unlimited.take() for _ in range(100_000))


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_the_vectors_that_other_languages_test_with_are_what_we_say_and_take(path: Path) -> None:
    vector = json.loads(path.read_text(encoding="utf-8"))
    data = path.with_suffix(".bin").read_bytes()
    if vector["valid"]:
        assert [as_json(message) for message in decode(data)] == vector["messages"]
        if vector["canonical"]:
            assert b"".join(encode(from_json(message)) for message in vector["messages"]) == data
    else:
        with pytest.raises(ProtocolError):
            decode(data)


def as_json(value: object) -> object:
    """JSON has no bytes: {"hex": …} stands for them."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return value


def from_json(value: object) -> object:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def test_there_are_vectors() -> None:
    kinds = {json.loads(path.read_text(encoding="utf-8"))["valid"] for path in VECTORS.glob("*.json")}
    assert kinds == {True, False}
