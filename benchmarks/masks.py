"""What a grammar costs a token, our matcher beside llguidance's: same schemas, same vocabulary, same text.

    python -m benchmarks.masks [--vocab 32000] [--members 20] [--quick]

No model: members of each schema are cut into the longest tokens of a vocabulary (the commonest words and parts of words
of Python's own library), and before each token both are asked which tokens may come next (a mask), then given it. Ours
is asked about one token first, as the sampler does it ("ask"), and about all only when that one is refused. Times are
those inside one thread; ours are taken in C around each call, llguidance's in Python. Without llguidance ours alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import percentile, table
from benchmarks.grammar import ITEM, schema
from modkit.native.grammar import Grammar

__all__ = ["main"]

NATIVE = Path(__file__).resolve().parent.parent / "modkit" / "native"
DRIVER = """
#include "words.h"
#include <time.h>

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

mk_words *bench_words(int32_t n, char *bytes, uint32_t *at, int64_t *ns) {
    mk_words *w = calloc(1, sizeof *w);
    int64_t begun = now();
    *w = (mk_words){.n = n, .order = calloc((size_t) n, 4), .common = calloc((size_t) n, 2), .at = at, .bytes = bytes};
    mk_words_sort(w);
    *ns = now() - begun;
    return w;
}

mk_grammar *bench_grammar(const char *gbnf, size_t size, int64_t *ns) {
    char reason[400];
    int64_t begun = now();
    mk_grammar *g = mk_grammar_new(gbnf, size, "root", NULL, reason, sizeof reason);
    *ns = now() - begun;
    return g;
}

/* Per token: how long the mask took, one question, going on. false: a token was refused. */
bool bench_walk(mk_grammar *g, const mk_words *w, const int32_t *tokens, int32_t n, int64_t *mask, int64_t *ask,
                int64_t *feed, int32_t *allowed) {
    mk_grammar_restart(g);
    for (int32_t i = 0; i < n; i++) {
        const char *piece = w->bytes + w->at[tokens[i]];
        size_t size = w->at[tokens[i] + 1] - w->at[tokens[i]];
        int64_t begun = now(), masked, asked;
        mk_words_allowed(w, g, allowed);
        masked = now();
        mk_grammar_try_token(g, tokens[i], piece, size);
        asked = now();
        if (mk_grammar_feed_token(g, tokens[i], piece, size) != MK_GRAMMAR_YES) {
            return false;
        }
        feed[i] = now() - asked;
        ask[i] = asked - masked;
        mask[i] = masked - begun;
    }
    return true;
}
"""


def driver(folder: Path) -> Any:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("a C compiler is needed: install gcc, or name one in CC")
    (folder / "driver.c").write_text(DRIVER, encoding="utf-8")
    sources = [folder / "driver.c", *(NATIVE / f"{name}.c" for name in ("words", "grammar", "gbnf", "network"))]
    library = folder / "driver.so"
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", f"-I{NATIVE}"]
    subprocess.run([compiler, *flags, "-o", library, *sources], check=True)
    opened = ctypes.CDLL(str(library))
    opened.bench_words.restype = opened.bench_grammar.restype = ctypes.c_void_p
    opened.bench_walk.restype = ctypes.c_bool
    return opened


def vocabulary(size: int) -> list[bytes]:
    """All bytes, then the commonest beginnings of words, with and without a space before them."""
    found: Counter[str] = Counter()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for word in re.findall(r" ?[A-Za-z]+| ?[0-9]{1,3}|[^\w\s]{1,3}", path.read_text("utf-8", "replace")):
            for end in range(2, min(len(word), 12) + 1):
                found[word[:end]] += 1
    words = [word.encode() for word, _ in found.most_common()]
    pieces = list(dict.fromkeys([bytes([b]) for b in range(256)] + words))
    pieces += [f" w{n}".encode() for n in range(max(0, size - len(pieces)))]
    return pieces[:size]


def plain(member: str) -> str:
    """The member with letters for every odd character: the same form in words, and nothing that one side may escape."""

    def plainly(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"[^A-Za-z0-9 -]", lambda found: "etaoinsh"[ord(found[0]) % 8], value)
        if isinstance(value, dict):
            return {plainly(key): plainly(inner) for key, inner in value.items()}
        return [plainly(inner) for inner in value] if isinstance(value, list) else value

    made = plainly(json.loads(member, parse_float=lambda _: 7))
    return json.dumps(made, separators=(",", ":"))


def tokenised(text: bytes, ids: dict[bytes, int]) -> list[int]:
    """The longest token at each place."""
    found, at = [], 0
    while at < len(text):
        size = next(n for n in range(16, 0, -1) if text[at : at + n] in ids and at + n <= len(text))
        found.append(ids[text[at : at + size]])
        at += size
    return found


def ours(c: Any, words: Any, size: int, spec: Any, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    ns = ctypes.c_int64()
    begun = time.perf_counter()
    gbnf = Grammar.from_schema(spec, closed=True).gbnf.encode()
    made = time.perf_counter() - begun
    grammar = ctypes.c_void_p(c.bench_grammar(gbnf, ctypes.c_size_t(len(gbnf)), ctypes.byref(ns)))
    times: dict[str, list[int]] = {"mask": [], "ask": [], "take": []}
    allowed = (ctypes.c_int32 * size)()
    for tokens in texts:
        block = (ctypes.c_int32 * len(tokens))(*tokens)
        taken = [(ctypes.c_int64 * len(tokens))() for _ in times]
        if not c.bench_walk(grammar, words, block, len(tokens), *taken, allowed):
            raise RuntimeError("our matcher refused a member")
        for found, part in zip(times.values(), taken):
            found.extend(part)
    return {"compile": f"{made * 1e3:.1f} + {ns.value / 1e6:.2f}", **times}


def theirs(tokenizer: Any, size: int, spec: Any, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    import llguidance

    begun = time.perf_counter()
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(spec))
    mask = array("I", bytes(4 * ((size + 31) // 32)))
    address, length = mask.buffer_info()[0], 4 * len(mask)
    matcher.unsafe_compute_mask_ptr(address, length)
    times: dict[str, list[int]] = {"mask": [], "ask": [], "take": []}
    made, clock = time.perf_counter() - begun, time.perf_counter_ns
    for tokens in texts:
        matcher.reset()
        for token in tokens:
            started = clock()
            matcher.unsafe_compute_mask_ptr(address, length)
            masked = clock()
            good = matcher.consume_token(token)
            times["take"].append(clock() - masked)
            times["mask"].append(masked - started)
            if not good:
                raise RuntimeError(f"llguidance refused a member: {matcher.get_error()}")
    return {"compile": f"{made * 1e3:.1f}", **times}


def their_tokenizer(pieces: list[bytes]) -> Any:
    """None where llguidance is not installed. The end of a reply is a token more, behind all others."""
    try:
        import llguidance
    except ImportError:
        return None

    class Plain:
        eos_token_id, bos_token_id, special_token_ids = len(pieces), None, (len(pieces),)
        tokens = (*pieces, b"<end>")

        def __call__(self, text: bytes) -> list[int]:
            return list(text)  # the first 256 tokens are the bytes

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Plain()))


def _us(times: Sequence[int]) -> str:
    if not times:
        return "–"
    return f"{median(times) / 1e3:.1f} / {percentile(times, 0.99) / 1e3:.0f} / {max(times) / 1e3:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    pieces = vocabulary(a.vocab)
    ids = {piece: n for n, piece in enumerate(pieces)}
    specs = {
        "a list of items": {"type": "array", "items": ITEM, "minItems": 2, "maxItems": 9},
        "300 rules": schema(1),
        "any JSON": {"type": "object"},
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        c = driver(Path(folder))
        at, joined = (ctypes.c_uint32 * (len(pieces) + 1))(), b"".join(pieces)
        for n, piece in enumerate(pieces):
            at[n + 1] = at[n] + len(piece)
        sorted_in = ctypes.c_int64()
        words = ctypes.c_void_p(c.bench_words(len(pieces), joined, at, ctypes.byref(sorted_in)))
        begun = time.perf_counter()
        tokenizer = their_tokenizer(pieces)
        took = time.perf_counter() - begun
        for name, spec in specs.items():
            grammar = Grammar.from_schema(spec, spaces=False, closed=True)
            members = islice(map(plain, grammar.members(1, 200)), 3 if a.quick else a.members)
            texts = [tokenised(text.encode(), ids) for text in members if grammar.accepts(text)]
            sides = [("ours", ours(c, words, len(pieces), spec, texts))]
            if tokenizer is not None:
                sides.append(("llguidance", theirs(tokenizer, len(pieces) + 1, spec, texts)))
            for side, found in sides:
                rows.append([name, side, found["compile"], *(_us(found[word]) for word in ("mask", "ask", "take"))])
    head = ("schema", "matcher", "compile, ms", "mask, µs", "ask about one, µs", "take one in, µs")
    print(f"{table(head, rows)}\n")
    print("p50 / p99 / max. Ours is compiled in two steps: Python off the frame, then the worker.")
    print(f"The vocabulary of {len(pieces):,}: ours is sorted in {sorted_in.value / 1e6:.0f} ms", end="")
    if tokenizer is not None:
        import llguidance

        print(f", llguidance {llguidance.get_version()} reads it in {took * 1e3:.0f} ms", end="")
    print(".")


if __name__ == "__main__":
    main()
