"""The first request of every connection: who speaks which version, and the token that lets it in.

Until it has been answered a peer gets nothing: what does not begin with a good `hello` is closed without a word.
"""

from __future__ import annotations

from typing import Any

from modkit.errors import ProtocolError
from modkit.ipc.framing import ERROR, REPLY, REQUEST

__all__ = ["MAX_HELLO", "VERSION", "Refused", "agree", "check_answer", "hello", "new_token"]

VERSION = 1
MAX_HELLO = 4096  # bytes of frame that are taken from a peer that has not shown its token
_OLDEST = 1


class Refused(ProtocolError):
    """The peer is not let in. `silent`: it does not even get a sentence."""

    def __init__(self, sentence: str, *, silent: bool) -> None:
        super().__init__(sentence)
        self.silent = silent


def new_token() -> str:
    """256 random bits, as 43 characters."""
    import secrets

    return secrets.token_urlsafe(32)


def hello(client: str, token: str | None = None, **more: Any) -> list[Any]:
    """The request that a client opens with."""
    params: dict[str, Any] = {"protocol": [_OLDEST, VERSION], "client": client, **more}
    if token is not None:
        params["token"] = token
    return [REQUEST, 1, "hello", params]


def agree(message: list[Any], token: str | None) -> tuple[int, dict[str, Any]]:
    """The server's side: the version that both speak and the hello's params. Raises Refused."""
    if message[0] != REQUEST or message[2] != "hello":
        raise Refused("the first message was not a hello", silent=True)
    params = message[3]
    if token is not None and not _same(params.get("token"), token):
        raise Refused("the token is missing or wrong", silent=True)
    wanted = params.get("protocol")
    if not (
        isinstance(wanted, list) and len(wanted) == 2 and all(type(v) is int and 0 < v < 1 << 31 for v in wanted)
    ):
        raise Refused('"protocol" must be the oldest and the newest version you speak, such as [1, 1]', silent=False)
    version = min(VERSION, wanted[1])
    if version < max(_OLDEST, wanted[0]):
        raise Refused(
            f"you speak protocol {wanted[0]} to {wanted[1]}, this modkit {_OLDEST} to {VERSION}: update the older one",
            silent=False,
        )
    return version, params


def _same(given: object, token: str) -> bool:
    """Whether it is the token; how long that takes tells nothing about it."""
    from hmac import compare_digest  # here: it brings OpenSSL with it, which a child without a token does without

    return isinstance(given, str) and compare_digest(given.encode("utf-8", "replace"), token.encode("utf-8"))


def check_answer(message: list[Any], name: str) -> dict[str, Any]:
    """The client's side: what the server said of itself. Raises ProtocolError."""
    if message[0] == ERROR:
        raise ProtocolError(f"{name} refused the connection: {message[3][:300]}")
    result = message[2] if message[0] == REPLY and message[1] == 1 else None
    if not isinstance(result, dict) or result.get("protocol") != VERSION:
        raise ProtocolError(f"{name} did not answer as a modkit does: update the older one of the two")
    return result
