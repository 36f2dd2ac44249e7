"""The server of `modkit serve`, turn by turn: who is let in, what is asked and answered, and what it costs others."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import OptionError
from modkit.ipc.framing import ERROR, EVENT, REPLY, REQUEST, Decoder, Limits, encode
from modkit.ipc.handshake import hello
from modkit.ipc.listeners import FolderListener, PortListener, UnixListener
from modkit.ipc.server import Server
from modkit.ipc.service import Service
from modkit.ipc.transport import SocketLink
from modkit.persona import Save, build
from modkit.testing import FakeEngine, ManualClock

TOKEN = "a token that nobody guesses"


class Peer:
    """The other end of a connection, and the server's loop: no thread, no waiting."""

    def __init__(self, server: Server, address: Any) -> None:
        self.server = server
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.decoder = Decoder(Limits(frame=1 << 20))
        self.closed = False
        self.messages: list[list[Any]] = []
        self.bytes = 0

    def turns(self, n: int = 20) -> list[list[Any]]:
        """So many turns of the server; what came meanwhile."""
        new: list[list[Any]] = []
        for _ in range(n):
            self.server.turn()
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            self.closed = self.closed or not data
            self.bytes += len(data)
            self.decoder.feed(data)
            while (message := self.decoder.next()) is not None:
                new.append(message)
        self.messages += new
        return new

    def send(self, *messages: list[Any]) -> None:
        self.socket.sendall(b"".join(map(encode, messages)))

    def ask(self, method: str, /, **params: Any) -> Any:
        self.send([REQUEST, 5, method, params])
        for _ in range(200):
            for message in self.turns(1):
                if message[0] in (REPLY, ERROR) and message[1] == 5:
                    return message[2] if message[0] == REPLY else tuple(message[2:])
        raise AssertionError(f"no answer to {method}")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Server, Callable[..., Peer]]]]:
    dump = tmp_path / "dump.jsonl"
    dump.write_text('{"speaker": "Sable", "text": "The lamp went out in the storm."}\n')
    build([dump], "Sable", tmp_path / "sable.persona")
    (tmp_path / "root").mkdir()
    build([dump], "Sable", tmp_path / "root" / "other.persona")
    servers: list[Server] = []
    peers: list[Peer] = []

    def start(engine: FakeEngine | None = None, **more: Any) -> tuple[Server, Callable[..., Peer]]:
        save = Save.open(tmp_path / "save.db")
        service = Service(engine or FakeEngine(["The lamp is lit."]), save=save, root=tmp_path / "root")
        service.add(tmp_path / "sable.persona")
        listener = PortListener(TOKEN)
        server = Server(service, [listener], **more)
        servers.append(server)

        def connect(*, let_in: bool = True, **params: Any) -> Peer:
            peer = Peer(server, listener.address)
            peers.append(peer)
            server.turn()  # takes it in: the queue of those who knock is short
            if let_in:
                peer.send(hello("test", TOKEN, **params))
                answer = peer.turns(5)[0]
                assert answer[:2] == [REPLY, 1], answer
            return peer

        return server, connect

    yield start
    for peer in peers:
        peer.socket.close()
    for server in servers:
        server.close()
        assert server.service.save is not None
        server.service.save.close()


Make = Callable[..., tuple[Server, Callable[..., Peer]]]


@pytest.mark.parametrize(
    "first",
    [
        [REQUEST, 2, "status", {}],
        hello("x"),
        hello("x", "a token that nobody guesseS"),
        hello("x", ""),
        [REQUEST, 1, "hello", {"protocol": [1, 1], "token": 5}],
        [REQUEST, 1, "hello", {"protocol": [1, 1], "token": [TOKEN]}],
        [REPLY, 1, {"token": TOKEN}],
    ],
)
def test_a_connection_without_the_token_gets_nothing(first: list[Any], make: Make) -> None:
    _, connect = make()
    peer = connect(let_in=False)
    peer.send(first, [REQUEST, 3, "say", {"text": "hello"}])
    peer.turns()
    assert (peer.bytes, peer.closed) == (0, True)


def test_a_stranger_may_not_send_much_and_not_wait_long(make: Make) -> None:
    clock = ManualClock()
    server, connect = make(clock=clock)
    large, idle = connect(let_in=False), connect(let_in=False)
    large.send(hello("x" * 5000, TOKEN))
    large.turns()
    assert (large.bytes, large.closed) == (0, True)
    idle.turns()
    assert not idle.closed
    clock.advance(11)
    idle.turns()
    assert (idle.bytes, idle.closed) == (0, True)
    crowd = [connect(let_in=False) for _ in range(20)]
    for peer in crowd:
        peer.turns(1)
    assert len(server.clients) <= 16
    assert connect().ask("ping") == {}


def test_versions_that_do_not_meet_are_told_so(make: Make) -> None:
    _, connect = make()
    peer = connect(let_in=False)
    message = hello("x", TOKEN)
    message[3]["protocol"] = [7, 9]
    peer.send(message)
    (answer,) = peer.turns()
    assert answer[:3] == [ERROR, 1, "ProtocolError"]
    assert "7 to 9" in answer[3]
    assert peer.closed


def test_words_come_as_events_and_the_end_says_how(make: Make) -> None:
    _, connect = make()
    peer = connect()
    assert peer.ask("say", text="Did the lamp go out?", facts=["It rains."]) == {"stream": 1, "npc": "Sable"}
    peer.turns(30)
    events = [message[1:] for message in peer.messages if message[0] == EVENT]
    assert "".join(p["text"] for name, p in events if name == "words") == "The lamp is lit."
    name, end = events[-1]
    assert (name, end["stream"], end["finish"], end["text"]) == ("done", 1, "stop", "The lamp is lit.")
    assert peer.ask("transcript")["turns"][-1]["reply"] == "The lamp is lit."
    assert peer.ask("save") == {"saved": True}
    assert peer.ask("save", to="copy.db") == {"saved": True}
    assert peer.ask("load", persona="other.persona", id="twin")["id"] == "twin"
    assert {npc["id"] for npc in peer.ask("status")["npcs"]} == {"Sable", "twin"}
    assert peer.ask("say", text="hello")[0] == "OptionError", "with two of them, one has to be named"


def test_a_client_that_polls_is_not_pushed(make: Make) -> None:
    _, connect = make()
    peer = connect(events="poll")
    peer.ask("say", text="hello")
    peer.turns(30)
    assert not [message for message in peer.messages if message[0] == EVENT]
    names = [name for name, _ in peer.ask("poll")["events"]]
    assert names == ["words", "done"]
    assert peer.ask("poll") == {"events": []}


def test_what_she_does_and_how_she_feels_come_as_events(make: Make) -> None:
    reply = '<mood:wary>Take it. <do:give {"item":"lamp"}>Now go.'
    _, connect = make(FakeEngine([reply]))
    peer = connect()
    give = {"name": "give", "does": "Give something to the player.", "parameters": {"item": ["lamp", "rope"]}}
    assert peer.ask("actions", actions=[give], moods=["wary", "calm"]) == {"actions": ["give"]}
    peer.ask("say", text="May I have the lamp?")
    peer.turns(40)
    events = [message[1:] for message in peer.messages if message[0] == EVENT]
    assert [p["name"] for name, p in events if name == "mood"] == ["wary"]
    (deed,) = [p for name, p in events if name == "action"]
    assert (deed["name"], deed["arguments"], deed["outcome"]) == ("give", {"item": "lamp"}, "done")
    assert events[-1][1]["text"] == "Take it. Now go."
    for wrong in ({"name": "x"}, {"name": "a b", "does": "x"}, {**give, "parameters": {"item": 5}}, {**give, "run": 1}):
        assert peer.ask("actions", actions=[wrong])[0] == "OptionError"


def test_wrong_parameters_are_answered_and_the_connection_lives(make: Make, tmp_path: Path) -> None:
    _, connect = make()
    peer = connect()
    for method, params in (
        ("say", {}), ("say", {"text": 5}), ("say", {"text": "x" * 9000}), ("say", {"text": "x", "facts": "y"}),
        ("say", {"text": "x", "options": {"grammar": "x"}}), ("say", {"text": "x", "options": {"max_tokens": 10**9}}),
        ("say", {"text": "x", "npc": "Nobody"}),
        ("cancel", {"stream": "1"}), ("transcript", {"last": 0}), ("nothing", {}), ("_say", {}), ("ping", {"x": 1}),
        ("load", {"persona": "../save.db"}), ("load", {"persona": str(tmp_path / "sable.persona")}),
        ("load", {"persona": "missing.persona"}), ("load", {"persona": "\0"}), ("save", {"to": "../out.db"}),
        ("hello", {"protocol": [1, 1], "token": TOKEN}),
    ):  # fmt: skip
        answer = peer.ask(method, **params)
        assert isinstance(answer, tuple) and answer[0].endswith("Error"), (method, params, answer)
    assert not (tmp_path / "out.db").exists()
    assert peer.ask("ping") == {}


def test_a_client_that_does_not_read_is_not_read_either_and_others_are(make: Make) -> None:
    server, connect = make(limits=Limits(rate=0))
    deaf, other = connect(), connect()
    sent = 0
    ask = encode([REQUEST, 9, "transcript", {"npc": "x" * 60}])
    for _ in range(400):
        try:
            while sent < 64 << 20:
                sent += deaf.socket.send(ask * 50)
        except BlockingIOError:
            server.turn()
    client = server.clients[0]
    assert client.connection.outgoing < 1 << 20
    assert sent < 32 << 20, "the server read on and on"
    assert other.ask("ping") == {}


def test_a_client_that_is_too_fast_is_read_more_slowly(make: Make) -> None:
    clock = ManualClock()
    _, connect = make(clock=clock, limits=Limits(rate=10, burst=20))
    peer = connect()
    peer.send(*[[REQUEST, 100 + n, "ping", {}] for n in range(40)])
    assert len(peer.turns(50)) == 19  # the hello was the first of the burst
    clock.advance(1.05)
    assert len(peer.turns(50)) == 10


def test_a_client_that_leaves_takes_its_replies_along(make: Make) -> None:
    engine = FakeEngine(["one two three four five six seven eight nine ten " * 5])
    server, connect = make(engine)
    peer = connect()
    peer.ask("say", text="go on")
    peer.turns(3)
    peer.socket.close()
    for _ in range(5):
        server.turn()
    assert not server.clients
    assert not server.service.npc("Sable").speaking


def test_a_unix_socket_is_this_users_alone_and_a_stale_one_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "modkit.sock"
    listener = UnixListener(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(OptionError, match="another server"):
        UnixListener(path)
    listener._socket.close()  # as a kill leaves it
    again = UnixListener(path)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.fspath(path))
        link = again.accept()
        assert link is not None
        link.close()
    again.close()
    assert not path.exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OptionError, match="no socket"):
        UnixListener(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_only_sessions_are_taken_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "old.to").write_bytes(b"")
    (tmp_path / "old.from").write_bytes(b"")
    (tmp_path / "a.b.to").write_bytes(b"")
    (tmp_path / "link.to").symlink_to(tmp_path / "notes.txt")
    listener = FolderListener(tmp_path)
    assert listener.accept() is None
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "a.b.to", "link.to"}
    (tmp_path / "fresh.to").write_bytes(b"abc")
    listener._last = 0.0
    link = listener.accept()
    assert link is not None and link.read() == b"abc"
    listener.close()
    assert not (tmp_path / "fresh.to").exists()
    with pytest.raises(OptionError, match="not a folder"):
        FolderListener(tmp_path / "missing")


def test_a_port_needs_a_good_token_and_stays_on_the_loopback() -> None:
    with pytest.raises(OptionError, match="guessed"):
        PortListener("short")
    with pytest.raises(OptionError):
        PortListener("x" * 20, 70_000)
    listener = PortListener("x" * 20)
    assert listener.address[0] == "127.0.0.1"
    listener.close()


def test_serve_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    for arguments, says in (
        (["serve"], "--model"),
        (["serve", "--model", str(tmp_path / "missing.gguf"), "--port", "0"], "does not exist"),
        (["serve", "--model", "x", "--connect", "y"], "--port"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "modkit", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode in (1, 2)
        assert says in done.stderr
        assert "Traceback" not in done.stderr


# ---- peers that mean harm ----


class Door:
    """A listener before which any number of peers stand at once; a port's queue is short."""

    token = TOKEN

    def __init__(self) -> None:
        self.waiting: list[socket.socket] = []

    def knock(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.waiting.append(theirs)
        ours.setblocking(False)
        return ours

    def accept(self) -> SocketLink | None:
        return SocketLink(self.waiting.pop(0)) if self.waiting else None

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        for one in self.waiting:
            one.close()


def test_a_crowd_at_the_door_does_not_push_out_who_says_hello_at_once(make: Make) -> None:
    server, _ = make()
    door = Door()
    server.listeners.append(door)
    honest = door.knock()
    honest.sendall(encode(hello("test", TOKEN)))
    crowd = [door.knock() for _ in range(100)]
    most = 0
    for _ in range(20):
        server.turn()
        most = max(most, len(server.clients))
    assert most <= 17
    assert [client.agreed for client in server.clients].count(True) == 1
    assert honest.recv(4096)[4:]
    for one in [honest, *crowd]:
        one.close()


def test_a_client_with_much_to_ask_gets_its_turn_and_no_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server, connect = make(limits=Limits(rate=0))
    greedy, other = connect(), connect()
    monkeypatch.setattr("modkit.ipc.server.TURN_SECONDS", -1.0)  # every message takes too long
    greedy.send(*[[REQUEST, 100 + n, "ping", {}] for n in range(40)])
    other.send([REQUEST, 7, "ping", {}])
    server.turn()
    assert len(greedy.turns(0) + greedy.turns(1)) <= 2
    assert other.turns(1) == [[REPLY, 7, {}]]
    assert len(greedy.messages) + len(greedy.turns(60)) >= 40, "later, but all of it"


def test_saves_on_their_way_are_few(make: Make) -> None:
    class Slow(FakeEngine):
        def background(self, function: Callable[[], None]) -> None:
            held.append(function)

    held: list[Callable[[], None]] = []
    _, connect = make(Slow())
    peer = connect()
    peer.send(*[[REQUEST, 20 + n, "save", {}] for n in range(10)])
    refused = [message for message in peer.turns() if message[0] == ERROR]
    assert len(refused) == 6 and all("saves are under way" in message[3] for message in refused)
    for work in held:
        work()
    assert len([message for message in peer.turns() if message[0] == REPLY]) == 4
    held.clear()
    peer.send([REQUEST, 40, "save", {}])
    peer.turns()
    assert len(held) == 1


def test_a_server_whose_queue_is_full_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(os.fspath(path))
        busy.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(os.fspath(path))
                if len(waiting) > 64:
                    pytest.skip("this system's queue has no end")
        except BlockingIOError:
            pass
        with pytest.raises(OptionError, match="another server"):
            UnixListener(path)
        assert path.exists()
        for one in waiting:
            one.close()


def test_a_server_removes_its_own_socket_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "modkit.sock"
    first = UnixListener(path)
    path.rename(tmp_path / "moved.sock")
    second = UnixListener(path)
    first.close()
    assert path.exists(), "it is the second one's"
    second.close()
    assert not path.exists()


def test_an_answer_is_not_written_through_a_link_that_lay_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    mailbox = tmp_path / "mailbox"
    mailbox.mkdir()
    listener = FolderListener(mailbox)
    (mailbox / "trap.from").symlink_to(victim)
    (mailbox / "trap.to").write_bytes(b"abc")
    link = listener.accept()
    assert link is not None and link.read() == b"abc"
    link.write(memoryview(b"answer"))
    assert victim.read_text() == "mine"
    assert (mailbox / "trap.from").read_bytes() == b"answer" and not (mailbox / "trap.from").is_symlink()
    os.mkfifo(mailbox / "pipe.to")
    listener._last = 0.0
    assert listener.accept() is None
    listener.close()
    assert victim.read_text() == "mine"
