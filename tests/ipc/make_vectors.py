"""Writes tests/ipc/vectors: frames as files, for clients in other languages to test with.

    python -m tests.ipc.make_vectors

NAME.bin are the bytes; NAME.json says what they mean: `valid`, `canonical` (modkit itself would write these very
bytes), `messages` (bytes as {"hex": …}), `why` (what is wrong).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgpack

from modkit.ipc.framing import ERROR, EVENT, RECORDS, REPLY, REQUEST, encode

FOLDER = Path(__file__).parent / "vectors"

VALID: dict[str, list[list[Any]]] = {
    "hello": [[REQUEST, 1, "hello", {"protocol": [1, 1], "client": "an evening", "token": "0123456789abcdef"}]],
    "hello_answer": [[REPLY, 1, {"protocol": 1, "server": "modkit 0.1.0", "limits": {"frame": 262144, "depth": 8}}]],
    "say": [[REQUEST, 2, "say", {"npc": "Sable", "text": "Did the lamp go out?", "facts": ["The player limps."]}]],
    "reply_in_pieces": [
        [REPLY, 2, {"stream": 1}],
        [EVENT, "words", {"stream": 1, "text": "The lamp"}],
        [EVENT, "words", {"stream": 1, "text": " is lit…"}],
        [EVENT, "done", {"stream": 1, "finish": "stop", "text": "The lamp is lit…"}],
    ],
    "error": [[ERROR, 3, "OptionError", "there is no NPC called 'Nobody' here"]],
    "no_reply_wanted": [[REQUEST, 0, "cancel", {"stream": 1}]],
    "records": [[RECORDS, msgpack.packb([7, 4, 312, " lamp"]) + msgpack.packb([7, 5, 0, 1, 0.25, 0.0, ""])]],
    "numbers": [
        [REPLY, n, {"n": [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1, -1, -32, -33]}]
        for n in (1, 127, 128, 70000)
    ]
    + [[REPLY, 9, [-128, -129, -32768, -32769, -(2**31), -(2**31) - 1, 0.5, -1.25, 1e300, True, False, None]]],
    "texts": [
        [REPLY, 1, ["", "a", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 66000, "ä€😀", "line\nline\u0000end"]]
    ],
    "lists_and_maps": [
        [REPLY, 1, [list(range(15)), list(range(16)), list(range(300)), {f"k{i}": i for i in range(16)}, {}, []]]
    ],
}

INVALID: dict[str, tuple[bytes, str]] = {
    "empty_frame": (struct.pack(">I", 0), "a frame has at least one byte"),
    "too_long": (struct.pack(">I", (1 << 18) + 1), "longer than the limit; refused before its bytes come"),
    "not_msgpack": (struct.pack(">I", 1) + b"\xc1", "0xc1 is never used by msgpack"),
    "two_values": (struct.pack(">I", 5) + b"\x93\x01\x01\xc0\xc0", "one value to a frame"),
    "not_an_array": (struct.pack(">I", 1) + b"\x80", "a message is an array"),
    "unknown_kind": (struct.pack(">I", 4) + b"\x93\x09\x01\x01", "kinds are 0 to 4"),
    "extension": (encode([REPLY, 1, msgpack.ExtType(1, b"x")]), "no msgpack extensions"),
    "number_as_key": (struct.pack(">I", 6) + b"\x93\x01\x01\x81\x01\x01", "keys are strings"),
    "too_deep": (
        (lambda body: struct.pack(">I", len(body)) + body)(b"\x93\x01\x01" + b"\x91" * 20 + b"\xc0"),
        "nested deeper than 8",
    ),
    "length_lies": (
        (lambda body: struct.pack(">I", len(body)) + body)(b"\x93\x01\x01\xdd\xff\xff\xff\xff"),
        "an array says it has 2**32 - 1 elements",
    ),
}

def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    from tests.ipc.test_framing import as_json

    for name, messages in VALID.items():
        (FOLDER / f"{name}.bin").write_bytes(b"".join(encode(message) for message in messages))
        write(name, {"valid": True, "canonical": True, "messages": [as_json(message) for message in messages]})
    wide = struct.pack(">I", 14) + b"\xdc\x00\x03\xd1\x00\x01\xce\x00\x00\x00\x01\xd9\x01x"
    (FOLDER / "wide_forms.bin").write_bytes(wide)
    write("wide_forms", {"valid": True, "canonical": False, "messages": [[REPLY, 1, "x"]]})
    for name, (data, why) in INVALID.items():
        (FOLDER / f"invalid_{name}.bin").write_bytes(data)
        write(f"invalid_{name}", {"valid": False, "why": why})


def write(name: str, value: dict[str, Any]) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
