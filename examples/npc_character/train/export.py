"""Writes the trained network as one GGUF file that any llama.cpp loads: weights at Q8_0, norms at float32."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from model import Llama
from tokenizer import CHAT_TEMPLATE, END, START, mark
from tokenizers import Tokenizer


def vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[int], list[str]]:
    """Token texts and types in the order of their ids, and the merges, as GGUF keeps them."""
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [int(gguf.TokenType.CONTROL if token in (START, END) else gguf.TokenType.NORMAL) for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return tokens, kinds, merges


def write(model: Llama, tokenizer: Tokenizer, path: Path, *, name: str = "Sable") -> None:
    """Write ``path``. A file of that name is replaced only once the new one is complete."""
    shape = model.shape
    draft = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(draft), "llama")
    writer.add_name(name)
    writer.add_author("the modkit authors")
    writer.add_license("MIT")
    writer.add_description("A small model that speaks as Sable, keeper of the harbour lamp in Corrow.")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocab)

    tokens, kinds, merges = vocabulary(tokenizer)
    end = mark(tokenizer, END)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(mark(tokenizer, START))
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    for key, tensor in model.state_dict().items():
        array = tensor.detach().float().numpy().astype(np.float32)
        if array.ndim == 1:
            writer.add_tensor(key, array)
        else:
            writer.add_tensor(key, gguf.quants.quantize(array, Kind.Q8_0), raw_dtype=Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(path)
