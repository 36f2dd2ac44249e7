"""Makes a small BERT with random weights: an embedder, or (rank=True) a cross-encoder."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WORDS = "the lamp tide oil harbour ship light keeper night what who went out last did is was in of to a man eats bread"


def make_bert(path: Path, *, width: int = 32, layers: int = 2, rank: bool = False, seed: int = 3) -> Path:
    """Writes a GGUF; the same arguments give the same bytes."""
    random = np.random.default_rng(seed)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = special + ["\u2581" + w for w in [*WORDS.split(), *letters[1:]]] + letters
    w = gguf.GGUFWriter(str(path), "bert")
    w.add_name("test encoder")
    w.add_context_length(64)
    w.add_embedding_length(width)
    w.add_block_count(layers)
    w.add_feed_forward_length(2 * width)
    w.add_head_count(4)
    w.add_layer_norm_eps(1e-12)
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.RANK if rank else gguf.PoolingType.MEAN)
    w.add_tokenizer_model("bert")
    w.add_token_type_count(2)
    w.add_token_list(tokens)
    w.add_token_types([3] * len(special) + [1] * (len(tokens) - len(special)))
    for name, token in (("padding", 0), ("unknown", 1), ("bos", 2), ("seperator", 3), ("mask", 4)):
        w.add_uint32(f"tokenizer.ggml.{name}_token_id", token)

    def add(name: str, *shape: int) -> None:
        w.add_tensor(name, (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))

    def norm(name: str) -> None:
        w.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
        w.add_tensor(f"{name}.bias", np.zeros(width, dtype=np.float32))

    add("token_embd.weight", len(tokens), width)
    add("position_embd.weight", 64, width)
    add("token_types.weight", 2, width)
    norm("token_embd_norm")
    for i in range(layers):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{i}.{part}.weight", width, width)
            add(f"blk.{i}.{part}.bias", width)
        add(f"blk.{i}.ffn_up.weight", 2 * width, width)
        add(f"blk.{i}.ffn_up.bias", 2 * width)
        add(f"blk.{i}.ffn_down.weight", width, 2 * width)
        add(f"blk.{i}.ffn_down.bias", width)
        norm(f"blk.{i}.attn_output_norm")
        norm(f"blk.{i}.layer_output_norm")
    if rank:
        add("cls.weight", width, width)
        add("cls.bias", width)
        add("cls.output.weight", 1, width)
        add("cls.output.bias", 1)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path
