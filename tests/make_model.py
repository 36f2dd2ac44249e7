"""Makes small llama models with random weights, in seconds, for the tests and the benchmarks.

    python -m tests.make_model OUT.gguf [--width 64] [--layers 2] [--vocab 300] [--type q8_0] [--kind bpe|spm]

They speak nonsense, but every path of a real model file is there: a byte-level BPE or a
SentencePiece-like vocabulary, special tokens, a ChatML template, quantised tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = "the and you lamp tide oil harbour ship light keeper night what who where went out last did is was in of to"


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins that byte-level BPE vocabularies use for bytes, by byte value."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    table = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [table[b] for b in range(256)]


def bpe_vocabulary(size: int, special: Sequence[str] = SPECIAL) -> tuple[list[str], list[int], list[str]]:
    """Tokens, types and merges: the bytes, some English words built by merges, then fillers."""
    symbols = byte_symbols()
    space = symbols[ord(" ")]
    tokens, merges = list(symbols), []
    for word in WORDS.split():
        for text in (space + word, word):
            made = text[0]
            for letter in text[1:]:
                merge = f"{made} {letter}"
                made += letter
                if made not in tokens:
                    tokens.append(made)
                    merges.append(merge)
    tokens += special
    types = [CONTROL if t in special else NORMAL for t in tokens]
    while len(tokens) < size:
        tokens.append(f"{space}word{len(tokens)}")
        types.append(NORMAL)
    return tokens, types, merges


def spm_vocabulary(size: int) -> tuple[list[str], list[int], list[float]]:
    """Tokens, types and scores as SentencePiece has them: <unk>, <s>, </s>, bytes, pieces."""
    tokens = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"] + [f"<0x{b:02X}>" for b in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL, CONTROL, CONTROL] + [BYTE] * 256
    pieces = dict.fromkeys(chr(c) for c in range(33, 127)) | {"\u2581": None}
    for word in WORDS.split():
        for n in range(1, len(word) + 1):
            pieces["\u2581" + word[:n]] = None
            pieces[word[:n]] = None
    tokens += pieces
    types += [NORMAL] * len(pieces)
    while len(tokens) < size:
        tokens.append(f"\u2581word{len(tokens)}")
        types.append(NORMAL)
    scores = [0.0 if t != NORMAL else float(len(token)) for token, t in zip(tokens, types)]
    return tokens, types, scores


def make_model(
    path: str | Path,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    vocab: int = 0,
    feed_forward: int = 0,
    context: int = 8192,
    kind: str = "bpe",
    tensor_type: str = "q8_0",
    seed: int = 1,
    chat_template: str | None = CHATML,
    endless: bool = True,
    special: Sequence[str] = SPECIAL,
    eot: str = "<|im_end|>",
) -> Path:
    """Writes a GGUF; the same arguments give the same bytes.

    endless: the end-of-turn token has a score of zero, so that the likeliest 40 tokens (the default
    top_k) never hold it, and a reply ends where a test says it ends.
    """
    random = np.random.default_rng(seed)
    feed_forward = feed_forward or 2 * width
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name("test model")
    w.add_context_length(context)
    w.add_embedding_length(width)
    w.add_block_count(layers)
    w.add_feed_forward_length(feed_forward)
    w.add_head_count(heads)
    w.add_head_count_kv(max(1, heads // 2))
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(width // heads)
    w.add_rope_freq_base(10000.0)
    tokens: list[str]
    if kind == "bpe":
        tokens, types, merges = bpe_vocabulary(vocab, special)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("gpt-2")
        w.add_token_merges(merges)
        w.add_add_bos_token(False)
    else:
        tokens, types, scores = spm_vocabulary(vocab)
        w.add_tokenizer_model("llama")
        w.add_token_scores(scores)
        w.add_add_bos_token(True)
        w.add_add_space_prefix(True)
        w.add_bos_token_id(1)
        w.add_unk_token_id(0)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_eos_token_id(tokens.index(eot))
    if chat_template is not None:
        w.add_chat_template(chat_template)
    quantised = gguf.GGMLQuantizationType[tensor_type.upper()]

    def add(name: str, rows: int, columns: int) -> None:
        block = random.standard_normal((min(rows, 256), columns), dtype=np.float32) / np.sqrt(columns)
        data = np.tile(block, (-(-rows // 256), 1))[:rows]  # repeated rows: random enough, and quick to make
        w.add_tensor(name, gguf.quants.quantize(data, quantised), raw_dtype=quantised)

    def add_norm(name: str) -> None:
        w.add_tensor(name, np.ones(width, dtype=np.float32))

    add("token_embd.weight", len(tokens), width)
    silent = [tokens.index(t) for t in special if t in tokens] if endless else []
    w.add_tensor("output.weight", _output(random, len(tokens), width, silent, quantised), raw_dtype=quantised)
    add_norm("output_norm.weight")
    kv = width // heads * max(1, heads // 2)
    for i in range(layers):
        add_norm(f"blk.{i}.attn_norm.weight")
        add_norm(f"blk.{i}.ffn_norm.weight")
        add(f"blk.{i}.attn_q.weight", width, width)
        add(f"blk.{i}.attn_k.weight", kv, width)
        add(f"blk.{i}.attn_v.weight", kv, width)
        add(f"blk.{i}.attn_output.weight", width, width)
        add(f"blk.{i}.ffn_gate.weight", feed_forward, width)
        add(f"blk.{i}.ffn_up.weight", feed_forward, width)
        add(f"blk.{i}.ffn_down.weight", width, feed_forward)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return Path(path)


def make_recurrent(path: str | Path, *, width: int = 64, layers: int = 2, seed: int = 3) -> Path:
    """A Mamba: no attention, a state instead of a KV cache, and zeros where others have heads."""
    random = np.random.default_rng(seed)
    inner, state, rank, kernel = 2 * width, 8, 8, 4
    w = gguf.GGUFWriter(str(path), "mamba")
    w.add_name("recurrent test model")
    w.add_context_length(4096)
    w.add_embedding_length(width)
    w.add_feed_forward_length(0)
    w.add_head_count(0)
    w.add_block_count(layers)
    w.add_ssm_conv_kernel(kernel)
    w.add_ssm_inner_size(inner)
    w.add_ssm_state_size(state)
    w.add_ssm_time_step_rank(rank)
    w.add_layer_norm_rms_eps(1e-5)
    tokens, types, merges = bpe_vocabulary(0)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_merges(merges)
    w.add_add_bos_token(False)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_chat_template(CHATML)

    def add(name: str, *shape: int) -> None:
        w.add_tensor(name, (random.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[-1])).astype(np.float32))

    add("token_embd.weight", len(tokens), width)
    w.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    for i in range(layers):
        w.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(width, dtype=np.float32))
        add(f"blk.{i}.ssm_in.weight", 2 * inner, width)
        add(f"blk.{i}.ssm_conv1d.weight", inner, kernel)
        add(f"blk.{i}.ssm_conv1d.bias", inner)
        add(f"blk.{i}.ssm_x.weight", rank + 2 * state, inner)
        add(f"blk.{i}.ssm_dt.weight", inner, rank)
        add(f"blk.{i}.ssm_dt.bias", inner)
        w.add_tensor(f"blk.{i}.ssm_a", -np.ones((inner, state), dtype=np.float32))
        w.add_tensor(f"blk.{i}.ssm_d", np.ones(inner, dtype=np.float32))
        add(f"blk.{i}.ssm_out.weight", width, inner)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return Path(path)


def _output(
    random: np.random.Generator, rows: int, columns: int, silent: list[int], quantised: gguf.GGMLQuantizationType
) -> np.ndarray:
    """The output matrix: all rows differ, or greedy decoding would have ties."""
    data = random.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
    data[silent] = 0.0
    return gguf.quants.quantize(data, quantised)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=0)
    parser.add_argument("--feed-forward", type=int, default=0)
    parser.add_argument("--type", default="q8_0")
    parser.add_argument("--kind", choices=("bpe", "spm"), default="bpe")
    a = parser.parse_args()
    make_model(
        a.path,
        width=a.width,
        layers=a.layers,
        heads=a.heads,
        vocab=a.vocab,
        feed_forward=a.feed_forward,
        tensor_type=a.type,
        kind=a.kind,
    )


if __name__ == "__main__":
    main()
