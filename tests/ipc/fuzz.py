"""Frames that nobody should send, by the million, from a seed.

    python -m tests.ipc.fuzz serve --frames 1000000 --seed 1
    python -m tests.ipc.fuzz client --frames 1000000 --seed 1

serve: against a running `modkit serve` with a small model, over many connections, while another connection talks and
must not notice. client: against the clients that hosts copy and against the engine's side of its child.
Prints a line of figures; ends with an exception when a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from modkit.errors import ProtocolError
from modkit.ipc.framing import Decoder, Limits, encode

ROOT = Path(__file__).resolve().parent.parent.parent
METHODS = ("status", "load", "say", "poll", "cancel", "transcript", "save", "ping", "hello", "bye", "", "__class__")
PARAMS = ("text", "npc", "facts", "options", "stream", "last", "to", "persona", "id", "token", "protocol", "max_tokens")
EVENTS = ("words", "done", "status", "info", "vectors", "refused", "dead", "action", "")
TEXTS = ("", "Sable", "../../etc/passwd", "/etc/passwd", "x" * 300, "\0", "😀" * 20, "<|im_end|>", "a\nb", "save.db")


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any plain value, and some that are not."""
    kind = chance.randrange(14 if depth < 4 else 9)
    if kind < 3:
        return chance.choice(TEXTS)
    if kind < 6:
        return chance.choice((0, 1, -1, 2, 127, 255, 65536, 2**31, 2**53, 2**63, -(2**63), chance.getrandbits(60)))
    if kind == 6:
        return chance.choice((None, True, False))
    if kind == 7:
        return chance.choice((0.5, -1e300, float("nan"), float("inf")))
    if kind == 8:
        if chance.random() < 0.9:
            return chance.randbytes(chance.randrange(40))
        return chance.choice((msgpack.ExtType(3, b"x"), msgpack.Timestamp(1)))
    if kind < 12:
        return [value(chance, depth + 1) for _ in range(chance.randrange(5))]
    return {chance.choice(PARAMS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def nested(chance: random.Random) -> bytes:
    head = chance.choice((b"\x91", b"\x81\xa1k", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"))
    return b"\x94\x00\x01\xa4ping\x81\xa1k" + head * chance.choice((5, 9, 50, 500, 1500, 20000)) + b"\xc0"


def request(chance: random.Random, id: int) -> list[Any]:
    params = {chance.choice(PARAMS): value(chance) for _ in range(chance.randrange(4))}
    if chance.random() < 0.05:
        params = {"text": "the lamp", "options": {"max_tokens": 2}}
    return [0, id, chance.choice(METHODS), params]


def body(chance: random.Random, id: int) -> bytes:
    """The inside of a frame."""
    kind = chance.randrange(20)
    if kind < 9:
        made = request(chance, id)
        if chance.random() < 0.2:
            made[chance.randrange(4)] = value(chance)
        return bytes(msgpack.packb(made))
    if kind < 11:
        rest = [value(chance) for _ in range(chance.randrange(4))]
        return bytes(msgpack.packb([chance.choice((1, 2, 3, 4, 5, -1)), *rest]))
    if kind == 11:
        return nested(chance)
    if kind == 12:
        return chance.randbytes(chance.randrange(1, 60))
    if kind == 13:  # a length inside that lies
        return b"\x94\x00\x01\xa4ping" + chance.choice((b"\xdf", b"\xdd", b"\xdb", b"\xc6")) + chance.randbytes(4)
    if kind == 14:
        return bytes(msgpack.packb(value(chance)))
    whole = bytearray(msgpack.packb(request(chance, id)))
    for _ in range(chance.randrange(1, 4)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole)


def event_body(chance: random.Random) -> bytes:
    """The inside of a frame as a server would send it, more or less."""
    kind = chance.randrange(12)
    if kind < 4:
        known = {"stream": chance.choice((1, 2, 3)), **{name: value(chance) for name in ("text", "finish", "error")}}
        some = {k: v for k, v in known.items() if chance.random() < 0.7}
        return bytes(msgpack.packb([3, chance.choice(EVENTS), some]))
    if kind < 6:
        return bytes(msgpack.packb([chance.choice((1, 2)), chance.randrange(5), value(chance), value(chance)]))
    if kind == 6:
        return bytes(msgpack.packb([4, chance.randbytes(30)]))
    if kind == 7:
        records = b"".join(msgpack.packb(value(chance)) for _ in range(3))
        return bytes(msgpack.packb([4, records]))
    return body(chance, chance.randrange(1, 6))


def frame(chance: random.Random, inside: bytes) -> tuple[bytes, bool]:
    """The bytes of a frame; whether it is whole."""
    kind = chance.randrange(60)
    if kind == 0:
        return struct.pack(">I", chance.choice((0, 1 << 18, (1 << 18) + 1, 1 << 31, 0xFFFFFFFF))) + inside, False
    if kind == 1:
        return struct.pack(">I", len(inside)) + inside[: chance.randrange(len(inside) + 1)], False
    if kind == 2:
        return struct.pack(">I", max(0, len(inside) - chance.randrange(1, 4))) + inside, False
    if kind == 3:
        return b"GET / HTTP/1.1\r\n\r\n", False
    return struct.pack(">I", len(inside)) + inside, True


def goes_on(data: bytes) -> bool:
    """Whether a connection outlives these bytes: a whole request that is not a goodbye."""
    decoder = Decoder()
    decoder.feed(data)
    try:
        message = decoder.next()
    except ProtocolError:
        return False
    return message is not None and not decoder.waiting and message[0] == 0 and message[2] != "bye"


def batch(chance: random.Random) -> tuple[bytes, int, set[int], bool]:
    """Some frames, how many, the ids that must be answered, and whether the connection outlives them. Only the last one
    ends it, so that every frame is looked at."""
    data, ids = b"", set()
    for count in range(1, chance.randrange(2, 40)):
        id = 9 + count
        odd = chance.random() < 0.2
        made, whole = frame(chance, body(chance, id) if odd else bytes(msgpack.packb(request(chance, id))))
        data += made
        if not (whole and goes_on(made)):
            return data, count, ids, False
        ids.add(int(msgpack.unpackb(made[4:], strict_map_key=False)[1]))
    return data, count, ids - {0}, True


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    """`modkit serve` with a small model: the process, its port and its token."""
    from modkit.persona import build
    from tests.make_model import make_model

    make_model(folder / "tiny.gguf")
    (folder / "root").mkdir(exist_ok=True)
    (folder / "dump.jsonl").write_text('{"speaker": "Sable", "text": "The lamp went out in the storm."}\n')
    build([folder / "dump.jsonl"], "Sable", folder / "sable.persona")
    command = [sys.executable, "-m", "modkit", "serve", str(folder / "sable.persona")]
    command += ["--model", str(folder / "tiny.gguf")]
    command += ["--port", "0", "--save", str(folder / "save.db"), "--root", str(folder / "root"), "--context", "512"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), "MODKIT_TOKEN": "t" * 40}
    )
    assert process.stdout is not None
    with process.stdout as out:
        try:
            said = json.loads(out.readline())
            yield process, said["port"], said["token"]
        finally:
            process.terminate()
            process.wait(30)


def resident(pid: int) -> float:
    """MiB of memory that a process has in use."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Peer:
    """One connection, let in or not."""

    def __init__(self, port: int, token: str | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.decoder = Decoder(Limits(frame=1 << 20, depth=16))
        self.closed = False
        if token is not None:
            self.socket.sendall(encode([0, 1, "hello", {"protocol": [1, 1], "client": "fuzz", "token": token}]))
            answer = self.receive(10.0)
            assert answer is not None and answer[0] == 1, answer

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        deadline = time.monotonic() + 20
        while view and not self.closed:
            assert time.monotonic() < deadline, "the server does not take what is sent"
            _, writable, _ = select.select([], [self.socket], [], 0.1)
            if not writable:
                self.drain()
                continue
            try:
                view = view[self.socket.send(view[:4096]) :]
            except OSError:
                self.closed = True

    def drain(self) -> list[list[Any]]:
        found = []
        while not self.closed and select.select([self.socket], [], [], 0)[0]:
            found += self._read()
        return found

    def _read(self) -> list[list[Any]]:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.closed = True
        self.decoder.feed(data)
        found = []
        while (message := self.decoder.next()) is not None:  # what the server says is always well formed
            found.append(message)
        return found

    def receive(self, seconds: float) -> list[Any] | None:
        deadline = time.monotonic() + seconds
        while not self.closed and time.monotonic() < deadline:
            if select.select([self.socket], [], [], 0.05)[0] and (found := self._read()):
                return found[0]
        return None

    def until(self, *ids: int, seconds: float = 20.0) -> list[list[Any]] | None:
        """Everything up to the last answer to the requests `ids`; None when the connection was closed instead."""
        missing = set(ids)
        found: list[list[Any]] = []
        deadline = time.monotonic() + seconds
        while True:
            if select.select([self.socket], [], [], 0.05)[0]:
                new = self._read()
                found += new
                missing.difference_update(message[1] for message in new if message[0] in (1, 2))
            if not missing:
                return found
            if self.closed:
                return None
            assert time.monotonic() < deadline, "neither an answer nor a closed connection"

    def until_closed(self) -> None:
        """Raises AssertionError when the other side does not close."""
        deadline = time.monotonic() + 20
        while not self.closed:
            assert time.monotonic() < deadline, "a bad frame did not close the connection"
            if select.select([self.socket], [], [], 0.05)[0]:
                self._read()

    def close(self) -> None:
        self.socket.close()


def fuzz_server(frames: int, seed: int, folder: Path) -> str:
    """Raises AssertionError when a promise is broken; else a line of figures."""
    chance = random.Random(seed)
    start, sent, answered, closed, silent = time.monotonic(), 0, 0, 0, 0
    slowest = 0.0
    with server(folder) as (process, port, token):
        good = Peer(port, token)
        before = 0.0
        turn = 0
        peer = Peer(port, token)
        while sent < frames:
            turn += 1
            if sent >= frames // 10 and not before:
                before = resident(process.pid)
            if turn % 20 == 0:  # one without the token, or with an old one, gets nothing
                silent += stranger(port, chance)
            data, count, ids, lives = batch(chance)
            sent += count
            peer.send(data if not lives else data + encode([0, 9, "ping", {}]))
            if lives:
                got = peer.until(9, *ids)
                assert got is not None, "a connection was closed that had done nothing wrong"
                answered += sum(message[0] in (1, 2) for message in got)
            else:
                with contextlib.suppress(OSError):  # nothing more comes, so half a frame stays half
                    peer.socket.shutdown(socket.SHUT_WR)
                peer.until_closed()
                closed += 1
                peer.close()
                peer = Peer(port, token)
            if turn % 50 == 0:
                asked = time.monotonic()
                good.send(encode([0, 7, "ping", {}]))
                assert good.until(7) is not None, "another connection was harmed"
                slowest = max(slowest, time.monotonic() - asked)
            assert process.poll() is None, "the server ended"
        peer.close()
        good.send(encode([0, 8, "say", {"text": "still there?", "options": {"max_tokens": 3}}]))
        assert good.until(8)
        good.close()
        after = resident(process.pid)
        assert after < before + 64, f"memory grew from {before:.0f} to {after:.0f} MiB"
    assert process.returncode == 0
    seconds = time.monotonic() - start
    return (
        f"{sent} frames in {seconds:.0f} s: {answered} answers, {closed} connections closed, "
        f"{silent} strangers told nothing, {before:.0f} to {after:.0f} MiB, "
        f"another client's slowest answer {slowest * 1000:.0f} ms"
    )


def stranger(port: int, chance: random.Random) -> bool:
    """A connection without the token; whatever it sends, not a byte comes back."""
    peer = Peer(port, None)
    hello: dict[str, Any] = {"protocol": [1, 1], "client": "stranger"}
    if chance.random() < 0.7:
        hello["token"] = chance.choice(("", "t" * 39, "t" * 41, "an older server's", value(chance), 5, None))
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        peer.send(encode([0, 1, "hello", hello]))
    peer.send(chance.choice((b"", encode([0, 2, "status", {}]), frame(chance, body(chance, 3))[0], b"\0" * 5000)))
    with contextlib.suppress(OSError):
        peer.socket.shutdown(socket.SHUT_WR)
    got = b""
    peer.socket.settimeout(20)
    with contextlib.suppress(ConnectionError):
        while data := peer.socket.recv(100):
            got += data
    peer.close()
    assert got == b"", got
    return True


class Scripted:
    """A client's link that hands over prepared bytes."""

    def __init__(self) -> None:
        self.data = b""

    def read(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def write(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass


def fuzz_python_client(frames: int, seed: int) -> str:
    """Nothing but `closed` may come of what a server sends."""
    from tests.ipc.test_clients import load_client

    module = load_client()
    chance = random.Random(seed)
    closed, words = 0, 0
    client: Any = None
    for _ in range(frames):
        if client is None or client.closed:
            closed += client is not None
            client = module.Client(Scripted())
            client._link.data = encode([1, 1, {"protocol": 1}])
            replies = [client.say("x") for _ in range(3)]
            client.update()
            client._link.data = b"".join(encode([1, 2 + i, {"stream": 1 + i}]) for i in range(3))
        made, whole = frame(chance, event_body(chance))
        client._link.data += made
        client.update()
        words += sum(len(reply.take()) for reply in replies)
        if not whole and not client.closed:
            client.close()
        assert not client.closed or all(reply.done or reply.stream is None for reply in replies)
    return f"{frames} frames to the Python client: {closed} connections given up, {words} characters taken"


def fuzz_decoder(frames: int, seed: int) -> str:
    """The frames of modkit's own side: a message or a ProtocolError each."""
    chance = random.Random(seed)
    refused = 0
    decoder = Decoder()
    for _ in range(frames):
        made, whole = frame(chance, event_body(chance))
        decoder.feed(made)
        try:
            while decoder.next() is not None:
                pass
        except ProtocolError:
            refused += 1
            whole = False
        if not whole:
            decoder = Decoder()
    return f"{frames} frames to the decoder: {refused} refused"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("serve", "client"))
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    if a.target == "client":
        print(fuzz_decoder(a.frames, a.seed))
        print(fuzz_python_client(a.frames, a.seed))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(fuzz_server(a.frames, a.seed, Path(folder)))


if __name__ == "__main__":
    main()
