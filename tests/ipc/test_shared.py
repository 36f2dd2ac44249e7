"""Bytes through memory that two processes have: whole, in order, never waited for, and nothing believed."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modkit.errors import ProtocolError
from modkit.ipc import IsolatedEngine
from modkit.ipc.shared import Inlet, Outlet, Region
from modkit.ipc.transport import CHUNK
from modkit.native.worker import ORDERED
from tests.conftest import wait_until

ROOM = 1 << 19
x86 = pytest.mark.skipif(not ORDERED, reason="this processor does not keep the order of stores")


class Beside:
    """A Link that says what was asked of it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = 0

    def read(self) -> bytes:
        return b"from the pipe"

    def write(self, data: memoryview) -> int:
        self.written += bytes(data)
        return len(data)

    def wait_on(self) -> int | None:
        return 7

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region.make()
    assert made is not None
    yield made
    made.close()


@x86
def test_what_is_written_is_read_whole_and_in_order_however_it_is_cut(region: Region) -> None:
    chance = random.Random(7)
    inlet, outlet = Inlet(Beside(), region), Outlet(Beside(), region)
    sent, got = bytearray(), bytearray()
    while len(sent) < 5 * ROOM:
        data = chance.randbytes(chance.choice((1, 7, 300, 20_000, 100_000)))
        taken = outlet.write(memoryview(data))
        sent += data[:taken]
        for _ in range(chance.randrange(12)):
            news = inlet.read()
            assert len(news) <= CHUNK
            got += news
    while news := inlet.read():
        got += news
    assert got == sent


@x86
def test_a_full_room_takes_no_more_until_something_is_read(region: Region) -> None:
    inlet, outlet = Inlet(Beside(), region), Outlet(Beside(), region)
    assert outlet.write(memoryview(bytes(2 * ROOM))) == ROOM
    assert outlet.write(memoryview(b"more")) == 0
    assert inlet.read() == bytes(CHUNK)
    assert outlet.write(memoryview(b"more")) == 4


@x86
@pytest.mark.parametrize("number", [2**64 - 1, 2**63, ROOM + 1])
def test_a_number_that_cannot_be_is_refused(number: int, region: Region) -> None:
    inlet = Inlet(Beside(), region)
    region.written[0] = number
    with pytest.raises(ProtocolError, match="nonsense"):
        inlet.read()


@x86
def test_the_other_direction_is_the_pipe_and_a_closed_end_has_no_news() -> None:
    made = Region.make()
    assert made is not None
    beside = Beside()
    inlet = Inlet(beside, made)
    made.written[0] = 10
    assert inlet.write(memoryview(b"asked")) == 5
    assert inlet.wait_on() is None
    inlet.close()
    assert (beside.written, beside.closed) == (b"asked", 1)
    assert inlet.read() == b""
    assert inlet.written[0] == inlet.at
    second = Region.make()
    assert second is not None
    outlet = Outlet(Beside(), second)
    assert outlet.read() == b"from the pipe"
    assert outlet.wait_on() == 7
    outlet.close()


WRITER = """
import hashlib, random, sys
from modkit.ipc.shared import Outlet, Region
class Beside:
    def close(self): pass
outlet = Outlet(Beside(), Region.open(sys.argv[1]))
chance, left, said = random.Random(3), int(sys.argv[2]), hashlib.sha256()
while left:
    data = memoryview(chance.randbytes(min(left, chance.randrange(1, 60000))))
    left -= len(data)
    said.update(data)
    while data:
        data = data[outlet.write(data):]
print(said.hexdigest())
"""


def writer(region: Region, size: int) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", WRITER, region.name, str(size)]
    root = str(Path(__file__).resolve().parents[2])
    started = subprocess.Popen(
        line, stdout=subprocess.PIPE, text=True, pass_fds=region.fds, env={**os.environ, "PYTHONPATH": root}
    )
    region.forget_fds()
    return started


@x86
def test_another_process_writes_and_every_byte_arrives(region: Region) -> None:
    size, heard, inlet = 20_000_000, hashlib.sha256(), Inlet(Beside(), region)
    started = writer(region, size)
    left, deadline = size, time.monotonic() + 60
    while left and time.monotonic() < deadline:
        data = inlet.read()
        heard.update(data)
        left -= len(data)
    assert started.communicate(timeout=30)[0].strip() == heard.hexdigest()
    assert left == 0
    assert inlet.read() == b""


@x86
def test_a_writer_killed_in_the_middle_leaves_a_beginning(region: Region) -> None:
    inlet, started, got = Inlet(Beside(), region), writer(region, 500_000_000), bytearray()
    deadline = time.monotonic() + 60
    while len(got) < 3_000_000 and time.monotonic() < deadline:
        got += inlet.read()
    started.kill()
    started.communicate()
    while news := inlet.read():
        got += news
    chance, expected = random.Random(3), bytearray()
    while len(expected) < len(got):
        expected += chance.randbytes(chance.randrange(1, 60000))
    assert got == expected[: len(got)]


@pytest.mark.parametrize("shared", [True, False], ids=["memory", "pipe"])
def test_an_engine_speaks_through_memory_where_it_can_and_through_a_pipe_elsewhere(
    shared: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[[], Region | None] = Region.make
    monkeypatch.setattr(Region, "make", make if shared else lambda: None)
    with IsolatedEngine(tiny, context=512) as engine:
        stream = engine.generate("the lamp", max_tokens=300, seed=4)
        wait_until(engine, lambda: stream.done)
        assert len(stream.tokens) == 300
        assert isinstance(engine._child.inlet, Inlet) is (shared and ORDERED)
        if shared and ORDERED:
            engine._child.inlet._region.written[0] = 2**63
            wait_until(engine, lambda: engine.restarts == 1)
            again = engine.generate("the lamp", max_tokens=300, seed=4)
            wait_until(engine, lambda: again.done)
            assert again.tokens == stream.tokens


@pytest.mark.skipif(sys.platform == "win32", reason="there a mapping has a name, and making it cannot fail so")
def test_without_memory_to_share_there_is_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no more files")

    monkeypatch.setattr("modkit.ipc.shared._nameless_file", refuse)
    assert Region.make() is None


def test_a_region_that_is_not_there_is_an_error() -> None:
    if sys.platform != "win32":
        with pytest.raises(OSError):
            Region.open("99999")
