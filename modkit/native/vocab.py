"""A model's vocabulary: text to tokens and back, on the calling thread, without the worker.

llama.cpp only reads it, so this is safe while an engine speaks. A call into C costs ten times what one
token does: ask for many at once, or for one at a time from what was asked before (pieces and end marks
are kept). One thread at a time; dead once its engine or model is closed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from modkit.errors import EngineClosed, OptionError
from modkit.native._core import ffi as core_ffi
from modkit.native._core import lib as core
from modkit.native._llama import ffi

if TYPE_CHECKING:
    from modkit.native.library import Library

__all__ = ["Tokens", "Vocab", "read_metadata"]

# A list, or anything with the buffer protocol that holds int32 (array("i"), a numpy array): those are not copied.
Tokens = Any
MAX_TEXT = 1 << 26
KEPT = 1 << 20
MANY = 256  # tokens in a call from which a table of all pieces pays
SLACK = 16  # see mk_join


V = TypeVar("V")


class _Known(dict[int, V]):
    """What was asked about tokens before; what was not is asked now. (A bool is an int here, as everywhere.)"""

    def __init__(self, ask: Callable[[int], V]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, token: int) -> V:
        found = self[token] = self._ask(token)
        return found


class Vocab:
    """Attributes: size, bos, eos, eot, nl (token ids, -1 where there is none), add_bos.

    piece(token) -> bytes and is_eog(token) -> bool answer for single tokens, from memory where they can.
    """

    def __init__(self, library: Library, address: int) -> None:
        """`address` is that of a `llama_vocab`; made by Engine.vocab and Model.vocab."""
        self._raw, self._table = library.raw, library.table
        self._vocab = ffi.cast("struct llama_vocab *", address)
        self._core_vocab = core_ffi.cast("void *", address)
        raw, vocab = self._raw, self._vocab
        self.size = int(raw.llama_vocab_n_tokens(vocab))
        self.bos, self.eos = int(raw.llama_vocab_bos(vocab)), int(raw.llama_vocab_eos(vocab))
        self.eot, self.nl = int(raw.llama_vocab_eot(vocab)), int(raw.llama_vocab_nl(vocab))
        self.add_bos = bool(raw.llama_vocab_get_add_bos(vocab))
        self._eog: bytes = b""
        self._table_of_pieces: tuple[Any, Any] | None = None
        self._out = core_ffi.new("char[]", 1024)  # kept between calls: fresh memory costs more than the tokens
        # The bytes of one token (special ones are empty), and whether one ends a reply. OptionError for what is
        # no token. These are a dict's own look-up, so that a call costs no Python frame.
        self.piece: Callable[[int], bytes] = _Known(self._ask_piece).__getitem__
        self.is_eog: Callable[[int], bool] = _Known(self._ask_eog).__getitem__

    def close(self) -> None:
        """Called with the engine's or model's close(); calls into C raise EngineClosed from now on."""
        self._vocab = ffi.NULL
        self._core_vocab = core_ffi.NULL

    def tokenise(self, text: str, *, special: bool = False, add_special: bool = False) -> list[int]:
        """special: names of special tokens count (never with a player's words). add_special: BOS and the like."""
        self._check()
        if not isinstance(text, str):
            raise OptionError(f"{type(text).__name__} cannot be tokenised; give a str")
        data = text.encode("utf-8", "replace")
        if len(data) > MAX_TEXT:
            raise OptionError(f"the text has {len(data)} bytes; at most {MAX_TEXT} can be tokenised at once")
        room = len(data) + 16
        for _ in range(2):
            out = ffi.new("llama_token[]", room)
            n = int(self._raw.llama_tokenize(self._vocab, data, len(data), out, room, add_special, special))
            if n >= 0:
                return list(ffi.unpack(out, n)) if n else []
            room = -n
        raise OptionError("the text cannot be tokenised")

    def detokenise(self, tokens: Tokens, *, special: bool = False) -> str:
        """The text of many tokens in one call; what is no UTF-8 becomes U+FFFD. special: show special tokens."""
        return self.detokenise_bytes(tokens, special=special).decode("utf-8", "replace")

    def detokenise_bytes(self, tokens: Tokens, *, special: bool = False) -> bytes:
        """As detokenise(), undecoded: a token may end inside a character. Raises OptionError for unknown tokens."""
        if not special and isinstance(tokens, list) and len(tokens) == 1:
            self._check()
            return self.piece(tokens[0])
        return self._join(tokens, special, None)

    def pieces(self, tokens: Tokens, *, special: bool = False) -> list[bytes]:
        """The bytes of each token, in one call."""
        ends = core_ffi.new("int32_t[]", max(1, len(tokens)))
        whole = self._join(tokens, special, ends)
        out, at = [], 0
        for end in core_ffi.unpack(ends, len(tokens)) if len(tokens) else ():
            out.append(whole[at:end])
            at = end
        return out

    def eog_flags(self) -> bytes:
        """A byte for each token of the vocabulary: 1 where it ends a reply."""
        if not self._eog:
            self._check()
            flags = bytearray(self.size)
            core.mk_eog_flags(self._table, self._core_vocab, core_ffi.from_buffer("uint8_t[]", flags), self.size)
            self._eog = bytes(flags)
        return self._eog

    def _ask_eog(self, token: int) -> bool:
        return self.eog_flags()[self._checked(token)] == 1

    def _ask_piece(self, token: int) -> bytes:
        return self._join([self._checked(token)], False, None)

    def _checked(self, token: object) -> int:
        if not isinstance(token, int) or not 0 <= token < self.size:
            raise OptionError(f"{token!r} is not a token; this vocabulary has {self.size}")
        return token

    def _join(self, tokens: Tokens, special: bool, ends: Any) -> bytes:
        self._check()
        ends = core_ffi.NULL if ends is None else ends
        block, n = self._block(tokens)
        quick = n >= MANY and not special and ends == core_ffi.NULL
        for _ in range(2):
            out, room = self._out, len(self._out)
            if quick:
                pieces, bounds = self._table_of_pieces or self._make_table()
                size = int(core.mk_join(pieces, bounds, self.size, block, n, out, room))
            else:
                size = int(core.mk_pieces(self._table, self._core_vocab, block, n, special, out, room, ends))
            if size < 0:
                raise OptionError(f"there is a token that this vocabulary of {self.size} does not have")
            if size <= room:
                if room > KEPT:  # not for ever
                    self._out = core_ffi.new("char[]", KEPT)
                return bytes(core_ffi.buffer(out, size - SLACK if quick else size))
            self._out = core_ffi.new("char[]", size + size // 8)
        raise OptionError("the tokens make more text than there is room for")

    def _make_table(self) -> tuple[Any, Any]:
        """Every piece, one behind the other: made once, a millisecond and some 12 bytes for each token."""
        everything = core_ffi.from_buffer("int32_t[]", array("i", range(self.size)))
        ends = core_ffi.new("int32_t[]", max(1, self.size))
        size = core.mk_pieces(
            self._table, self._core_vocab, everything, self.size, False, core_ffi.NULL, 0, core_ffi.NULL
        )
        pieces = core_ffi.new("char[]", max(0, size) + SLACK)
        core.mk_pieces(self._table, self._core_vocab, everything, self.size, False, pieces, size, ends)
        self._table_of_pieces = pieces, ends
        return self._table_of_pieces

    def _block(self, tokens: Tokens) -> tuple[Any, int]:
        if isinstance(tokens, (list, tuple)):
            try:
                tokens = array("i", tokens)
            except (TypeError, OverflowError):
                raise OptionError("tokens are whole numbers of 32 bits") from None
        try:
            view = memoryview(tokens)
        except TypeError:
            raise OptionError(f"{type(tokens).__name__} holds no tokens; give a list or an array of int32") from None
        if view.itemsize != 4 or view.format not in ("i", "l", "I", "<i", "=i") or not view.c_contiguous:
            raise OptionError("tokens are a list of whole numbers, or a buffer of int32")
        return core_ffi.from_buffer("int32_t[]", view), view.nbytes // 4

    def _check(self) -> None:
        if self._vocab == ffi.NULL:
            raise EngineClosed("the model of this vocabulary is closed")


def read_metadata(library: Library, address: int) -> dict[str, str]:
    """Every key and value of a loaded model as text; lists (the vocabulary) are not among them."""
    raw = library.raw
    model = ffi.cast("struct llama_model *", address)
    found: dict[str, str] = {}
    for index in range(raw.llama_model_meta_count(model)):
        key = _text(raw.llama_model_meta_key_by_index, model, index)
        found[key] = _text(raw.llama_model_meta_val_str_by_index, model, index)
    return found


def _text(function: Any, model: Any, index: int) -> str:
    """However long it is: the first call tells how long."""
    room = 256
    while True:
        out = ffi.new("char[]", room)
        n = int(function(model, index, out, room))
        if n < room:
            return bytes(ffi.buffer(out, max(0, n))).decode("utf-8", "replace")
        room = n + 1
