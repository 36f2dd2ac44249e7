"""One request to a server of the OpenAI protocol, on a thread of its own: connect, send, read what streams.

Runs off the frame. What it finds goes to `tell`: ("text", id, words) and ("told", id, records of log-probabilities),
then ("done", id, finish, stats), or ("whole", id, body), or ("error", id, error). Nothing here is read without a bound
or waited for without a limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modkit.errors import ContextOverflow, EngineError, ModkitError, OptionError
from modkit.ipc.weigh import tokens_of

if TYPE_CHECKING:
    import http.client
    import ssl

__all__ = ["REFUSED", "Job", "Place", "run"]

Tell = Callable[[tuple[Any, ...]], None]
MAX_LINE = 1 << 20
MAX_BODY = 1 << 28
MAX_TEXT = 1 << 24  # characters of one reply
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 20.0  # seconds between two tries
REFUSED = "the server refused the request"


class Place:
    """Where a server is, and how to speak to it. Raises OptionError for what is no URL."""

    def __init__(
        self, url: str, api_key: str | None, timeout: float, ca_file: str | os.PathLike[str] | None = None
    ) -> None:
        parts = urlsplit(url if isinstance(url, str) else "")
        try:
            self.host, self.port = parts.hostname, parts.port
        except ValueError:
            self.host = None
        if parts.scheme not in ("http", "https") or not self.host or parts.username or parts.query or parts.fragment:
            raise OptionError(f'{url!r} is not a server\'s address; give one such as "http://127.0.0.1:8080"')
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise OptionError("api_key has characters that cannot be sent")
        self.secure = parts.scheme == "https"
        self._ca_file = None if ca_file is None else os.fspath(ca_file)
        self._context: ssl.SSLContext | None = None
        if self._ca_file is not None and not (self.secure and os.path.isfile(self._ca_file)):
            what = "is not a file" if self.secure else "goes with an https:// address"
            raise OptionError(f"ca_file={self._ca_file!r} {what}: give the PEM file with the server's certificate")
        path = parts.path.rstrip("/")
        self.path = path if path.endswith("/v1") else path + "/v1"
        self.timeout = timeout
        self.headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if api_key is not None:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is not yet made."""
        import http.client  # here, on the job's thread: it brings ssl with it

        assert self.host is not None
        if self.secure:
            context = self._checking()
            return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def _checking(self) -> ssl.SSLContext:
        """What the server's certificate and name are held against. On a job's thread; made once."""
        import ssl

        if self._context is None:
            try:
                self._context = ssl.create_default_context(cafile=self._ca_file)
            except (OSError, ValueError) as error:
                raise EngineError(f"ca_file={self._ca_file!r} holds no certificates: {error}") from None
        return self._context

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port or ''}".rstrip(":")


class Job:
    """One request. cancel() may be called from any thread and does not wait."""

    def __init__(
        self, id: int, path: str, body: Callable[[], dict[str, Any]] | None, streams: bool, retries: int
    ) -> None:
        self.id = id
        self.path = path
        self.body = body
        self.streams = streams
        self.retries = retries
        self.cancelled = threading.Event()
        self.begun = time.monotonic()
        self.socket: socket.socket | None = None

    def cancel(self) -> None:
        """Wakes the thread, whatever it waits for: the server sees the connection end and stops computing."""
        self.cancelled.set()
        sock = self.socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Again(Exception):
    """The request did not begin to be answered; `after`: what the server asked to wait, in seconds."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


def run(
    job: Job, place: Place, connection: http.client.HTTPConnection | None, tell: Tell
) -> http.client.HTTPConnection | None:
    """Carries the job out; returns the connection while it can be used again. Raises nothing."""
    attempt = 0
    while not job.cancelled.is_set():
        fresh = connection is None
        try:
            connection = connection or place.connect()
            reusable = _once(job, place, connection, tell)
        except _Again as again:
            _close(connection)
            connection = None
            if not fresh:
                continue  # an idle connection that the server had closed is no failure
            if attempt >= job.retries:
                tell(("error", job.id, EngineError(f"{place} does not answer after {attempt + 1} tries: {again}")))
                return None
            attempt += 1
            # Full jitter: a thousand clients that failed together must not come back together.
            job.cancelled.wait(max(min(again.after, LONGEST_WAIT), random.uniform(0.05, min(8.0, 0.25 * 2**attempt))))
        except ModkitError as error:
            tell(("error", job.id, error))
            _close(connection)
            return None
        except Exception as error:  # a server may send anything; the thread must live
            tell(("error", job.id, EngineError(f"{place} failed: {type(error).__name__}: {str(error)[:200]}")))
            _close(connection)
            return None
        else:
            job.socket = None
            if reusable and not job.cancelled.is_set():
                return connection
            connection.close()
            return None
    _close(connection)
    return None


def _close(connection: http.client.HTTPConnection | None) -> None:
    if connection is not None:
        connection.close()


def _once(job: Job, place: Place, connection: http.client.HTTPConnection, tell: Tell) -> bool:
    """One try. True when the connection can be used again."""
    from http.client import HTTPException

    try:
        if connection.sock is None:
            connection.connect()
        job.socket = connection.sock
        if job.cancelled.is_set():
            return False
        body = None if job.body is None else json.dumps(job.body()).encode("utf-8", "replace")
        connection.request("GET" if body is None else "POST", place.path + job.path, body, place.headers)
        response = connection.getresponse()
    except (OSError, HTTPException) as error:
        if type(error).__name__ == "SSLCertVerificationError":  # which another try does not make better
            why = getattr(error, "verify_message", "") or str(error)[:200]
            raise EngineError(f"{place} is not believed: {why}; with a certificate of its own, give ca_file=") from None
        raise _Again(f"{type(error).__name__}: {str(error)[:200]}") from None
    try:
        return _take(job, response, tell)
    finally:
        response.close()  # else it keeps the socket of a connection that is given up


def _take(job: Job, response: http.client.HTTPResponse, tell: Tell) -> bool:
    from http.client import HTTPException

    if response.status != 200:
        _refused(response)
    if not job.streams:
        raw = response.read(MAX_BODY + 1)
        if len(raw) > MAX_BODY:
            raise EngineError("the server's answer is too long")
        made = json.loads(raw)
        if not isinstance(made, dict):
            raise EngineError("the server's answer is not what the OpenAI protocol says")
        tell(("whole", job.id, made))
        return not response.will_close
    finish, stats = _stream(job, response, tell)
    tell(("done", job.id, finish, stats))
    with contextlib.suppress(OSError, HTTPException):
        return not response.read(4096) and not response.will_close
    return False


def _refused(response: http.client.HTTPResponse) -> None:
    """Raises what a status other than 200 means."""
    raw = response.read(4096).decode("utf-8", "replace")
    try:
        found = json.loads(raw)
        said = found.get("error", found)
        sentence = str(said.get("message", said) if isinstance(said, dict) else said)
    except (ValueError, AttributeError):
        sentence = raw
    sentence = " ".join(sentence.split())[:300] or str(response.reason)
    if response.status in RETRIED:
        after = response.headers.get("Retry-After", "")
        raise _Again(f"{response.status} {sentence}", float(after) if after.isdigit() else 0.0)
    lower = sentence.lower()
    if response.status == 400 and "context" in lower and any(w in lower for w in ("exceed", "length", "size", "long")):
        raise ContextOverflow(f"the prompt is longer than the server's context: {sentence}")
    raise EngineError(f"{REFUSED}: {response.status} {sentence}")


def _stream(job: Job, response: http.client.HTTPResponse, tell: Tell) -> tuple[str, dict[str, Any]]:
    """Reads server-sent events to their end. Raises EngineError when it comes too soon."""
    from http.client import HTTPException

    finish = ""
    first = last = 0.0
    pieces = length = 0
    usage: dict[str, Any] = {}
    while True:
        try:
            line = response.readline(MAX_LINE)
        except (OSError, HTTPException, ValueError) as error:
            if job.cancelled.is_set():
                return "cancelled", {}
            raise EngineError(f"the connection broke in the middle of a reply: {type(error).__name__}") from None
        if job.cancelled.is_set():
            return "cancelled", {}
        if not line:
            if finish:
                break
            raise EngineError("the server ended in the middle of a reply")
        if not line.startswith(b"data:"):
            continue  # comments, event names, empty lines
        data = line[5:].strip()
        if data == b"[DONE]":
            finish = finish or "stop"
            break
        event = json.loads(data)
        if not isinstance(event, dict):
            raise EngineError("the server's answer is not what the OpenAI protocol says")
        if event.get("error"):
            said = event["error"]
            sentence = str(said.get("message", said) if isinstance(said, dict) else said)
            raise EngineError(f"the server failed: {sentence[:300]}")
        if isinstance(event.get("usage"), dict):
            usage = event["usage"]
        choice = _first_choice(event)
        text, ended = _said(choice)
        finish = ended or finish
        for told in tokens_of(choice) if "logprobs" in choice else ():
            tell(("told", job.id, told.records()))
        if text:
            last = time.monotonic()
            first = first or last
            pieces += 1
            length += len(text)
            if length > MAX_TEXT:
                raise EngineError("the server does not end its reply")
            tell(("text", job.id, text))
    return finish, _stats(job, usage, pieces, first, last)


def _first_choice(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _said(choice: dict[str, Any]) -> tuple[str, str]:
    """The words of a piece, and how the reply ended when it did."""
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    ended = choice.get("finish_reason")
    finish = "" if not isinstance(ended, str) else "length" if ended == "length" else "stop"
    return text if isinstance(text, str) else "", finish


def _stats(job: Job, usage: dict[str, Any], pieces: int, first: float, last: float) -> dict[str, Any]:
    def count(value: Any, otherwise: int = 0) -> int:
        return value if type(value) is int and value >= 0 else otherwise

    details = usage.get("prompt_tokens_details")
    generated = count(usage.get("completion_tokens"), pieces)
    return {
        "prompt_tokens": count(usage.get("prompt_tokens")),
        "cached_tokens": count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        "generated_tokens": generated,
        "time_to_first_token": first - job.begun if first else 0.0,
        "tokens_per_second": (generated - 1) / (last - first) if generated > 1 and last > first else 0.0,
    }
