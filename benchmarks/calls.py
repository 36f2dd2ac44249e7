"""What one call costs: detokenising, pieces and end marks, single and in batches; and memory with a large vocabulary.

    python -m benchmarks.calls [--llama LIBRARY] [--peer PYTHON_WITH_LLAMA_CPP] [--rounds 20]

Side by side in one run, on one library: modkit, the same loop in C (compiled here, given the same function
pointers), modkit's raw functions, and llama-cpp-python where an interpreter that has it is named (its own
library is then used for all, unless --llama says otherwise). Rates are calls, or tokens, a second of the
thread's own time, the best of the rounds. RSS is a process of its own each, after loading a model with 128,000 tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modkit import native
from tests.make_model import make_model

TOKENS = 20_000
VOCABULARY = 128_000

LOOP = """
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* each returns seconds for n tokens */
double loop_pieces(int32_t (*piece)(const void *, int32_t, char *, int32_t, int32_t, bool), const void *vocab,
                   const int32_t *tokens, int32_t n, char *out, int32_t room) {
    double begun = now();
    int32_t at = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t k = piece(vocab, tokens[i], out + at, room - at, 0, false);
        at += k > 0 ? k : 0;
    }
    return now() - begun;
}

double loop_detokenise(int32_t (*detokenise)(const void *, const int32_t *, int32_t, char *, int32_t, bool, bool),
                       const void *vocab, const int32_t *tokens, int32_t n, char *out, int32_t room) {
    double begun = now();
    detokenise(vocab, tokens, n, out, room, false, false);
    return now() - begun;
}

double loop_eog(bool (*is_eog)(const void *, int32_t), const void *vocab, const int32_t *tokens, int32_t n) {
    double begun = now();
    volatile int32_t found = 0;
    for (int32_t i = 0; i < n; i++) {
        found += is_eog(vocab, tokens[i]);
    }
    return now() - begun;
}
"""

PEER = """
import ctypes, json, sys, time
import llama_cpp as l

path, tokens, rounds = sys.argv[1], json.loads(open(sys.argv[2]).read()), int(sys.argv[3])
model = l.Llama(path, vocab_only=True, verbose=False)
vocab = l.llama_model_get_vocab(model._model.model)
buffer = ctypes.create_string_buffer(64)

def best(work):
    times = []
    for _ in range(rounds):
        begun = time.thread_time()
        work()
        times.append(time.thread_time() - begun)
    return len(tokens) / min(times)

def pieces():
    f = l.llama_token_to_piece
    for t in tokens: f(vocab, t, buffer, 64, 0, False)

def eog():
    f = l.llama_vocab_is_eog
    for t in tokens: f(vocab, t)

def detokenize_each():
    f = model.detokenize
    for t in tokens: f([t])

print(json.dumps({"piece, one": best(pieces), "is_eog, one": best(eog), "detokenise, one": best(detokenize_each),
                  "detokenise, batch": best(lambda: model.detokenize(tokens))}))
"""

RSS = """
import sys
def rss():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) // 1024
if sys.argv[1] == "modkit":
    import modkit
    with modkit.Engine(sys.argv[2], context=512, library=sys.argv[3] or None) as e:
        e.generate("the", max_tokens=2).result(60)
        print(rss())
else:
    import llama_cpp
    m = llama_cpp.Llama(sys.argv[2], n_ctx=512, verbose=False, n_threads=1)
    m("the", max_tokens=2)
    print(rss())
"""


def best(rounds: int, n: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        begun = time.thread_time()
        work()
        times.append(time.thread_time() - begun)
    return n / min(times)


def compiled(folder: Path) -> Any:
    """The loops in C, as an address for each name."""
    from cffi import FFI

    (folder / "loop.c").write_text(LOOP)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", folder / "loop.so", folder / "loop.c"], check=True)
    ffi = FFI()
    ffi.cdef(
        """
        double loop_pieces(void *, const void *, const int32_t *, int32_t, char *, int32_t);
        double loop_detokenise(void *, const void *, const int32_t *, int32_t, char *, int32_t);
        double loop_eog(void *, const void *, const int32_t *, int32_t);
        """
    )
    return ffi, ffi.dlopen(str(folder / "loop.so"))


def in_c(folder: Path, model: native.Model, tokens: list[int], rounds: int) -> dict[str, float]:
    ffi, c = compiled(folder)
    raw = model.library.raw

    def pointer(value: Any) -> Any:
        return ffi.cast("void *", int(model.library.ffi.cast("uintptr_t", value)))

    vocab = pointer(raw.llama_model_get_vocab(model.raw_model()))
    block, out, n = ffi.new("int32_t[]", tokens), ffi.new("char[]", 64 * len(tokens)), len(tokens)
    room = 64 * n
    piece, detokenise = pointer(raw.llama_token_to_piece), pointer(raw.llama_detokenize)
    is_eog = pointer(raw.llama_vocab_is_eog)
    runs = range(rounds)
    return {
        "piece, one": n / min(c.loop_pieces(piece, vocab, block, n, out, room) for _ in runs),
        "detokenise, batch": n / min(c.loop_detokenise(detokenise, vocab, block, n, out, room) for _ in runs),
        "is_eog, one": n / min(c.loop_eog(is_eog, vocab, block, n) for _ in runs),
    }


def in_modkit(model: native.Model, tokens: list[int], rounds: int) -> dict[str, float]:
    vocab, n, block = model.vocab, len(tokens), array("i", tokens)

    def pieces() -> None:
        piece = vocab.piece
        for token in tokens:
            piece(token)

    def eog() -> None:
        is_eog = vocab.is_eog
        for token in tokens:
            is_eog(token)

    def detokenise_each() -> None:
        detokenise = vocab.detokenise_bytes
        for token in tokens:
            detokenise([token])

    return {
        "piece, one": best(rounds, n, pieces),
        "is_eog, one": best(rounds, n, eog),
        "detokenise, one": best(rounds, n, detokenise_each),
        "detokenise, batch": best(rounds, n, lambda: vocab.detokenise_bytes(block)),
        "detokenise, batch (str, from a list)": best(rounds, n, lambda: vocab.detokenise(tokens)),
        "pieces, batch": best(rounds, n, lambda: vocab.pieces(block)),
        "is_eog, batch": vocab.size * best(rounds, 1, lambda: _flags(vocab)),
    }


def _flags(vocab: native.Vocab) -> None:
    vocab._eog = b""
    vocab.eog_flags()


def in_raw(model: native.Model, tokens: list[int], rounds: int) -> dict[str, float]:
    raw, n = model.library.raw, len(tokens)
    vocab = raw.llama_model_get_vocab(model.raw_model())
    out = model.library.ffi.new("char[64]")

    def pieces() -> None:
        piece = raw.llama_token_to_piece
        for token in tokens:
            piece(vocab, token, out, 64, 0, False)

    def eog() -> None:
        is_eog = raw.llama_vocab_is_eog
        for token in tokens:
            is_eog(vocab, token)

    return {"piece, one": best(rounds, n, pieces), "is_eog, one": best(rounds, n, eog)}


def rss(python: str, who: str, model: Path, library: str | None) -> int:
    done = subprocess.run(
        [python, "-c", RSS, who, str(model), library or ""], capture_output=True, text=True, check=True, timeout=300
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama", help="the library to measure on")
    parser.add_argument("--peer", help="an interpreter that has llama-cpp-python")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", help="a file to write to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_model(folder / "large.gguf", width=64, layers=1, vocab=VOCABULARY)
        dice = random.Random(1)
        tokens = [dice.randrange(256, VOCABULARY) for _ in range(TOKENS)]
        (folder / "tokens.json").write_text(json.dumps(tokens))
        if options.peer and not options.llama:
            where = "import llama_cpp, os; print(os.path.join(os.path.dirname(llama_cpp.__file__), 'lib'))"
            options.llama = subprocess.check_output([options.peer, "-c", where], text=True).strip()
        with native.Model(path, vocab_only=True, library=options.llama) as model:
            table = {
                "C": in_c(folder, model, tokens, options.rounds),
                "modkit": in_modkit(model, tokens, options.rounds),
                "modkit, raw": in_raw(model, tokens, options.rounds),
            }
        memory = {"modkit": rss(sys.executable, "modkit", path, options.llama)}
        if options.peer:
            peer = [options.peer, "-c", PEER, str(path), str(folder / "tokens.json"), str(options.rounds)]
            table["llama-cpp-python"] = json.loads(subprocess.check_output(peer, text=True))
            memory["llama-cpp-python"] = rss(options.peer, "peer", path, None)
    print(f"{'million a second':38}" + "".join(f"{who:>18}" for who in table))
    for row in dict.fromkeys(name for column in table.values() for name in column):
        cells = "".join(f"{column[row] / 1e6:18.2f}" if row in column else f"{'':18}" for column in table.values())
        print(f"{row:38}{cells}")
    print(f"{'RSS, MB, 128,000 tokens':38}" + "".join(f"{memory.get(who, ''):>18}" for who in table))
    if options.json:
        Path(options.json).write_text(json.dumps({"calls": table, "rss": memory}, indent=1))


if __name__ == "__main__":
    main()
