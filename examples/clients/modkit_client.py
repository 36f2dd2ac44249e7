"""Talk to `modkit serve` from any Python from 3.7 on. One file, nothing to install: copy it into your game.

    from modkit_client import Client

    client = Client.child(["modkit", "serve", "sable.persona", "--model", "sable.gguf"])
    reply = client.say("Did the lamp go out last night?")
    while not reply.done:                # your game's loop
        client.update()                  # never waits
        bubble += reply.take()
    client.close()

Other ways in: Client.port(number, token), Client.connect_file("connect.json"), Client.unix(path), Client.files(folder).
Everything belongs to one thread, the one that calls update(). What goes over the wire is in docs/protocol.md.
"""

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import threading
import time

__all__ = ["Client", "ModkitError", "Reply", "pack", "unpack"]

VERSION = 1
MAX_FRAME = 1 << 20
MAX_DEPTH = 16
REQUEST, REPLY, ERROR, EVENT, RECORDS = range(5)


class ModkitError(Exception):
    """What the server answered, or that it is gone. `kind` is the name of modkit's own error."""

    def __init__(self, kind, sentence):
        Exception.__init__(self, sentence)
        self.kind = kind


class Reply:
    """What a character says. `done` once it has ended; `finish` says how, `error` why when it is "error"."""

    def __init__(self, client):
        self._client = client
        self._new = []
        self.stream = None
        self.text = ""
        self.done = False
        self.finish = None
        self.error = None
        self.actions = []
        self.stats = {}

    def take(self):
        """The text since the last take."""
        text = "".join(self._new)
        self._new = []
        return text

    def cancel(self):
        """Stops her where she is."""
        if self.stream is not None and not self.done:
            self._client.request("cancel", {"stream": self.stream})

    def _end(self, finish, error=None):
        if not self.done:
            self.finish, self.error, self.done = finish, error, True


class Client:
    """One connection. Made by Client.child, .port, .connect_file, .unix or .files."""

    def __init__(self, link, token=None, name="modkit_client.py"):
        self._link = link
        self._in = bytearray()
        self._out = bytearray()
        self._next = 2
        self._waiting = {}
        self._replies = {}
        self._early = {}
        self.closed = None  # why, once it is over
        self.server = None  # what the server said of itself, once it has
        self.on_event = None  # called with (name, params) for events that are not words of a reply
        hello = {"protocol": [1, VERSION], "client": name}
        if token is not None:
            hello["token"] = token
        self._waiting[1] = self._welcomed
        self._send([REQUEST, 1, "hello", hello])

    # ---- ways in ----

    @classmethod
    def child(cls, command, **more):
        """Starts the server as a child process, over its stdin and stdout; it ends with us."""
        return cls(_Child(command), **more)

    @classmethod
    def port(cls, number, token, **more):
        """A server with --port."""
        return cls(_Socket(socket.create_connection(("127.0.0.1", number), 5)), token=token, **more)

    @classmethod
    def connect_file(cls, path, **more):
        """The port and token that a server with --connect wrote."""
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return cls.port(found["port"], found["token"], **more)

    @classmethod
    def unix(cls, path, token=None, **more):
        """A server with --unix."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.connect(path)
        return cls(_Socket(made), token=token, **more)

    @classmethod
    def files(cls, folder, token=None, **more):
        """A server with --files."""
        return cls(_Files(folder), token=token, **more)

    # ---- every frame ----

    def update(self):
        """Sends and takes what can be sent and taken now; never waits. Words arrive in the replies."""
        if self.closed:
            return
        try:
            if self._out:
                del self._out[: self._link.write(bytes(self._out[:65536]))]
            self._in += self._link.read()
            for _ in range(256):
                message = self._message()
                if message is None:
                    break
                self._take(message)
        except (OSError, EOFError, ValueError) as error:
            self._over(str(error) or type(error).__name__)

    # ---- asking ----

    def say(self, text, npc=None, facts=(), **options):
        """Says something to a character; returns her Reply at once."""
        reply = Reply(self)
        params = {"text": text, "facts": list(facts), "options": options}
        if npc is not None:
            params["npc"] = npc
        self.request("say", params, lambda result, error: self._said(reply, result, error))
        return reply

    def request(self, method, params=None, then=None):
        """Asks for any method; then(result, error) is called by a later update(). One of the two is None."""
        if self.closed:
            raise ModkitError("Closed", self.closed)
        id = 0
        if then is not None:
            id = self._next
            self._next += 1
            self._waiting[id] = then
        self._send([REQUEST, id, method, params or {}])

    def wait(self, method, params=None, timeout=60.0):
        """For scripts: asks and waits for the answer. Raises ModkitError. Never in a game's frame."""
        found = []
        self.request(method, params, lambda result, error: found.append((result, error)))
        end = time.time() + timeout
        while not found and not self.closed and time.time() < end:
            self.update()
            time.sleep(0.002)
        if not found:
            raise ModkitError("Timeout", self.closed or f"no answer to {method} within {timeout:g} s")
        result, error = found[0]
        if error is not None:
            raise error
        return result

    def close(self):
        """Says goodbye and closes. May be called twice."""
        if not self.closed:
            try:
                self.request("bye")
                self.update()
            except ModkitError:
                pass
            self._over("closed")

    # ---- inside ----

    def _send(self, message):
        body = pack(message)
        self._out += struct.pack(">I", len(body)) + body

    def _message(self):
        if len(self._in) < 4:
            return None
        (size,) = struct.unpack_from(">I", self._in)
        if not 1 <= size <= MAX_FRAME:
            raise ValueError(f"the server sent a frame of {size} bytes")
        if len(self._in) < 4 + size:
            return None
        message = unpack(bytes(self._in[4 : 4 + size]))
        del self._in[: 4 + size]
        if not isinstance(message, list) or len(message) < 2 or message[0] not in (REPLY, ERROR, EVENT, RECORDS):
            raise ValueError("the server sent something that is no message")
        return message

    def _take(self, message):
        kind = message[0]
        if kind == REPLY and len(message) == 3 and isinstance(message[1], int):
            then = self._waiting.pop(message[1], None)
            if then is not None:
                then(message[2], None)
        elif kind == ERROR and len(message) == 4 and isinstance(message[1], int):
            then = self._waiting.pop(message[1], None)
            error = ModkitError(str(message[2]), str(message[3]))
            if then is not None:
                then(None, error)
            elif message[1] == 0:
                raise ValueError(str(error))
        elif kind == EVENT and len(message) == 3 and isinstance(message[2], dict):
            self._event(str(message[1]), message[2])
        elif kind != RECORDS:
            raise ValueError("the server sent a message of an unknown form")

    def _welcomed(self, result, error):
        if error is not None or not isinstance(result, dict) or result.get("protocol") != VERSION:
            raise ValueError(str(error or "the server speaks another version of the protocol"))
        self.server = result

    def _said(self, reply, result, error):
        if error is not None or not isinstance(result, dict):
            reply._end("error", error or ModkitError("ProtocolError", "the server gave no stream"))
            return
        reply.stream = result.get("stream")
        self._replies[reply.stream] = reply

    def _event(self, name, params):
        stream = params.get("stream")
        reply = self._replies.get(stream) if isinstance(stream, int) else None
        if reply is None:
            if self.on_event is not None:
                self.on_event(name, params)
            return
        if name == "words":
            text = params.get("text")
            if isinstance(text, str) and text:
                reply._new.append(text)
                reply.text += text
        elif name == "done":
            del self._replies[stream]
            error = params.get("error")
            failed = isinstance(error, list) and len(error) == 2
            reply.stats = params
            reply._end(str(params.get("finish")), ModkitError(str(error[0]), str(error[1])) if failed else None)
        else:
            reply.actions.append((name, params))
            if self.on_event is not None:
                self.on_event(name, params)

    def _over(self, why):
        self.closed = why or "closed"
        self._link.close()
        gone = ModkitError("Closed", "the connection is over: " + self.closed)
        for reply in list(self._replies.values()):
            reply._end("error", gone)
        self._replies.clear()
        waiting, self._waiting = self._waiting, {}
        for id, then in waiting.items():
            if id != 1:
                then(None, gone)


class _Socket:
    def __init__(self, made):
        made.setblocking(False)
        self._socket = made

    def read(self):
        try:
            data = self._socket.recv(16384)
        except BlockingIOError:
            return b""
        if not data:
            raise EOFError("the server closed the connection")
        return data

    def write(self, data):
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def close(self):
        self._socket.close()


class _Child:
    """Pipes of a child: a thread reads, because Windows cannot ask a pipe without waiting."""

    def __init__(self, command):
        flags = 0x08000000 if os.name == "nt" else 0  # no console window
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, creationflags=flags
        )
        self._arrived = []
        self._ended = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._pull)
        self._thread.daemon = True
        self._thread.start()

    def _pull(self):
        out = self._process.stdout
        while True:
            try:
                data = os.read(out.fileno(), 16384)
            except (OSError, ValueError):
                data = b""
            with self._lock:
                if not data:
                    self._ended = True
                    return
                self._arrived.append(data)
            while len(self._arrived) > 256 and not self._ended:
                time.sleep(0.01)

    def read(self):
        with self._lock:
            data = b"".join(self._arrived)
            del self._arrived[:]
            if self._ended and not data:
                raise EOFError("the server has ended")
        return data

    def write(self, data):
        # A pipe takes 4096 bytes without waiting when it is writable at all; select() knows, but not on Windows.
        if os.name != "nt" and not select.select([], [self._process.stdin], [], 0)[1]:
            return 0
        return os.write(self._process.stdin.fileno(), data[:4096])

    def close(self):
        self._ended = True
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)  # it commits what was said
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(5)
        self._process.stdout.close()


class _Files:
    """A pair of growing files in the server's folder."""

    def __init__(self, folder):
        name = f"py-{os.getpid():x}-{int(time.time() * 1e6) & 0xFFFFFFFF:x}"
        self._answers = os.path.join(folder, name + ".from")
        self._write = open(os.path.join(folder, name + ".to"), "wb", buffering=0)  # noqa: SIM115
        self._read = None

    def read(self):
        if self._read is None:
            try:
                self._read = open(self._answers, "rb", buffering=0)  # noqa: SIM115
            except FileNotFoundError:
                return b""
        return self._read.read(65536) or b""

    def write(self, data):
        return self._write.write(data)

    def close(self):
        self._write.close()
        if self._read is not None:
            self._read.close()


# ---- msgpack: as much of it as the protocol has ----


def pack(value):
    """A plain value as msgpack."""
    out = []
    _pack(value, out.append, 0)
    return b"".join(out)


def _pack(value, put, depth):
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if value is None:
        put(b"\xc0")
    elif value is True or value is False:
        put(b"\xc3" if value else b"\xc2")
    elif isinstance(value, int):
        _pack_int(value, put)
    elif isinstance(value, float):
        put(struct.pack(">Bd", 0xCB, value))
    elif isinstance(value, str):
        data = value.encode("utf-8", "replace")
        _head(len(data), put, ((31, 0xA0), (0xFF, 0xD9), (0xFFFF, 0xDA), (0xFFFFFFFF, 0xDB)))
        put(data)
    elif isinstance(value, (bytes, bytearray)):
        _head(len(value), put, ((0xFF, 0xC4), (0xFFFF, 0xC5), (0xFFFFFFFF, 0xC6)))
        put(bytes(value))
    elif isinstance(value, (list, tuple)):
        _head(len(value), put, ((15, 0x90), (0xFFFF, 0xDC), (0xFFFFFFFF, 0xDD)))
        for item in value:
            _pack(item, put, depth + 1)
    elif isinstance(value, dict):
        _head(len(value), put, ((15, 0x80), (0xFFFF, 0xDE), (0xFFFFFFFF, 0xDF)))
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"keys are strings, not {key!r}")
            _pack(key, put, depth + 1)
            _pack(item, put, depth + 1)
    else:
        raise ValueError(f"a {type(value).__name__} cannot be sent")


def _head(size, put, forms):
    for limit, code in forms:
        if size <= limit:
            if limit < 0xFF:
                put(bytes([code | size]))
            else:
                put(struct.pack({0xFF: ">BB", 0xFFFF: ">BH", 0xFFFFFFFF: ">BI"}[limit], code, size))
            return
    raise ValueError("too long to be sent")


def _pack_int(value, put):
    if 0 <= value <= 0x7F or -32 <= value < 0:
        put(struct.pack("B", value & 0xFF))
        return
    if value > 0:
        forms = ((0xFF, ">BB", 0xCC), (0xFFFF, ">BH", 0xCD), (0xFFFFFFFF, ">BI", 0xCE), (2**64 - 1, ">BQ", 0xCF))
        for limit, form, code in forms:
            if value <= limit:
                put(struct.pack(form, code, value))
                return
    else:
        forms = ((2**7, ">Bb", 0xD0), (2**15, ">Bh", 0xD1), (2**31, ">Bi", 0xD2), (2**63, ">Bq", 0xD3))
        for limit, form, code in forms:
            if -limit <= value:
                put(struct.pack(form, code, value))
                return
    raise ValueError(f"{value} is too large a number")


def unpack(data):
    """The one value in `data`. Raises ValueError."""
    try:
        value, at = _unpack(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise ValueError("not msgpack") from None
    if at != len(data):
        raise ValueError("more than one value in a frame")
    return value


_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZES = {
    0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xC4: ">B", 0xC5: ">H", 0xC6: ">I",
    0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip


def _unpack(data, at, depth):
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    code = data[at]
    at += 1
    if code <= 0x7F:
        return code, at
    if code >= 0xE0:
        return code - 256, at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if code in _NUMBERS:
        form = _NUMBERS[code]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if code <= 0x8F:
        return _unpack_map(data, at, code & 15, depth)
    if code <= 0x9F:
        return _unpack_list(data, at, code & 15, depth)
    if code <= 0xBF:
        return _unpack_text(data, at, code & 31)
    if code not in _SIZES:
        raise ValueError(f"msgpack's 0x{code:02x} is not used here")
    form = _SIZES[code]
    (size,) = struct.unpack_from(form, data, at)
    at += struct.calcsize(form)
    if size > len(data) - at:
        raise ValueError("a length that is not there")
    if code <= 0xC6:
        return data[at : at + size], at + size
    if code <= 0xDB:
        return _unpack_text(data, at, size)
    return (_unpack_list if code <= 0xDD else _unpack_map)(data, at, size, depth)


def _unpack_text(data, at, size):
    if size > len(data) - at:
        raise ValueError("a length that is not there")
    return data[at : at + size].decode("utf-8"), at + size


def _unpack_list(data, at, size, depth):
    made = []
    for _ in range(size):
        value, at = _unpack(data, at, depth + 1)
        made.append(value)
    return made, at


def _unpack_map(data, at, size, depth):
    made = {}
    for _ in range(size):
        key, at = _unpack(data, at, depth + 1)
        if not isinstance(key, str):
            raise ValueError("a key that is no string")
        made[key], at = _unpack(data, at, depth + 1)
    return made, at
