"""Writes modkit/native/llama.cdef.txt from llama.cpp's public headers.

    python tools/declare_llama.py PATH_TO_LLAMA_CPP > modkit/native/llama.cdef.txt

For maintainers, when llama.cpp's interface grows. It runs the C preprocessor over llama.h, keeps every
`llama_*` and `gguf_*` declaration and the `ggml` ones that a user of a binding needs, and replaces the
two params structs that travel by value with an opaque block: their layout changes between versions and
is measured at run time (modkit/native/layout.py). Struct definitions of several versions are appended
by hand at the end of the file and are kept.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GGML = re.compile(
    r"ggml_(init|free|tensor_overhead|new_tensor(_[1-4]d)?|backend_\w+|threadpool_\w+|cpu_(has|get)_\w+|cpu_init"
    r"|version|commit|set_abort_callback|abort|log_[sg]et"
    r"|time_\w+|type_name|type_size|blck_size|row_size|is_quantized|quantize_\w+|numa_init|is_numa|nbytes"
    r"|opt_(dataset_\w+|result_\w+|get_\w+_params)|nelements|get_name|status_to_string|ftype_to_ggml_type"
    r"|fp16_to_fp32\w*|fp32_to_fp16\w*)$"
)
BY_VALUE = re.compile(r"struct (llama_model_params|llama_context_params)(?= +(params|llama_))")


def top_level(text: str) -> list[str]:
    """The declarations of a preprocessed header, one string each; inline functions are dropped."""
    found, depth, current = [], 0, ""
    for character in text:
        current += character
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0 and (character == ";" or (character == "}" and re.search(r"\binline\b", current))):
            if "inline" not in current:
                found.append(current)
            current = ""
    return found


def clean(declaration: str) -> str:
    text = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*(?:\([^()]*\))?[^()]*\))*\)\)", "", declaration)
    text = re.sub(r"\b(_Noreturn|extern|__restrict|__extension__)\b", "", text)
    return re.sub(r"[ \t]+", " ", text).replace("FILE *", "void *").strip()


def wanted(declaration: str) -> str | None:
    """The declaration as it goes into the file, or None."""
    if not re.search(r"\b(llama|ggml|gguf)_", declaration):
        return None
    if re.match(r"(typedef|struct \w+ ?[{;]|enum \w+ ?[{;]|union)", declaration):
        if "sizeof" in declaration:  # arrays sized by an expression: opaque is enough
            name = re.match(r"struct \w+", declaration)
            return f"{name.group(0)};" if name else None
        if re.match(r"struct (llama_model_params|llama_context_params) ?\{", declaration):
            return None
        return declaration
    name = re.search(r"\b((?:llama|ggml|gguf)_\w+) ?\(", declaration)
    if name and (name.group(1).startswith(("llama_", "gguf_")) or GGML.match(name.group(1))):
        return BY_VALUE.sub("mk_params", declaration)
    return None


def main() -> None:
    root = Path(sys.argv[1])
    command = ["gcc", "-E", "-P", f"-I{root}/include", f"-I{root}/ggml/include", f"{root}/include/llama.h"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print("typedef struct { uint64_t bytes[64]; } mk_params;")
    seen = set()
    for declaration in map(clean, top_level(text)):
        kept = wanted(declaration)
        key = re.sub(r"\s+", "", kept or "")
        if kept and key not in seen:
            seen.add(key)
            print(kept)


if __name__ == "__main__":
    main()
