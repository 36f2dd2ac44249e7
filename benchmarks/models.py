"""The generated models that the benchmarks run on, built once into out/bench/ (not under version control).

Their weights are random, so they speak nonsense at exactly the speed of a real model of their shape. Where words
matter there is `quoting_model`: the demo's model, which does quote what it is told, in the shape of a larger one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "cast_model", "frame_model", "quoting_model", "small_model"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "out" / "bench"


def _built(name: str, **shape: int | str) -> Path:
    path = FOLDER / name
    if not path.exists():
        from tests.make_model import make_model  # numpy and gguf: only the first run needs them

        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        make_model(unfinished, **shape)  # type: ignore[arg-type]
        unfinished.replace(path)
    return path


def frame_model() -> Path:
    """About 300 MB of Q8_0: 20 layers of 1024, 32,000 tokens, two thirds of it in the layers."""
    return _built("frame-q8_0.gguf", width=1024, layers=20, heads=16, vocab=32000, feed_forward=2816)


def small_model() -> Path:
    """About 20 MB of Q8_0: 4 layers of 256, 32,000 tokens. Quick enough to prefill 3,000 tokens often."""
    return _built("small-q8_0.gguf", width=256, layers=4, heads=4, vocab=32000, feed_forward=768)


def cast_model(tensor_type: str, quick: bool = False) -> Path:
    """The frame's model (or the small one) in other weights: "q8_0", "q4_0" or "f16"."""
    if quick:
        return _built(
            f"small-{tensor_type}.gguf",
            **{"width": 256, "layers": 4, "heads": 4, "vocab": 32000, "feed_forward": 768},
            tensor_type=tensor_type,
        )
    return _built(
        f"frame-{tensor_type}.gguf",
        **{"width": 1024, "layers": 20, "heads": 16, "vocab": 32000, "feed_forward": 2816},
        tensor_type=tensor_type,
    )


def quoting_model(tensor_type: str, quick: bool = False) -> Path:
    """The demo's Sable in other weights: in her own shape, or word for word the same in the frame's.

    The larger shape is hers with zeros around it: a matrix of 1024 has hers in its corner, the layers behind hers
    add nothing. So it costs what a model of 250 million weights costs, and says what she says.
    """
    source = ROOT / "examples" / "npc_character" / "sable.gguf"
    which = hashlib.sha256(source.read_bytes()).hexdigest()[:8]  # a Sable who was trained anew says other words
    path = FOLDER / f"sable-{which}-{'own' if quick else 'large'}-{tensor_type}.gguf"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        _spread(source, unfinished, tensor_type, large=not quick)
        unfinished.replace(path)
    return path


def _spread(source: Path, target: Path, tensor_type: str, large: bool) -> None:
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    kind = gguf.GGMLQuantizationType[tensor_type.upper()]
    width, layers = (int(reader.fields[f"llama.{key}"].contents()) for key in ("embedding_length", "block_count"))
    hidden = int(reader.fields["llama.feed_forward_length"].contents())
    head = width // int(reader.fields["llama.attention.head_count"].contents())
    sizes = {width: 1024, hidden: 2816} if large else {}
    wide, deep = sizes.get(width, width), 20 if large else layers
    shape = {
        "llama.embedding_length": wide,
        "llama.block_count": deep,
        "llama.feed_forward_length": sizes.get(hidden, hidden),
        "llama.attention.head_count": wide // head,
        "llama.attention.head_count_kv": wide // head,
        # the mean square is over more numbers, all of them zero: the norms' weights make up for it
        "llama.attention.layer_norm_rms_epsilon": 1e-5 * width / wide,
    }
    writer = gguf.GGUFWriter(str(target), "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        types = [*field.types, None]
        writer.add_key_value(name, shape.get(name, field.contents()), types[0], types[1])
    made: dict[tuple[int, ...], Any] = {}  # the zeros: each shape is quantised once

    def add(name: str, data: Any) -> None:
        if data.ndim == 1:
            writer.add_tensor(name, data.astype(np.float32))
            return
        zeros = not data.any()
        found = made.get(data.shape) if zeros else None
        found = gguf.quants.quantize(data.astype(np.float32), kind) if found is None else found
        if zeros:
            made[data.shape] = found
        writer.add_tensor(name, found, raw_dtype=kind)

    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        rows = [sizes.get(size, size) for size in data.shape]
        room = np.zeros(rows, np.float32)
        room[tuple(slice(size) for size in data.shape)] = data * ((width / wide) ** 0.5 if data.ndim == 1 else 1)
        add(tensor.name, room)
        if tensor.name.startswith("blk.0."):
            for layer in range(layers, deep):
                add(tensor.name.replace("blk.0.", f"blk.{layer}."), np.zeros(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
