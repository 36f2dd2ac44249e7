"""`modkit serve`: clients over pipes, sockets or files, one loop, one thread.

The loop ticks the engine and gives every client a bounded turn: so many messages, no more replies than it reads,
no faster than the rate. Until a client has said a good hello it may send 4 KiB and is told nothing.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import modkit
from modkit.errors import EngineDied, ModkitError, ProtocolError
from modkit.ipc.framing import ERROR, EVENT, REPLY, REQUEST, Limits, Rate
from modkit.ipc.handshake import MAX_HELLO, Refused, agree
from modkit.ipc.service import Later, Service, Session
from modkit.ipc.transport import Closed, Connection, Link

__all__ = ["Client", "Listener", "Server"]

log = logging.getLogger("modkit.ipc")

ROOM = 1 << 16  # bytes a client may leave unread before its words wait
CHOKED = 1 << 18  # and before its requests do
MESSAGES_A_TURN = 64
TURN_SECONDS = 0.002  # that one client's messages may take of a turn, beyond the first
ACCEPTS_A_TURN = 8  # fewer than the strangers kept: each gets a turn to say hello in before others push it out
HELLO_SECONDS = 10.0
MAX_CLIENTS = 64
MAX_STRANGERS = 16  # connected, and not yet let in
BUSY_SECONDS = 0.002
IDLE_SECONDS = 0.05


class Listener(Protocol):
    """A place where clients come from."""

    token: str | None

    def accept(self) -> Link | None:
        """The next client's link, or None when nobody waits."""

    def wait_on(self) -> int | None: ...

    def close(self) -> None: ...


class Client:
    """One connection and its session."""

    def __init__(self, link: Link, service: Service, token: str | None, limits: Limits, clock: Callable[[], float]):
        self.limits = limits
        self.connection = Connection(link, Limits(frame=min(MAX_HELLO, limits.frame), depth=limits.depth))
        self.session = Session(service)
        self.agreed = False
        self.push = True
        self.over = False
        self._token = token
        self._rate = Rate(limits, clock)
        self._born = clock()
        self._clock = clock
        self._later: list[tuple[int, Later]] = []

    def turn(self) -> bool:
        """Takes and gives what can be taken and given now; True when something was. Closes itself when it must."""
        try:
            return self._turn()
        except Closed as error:
            log.debug("a client left: %s", error)
        except Refused as error:
            log.info("a client was not let in: %s", error)
            if not error.silent:
                self._last([ERROR, 1, "ProtocolError", str(error)])
        except ProtocolError as error:
            log.info("a client is cut off: %s", error)
            if self.agreed:
                self._last([ERROR, 0, "ProtocolError", str(error)])
        self.close()
        return True

    def _turn(self) -> bool:
        connection = self.connection
        connection.flush()
        if connection.outgoing > CHOKED:
            return False
        busy = False
        end = time.perf_counter() + TURN_SECONDS
        for _ in range(MESSAGES_A_TURN):
            if connection.outgoing > CHOKED or (busy and time.perf_counter() > end) or not self._rate.take():
                break
            message = connection.decoder.next()
            if message is None and connection.receive():
                message = connection.decoder.next()
            if message is None:
                self._rate.give_back()
                break
            busy = True
            self._take(message)
            if self.over:
                return True
        if not self.agreed and self._clock() - self._born > HELLO_SECONDS:
            raise Refused("no hello came", silent=True)
        return self._give() or busy

    def _take(self, message: list[Any]) -> None:
        if not self.agreed:
            version, params = agree(message, self._token)
            self.agreed = True
            self.connection.decoder.limits = self.limits
            self.push = params.get("events") != "poll"
            self.connection.send([REPLY, message[1], self._welcome(version)])
            return
        if message[0] != REQUEST:
            raise ProtocolError("a client sends requests only")
        id, method, params = message[1:]
        if method == "bye":
            if id:
                self._last([REPLY, id, {}])
            self.close()
            return
        try:
            if method == "hello":
                raise ProtocolError("you have said hello already")
            result = self.session.call(method, params)
        except ModkitError as error:
            self._answer_error(id, error)
            return
        except Exception:  # a client must not be able to end the server, whatever we overlooked
            log.exception("the method %s failed", method)
            self._answer_error(id, ModkitError("the server failed at this request; its log says more"))
            return
        if isinstance(result, Later):
            self._later.append((id, result))
        elif id:
            self.connection.send([REPLY, id, result])

    def _welcome(self, version: int) -> dict[str, Any]:
        status = self.session.call("status", {})
        limits = {"frame": self.limits.frame, "depth": self.limits.depth, "rate": float(self.limits.rate)}
        return {"protocol": version, "server": f"modkit {modkit.__version__}", "limits": limits, **status}

    def _answer_error(self, id: int, error: ModkitError) -> None:
        if id:
            self.connection.send([ERROR, id, type(error).__name__, str(error)])

    def _give(self) -> bool:
        """Words and late answers, as far as the client reads."""
        if not self.agreed or self.connection.outgoing > ROOM:
            return False
        gave = False
        if self.push and self.session.speeches:
            for name, params in self.session.events():
                self.connection.send([EVENT, name, params])
                gave = True
        for entry in [entry for entry in self._later if entry[1].ready]:
            self._later.remove(entry)
            id, later = entry
            if later.error is not None:
                self._answer_error(id, later.error)
            elif id:
                self.connection.send([REPLY, id, later.result])
            gave = True
        return gave

    def _last(self, message: list[Any]) -> None:
        try:
            self.connection.send(message)
        except Closed:
            return

    def close(self) -> None:
        """Idempotent. Cancels what it had asked for."""
        if not self.over:
            self.over = True
            self.session.close()
            self.connection.close()


class Server:
    """Serves until stop() or until `lone`, its only client, has left. Belongs to the thread that runs it."""

    def __init__(
        self,
        service: Service,
        listeners: Sequence[Listener] = (),
        *,
        lone: Link | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.listeners = list(listeners)
        self.clients: list[Client] = []
        self.stopping = False
        self._limits = limits or Limits()
        self._clock = clock
        self._lone = None
        if lone is not None:  # our own stdin: whoever holds the other end started us
            self._lone = Client(lone, service, None, self._limits, clock)
            self.clients.append(self._lone)

    def run(self) -> None:
        """Until stopped. Raises ModelError or LibraryError when the engine cannot be used."""
        while not self.stopping:
            if not self.turn():
                self._wait()

    def turn(self) -> bool:
        """One round of the loop, which never waits; True when something happened."""
        busy = False
        try:
            self.service.engine.tick()
        except EngineDied as error:
            log.error("%s", error)  # its streams have ended with it; what is asked next is answered with it
        for listener in self.listeners:
            for _ in range(ACCEPTS_A_TURN):
                link = listener.accept()
                if link is None:
                    break
                self._let_in(link, listener.token)
                busy = True
        for client in list(self.clients):
            busy = client.turn() or busy
            if client.over:
                self.clients.remove(client)
        if self._lone is not None and self._lone.over:
            self.stopping = True
        return busy

    def _let_in(self, link: Link, token: str | None) -> None:
        strangers = [client for client in self.clients if not client.agreed and client is not self._lone]
        if len(strangers) >= MAX_STRANGERS:
            strangers[0].close()
            self.clients.remove(strangers[0])
        if len(self.clients) >= MAX_CLIENTS:
            link.close()
            return
        self.clients.append(Client(link, self.service, token, self._limits, self._clock))

    def _wait(self) -> None:
        speaking = self.service.engine.loading or any(client.session.speeches for client in self.clients)
        links = [client.connection.link.wait_on() for client in self.clients]
        places = [*links, *(listener.wait_on() for listener in self.listeners)]
        blind = any(place is None for place in places)  # files are looked at, not waited for
        seconds = BUSY_SECONDS if speaking else 0.01 if blind else IDLE_SECONDS
        fds = [place for place in places if place is not None and place >= 0]
        if fds:
            select.select(fds, [], [], seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Ends every connection and closes the listeners and the cast."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        for listener in self.listeners:
            listener.close()
        self.service.close()
