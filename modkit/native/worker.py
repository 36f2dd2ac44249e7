"""The worker from Python's side: a thin, typed handle on the C engine (core.h has the contract).

One owner thread. The shared block is read through buffers, so looking for news costs no C call.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modkit.errors import EngineError, QueueFull
from modkit.native._core import ffi
from modkit.native._core import lib as core
from modkit.native.plan import Plan, Share
from modkit.native.request import Request
from modkit.native.sampling import OVERFLOWS

if TYPE_CHECKING:
    from modkit.native.library import Library
    from modkit.native.sampling import Options

__all__ = ["MAX_WAITING", "Vectors", "Worker", "WorkerState"]

MAX_WAITING = 1024
# What one tick takes at most: a host that was away for a while catches up over some frames
# instead of in one long one. 16 KiB are some 600 tokens.
DRAIN_BYTES = 16384
_TAIL = ffi.offsetof("mk_shared", "tail") // 8
ORDERED = bool(core.mk_stores_keep_order())


class WorkerState(enum.IntEnum):
    LOADING = core.MK_LOADING
    READY = core.MK_READY
    ENDED = core.MK_ENDED
    DEAD = core.MK_DEAD


class Vectors:
    """Rows of floats that the worker fills and hands over without a copy. Look inside only after the request's end."""

    def __init__(self, block: Any) -> None:
        self._block = ffi.gc(block, core.mk_block_release)

    @property
    def trimmed(self) -> int:
        """How many texts were longer than the model reads and were cut."""
        return int(core.mk_block_trimmed(self._block))

    def rows_of(self, n: int) -> list[int]:
        """How many rows each of the n texts has."""
        rows = core.mk_block_rows_of(self._block)
        return [0] * n if rows == ffi.NULL else list(ffi.unpack(rows, n))

    def column(self) -> list[float]:
        """The first number of each row."""
        return list(self.view().cast("B").cast("f"))[:: core.mk_block_columns(self._block)]

    def view(self) -> memoryview[float]:
        """All rows as a memoryview of shape (rows, columns), which keeps their memory alive."""
        rows, columns = core.mk_block_rows(self._block), core.mk_block_columns(self._block)
        held = [self._block]  # by the destructor, so for as long as anybody holds a view
        data = ffi.gc(core.mk_block_data(self._block), lambda _: held.clear())
        return memoryview(ffi.buffer(data, 4 * rows * columns)).cast("B").cast("f", shape=[rows, columns]).toreadonly()


class Worker:
    """A started C engine. `config` must have been filled by modkit.native.settings.configure()."""

    LOADED, FAILED, STARTED = core.MK_LOADED, core.MK_FAILED, core.MK_STARTED
    TOKEN, DONE, ERROR, LOG = core.MK_TOKEN, core.MK_DONE, core.MK_ERROR, core.MK_LOG
    LEFT = core.MK_LEFT
    STOP_STRING = core.MK_FINISH_STOP_STRING
    CODE_OVERFLOW = core.MK_CODE_OVERFLOW
    CODE_PROMPT = core.MK_CODE_PROMPT
    CODE_GRAMMAR = core.MK_CODE_GRAMMAR
    CODE_OPTION = core.MK_CODE_OPTION
    LOGPROBS = core.MK_LOGPROBS
    THOUGHT = core.MK_THOUGHT
    FAILED_MEMORY = core.MK_FAILED_MEMORY

    def __init__(self, library: Library, config: Any, keep: Sequence[Any] = ()) -> None:
        self.library = library
        self._keep = keep  # what config points at
        self.info: dict[str, Any] | None = None
        engine = core.mk_engine_new(library.table, config)
        if engine == ffi.NULL:
            raise EngineError("the worker could not be started: no memory, no thread, or 64 engines already")
        self._engine = engine
        shared = core.mk_engine_shared(engine)
        view = memoryview(ffi.buffer(shared))
        at = ffi.offsetof("mk_shared", "state")
        # For the tick, which looks here itself (a call would cost more than the look): there is news when
        # words[0] != seen, and another state when states[0] != seen_state.
        self.words: Any = view[: ffi.offsetof("mk_shared", "pad1")].cast("B").cast("Q")
        self.states: Sequence[int] = view[at : at + 4].cast("B").cast("I")
        self._progress = view[at + 4 : at + 8].cast("B").cast("f")
        self.seen = 0
        self.seen_state = core.MK_LOADING
        self._buffer = bytearray(DRAIN_BYTES)
        self._c_buffer = ffi.from_buffer(self._buffer)
        self._view = memoryview(self._buffer)
        ring_size = core.mk_engine_ring_size(engine)
        self._ring = memoryview(ffi.buffer(core.mk_engine_ring(engine), ring_size)).cast("B").toreadonly()
        self._mask = ring_size - 1
        self._small = core.MK_SMALL_NEWS if ORDERED else -1
        self._closed = False
        self._sets: dict[tuple[tuple[tuple[str, float], ...], bytes], int] = {}

    def feed(self, unpacker: Any) -> int:
        """Gives the news to the unpacker and frees their room; returns how many bytes. They may end inside a record.

        A call into C costs a frame some 20 µs when its own work has emptied the caches, most of it for the
        way there. So where the processor keeps the order of stores, small news are read in place.
        """
        head, seen = int(self.words[0]), self.seen
        at, size = seen & self._mask, head - seen
        if size <= self._small and at + size <= self._mask:
            unpacker.feed(self._ring[at : at + size])
            self.words[_TAIL] = self.seen = head
            return size
        size = int(core.mk_engine_drain(self._engine, self._c_buffer, DRAIN_BYTES))
        self.seen += size
        unpacker.feed(self._view[:size])
        return size

    def state(self) -> WorkerState:
        self.seen_state = self.states[0]
        return WorkerState(self.seen_state)

    def death(self) -> str:
        message = core.mk_engine_death(self._engine)
        return "" if message == ffi.NULL else bytes(ffi.string(message)).decode("utf-8", "replace")

    @property
    def progress(self) -> float:
        return 0.0 if self._closed else float(self._progress[0])

    @property
    def decoded(self) -> int:
        """Tokens decoded ever, prefill included."""
        return 0 if self._closed else int(core.mk_engine_shared(self._engine).decoded)

    @property
    def drafts(self) -> tuple[int, int]:
        """Tokens decoded ahead ever, and how many of them were said."""
        if self._closed:
            return 0, 0
        shared = core.mk_engine_shared(self._engine)
        return int(shared.drafted), int(shared.accepted)

    def loaded(self) -> dict[str, Any]:
        """Copies what the worker found out about the model; called once, on the LOADED event."""
        c = core.mk_engine_info(self._engine)
        plan = self.plan()

        def text(value: Any) -> str:
            return bytes(ffi.string(value)).decode("utf-8", "replace")

        self.info = {
            "name": text(c.name),
            "description": text(c.description),
            "vocab": c.n_vocab,
            "context": c.context,
            "context_train": c.n_ctx_train,
            "layers": c.n_layer,
            "embedding": c.n_embd,
            "parameters": c.n_params,
            "bytes": c.model_bytes,
            "bos": text(c.bos),
            "eos": text(c.eos),
            "plan": plan.as_json() if plan else None,
            "buffers": self.buffers(),
            "recurrent": c.recurrent,
            "hybrid": c.hybrid,
            "sliding_window": c.n_swa,
            "limits": [sentence for sentence in map(text, c.limits) if sentence],
            "chat_template": None if c.chat_template == ffi.NULL else text(c.chat_template),
        }
        return self.info

    def plan(self) -> Plan | None:
        """What was worked out about memory before loading; None when nothing had to be."""
        p = core.mk_engine_plan(self._engine)
        if not p.made:
            return None
        return Plan(
            layers=p.layers,
            all_layers=p.all_layers,
            context=p.context,
            budget=p.budget,
            weights=Share(p.weights_gpu, p.weights_cpu),
            kv=Share(p.kv_gpu, p.kv_cpu),
            compute=Share(p.compute_gpu, p.compute_cpu),
            steps=tuple(filter(None, bytes(ffi.string(p.steps)).decode("utf-8", "replace").split("\n"))),
        )

    def buffers(self) -> list[tuple[str, str, int]]:
        """(name, kind, bytes) of every buffer that llama.cpp says it made: ("Vulkan0", "model", 1048576)."""
        first = ffi.new("mk_buffer **")
        count = core.mk_engine_buffers(self._engine, first)
        found = (first[0][i] for i in range(count))
        return [(ffi.string(b.name).decode(), ffi.string(b.kind).decode(), int(b.bytes)) for b in found]

    def address(self, what: str) -> int:
        """Where the "model" or its "vocab" lies, for functions of llama.cpp that only read it; 0 when closed."""
        if self._closed or self.info is None:
            return 0
        return int(ffi.cast("uintptr_t", getattr(core, f"mk_engine_{what}")(self._engine)))

    def perf(self) -> dict[str, float]:
        """llama.cpp's own counters, as of the last decode: milliseconds and tokens."""
        shared = core.mk_engine_shared(self._engine)
        names = ("load_ms", "prompt_ms", "reply_ms", "prompt_tokens", "reply_tokens", "graphs_reused")
        return dict(zip(names, [*shared.perf_ms, *map(float, shared.perf_n)]))

    def submit(
        self,
        id: int,
        segments: Sequence[tuple[Any, bool]],
        options: Options,
        *,
        add_bos: bool,
        trim_start: bool,
        turns: Sequence[int] | None = None,
        choices: Sequence[str] = (),
        thought: Sequence[Any] = (),
    ) -> Vectors | None:
        """Queues a request; raises QueueFull or OptionError. Copies everything.

        turns: the segments with which a turn of a conversation begins; None when it is not one. choices: weigh these
        instead of speaking; their log-probabilities come in what is returned. thought: (what opens one,
        what closes it, whether the prompt has opened one).
        """
        asked = Request(id)
        vectors = None
        if choices:
            block = core.mk_block_new()
            if block == ffi.NULL:
                raise EngineError("no memory for the request")
            vectors = Vectors(block)
            asked.choices(choices)
            asked.c.block, asked.c.task = block, core.MK_TASK_SCORE
        asked.prompt(segments, turns)
        asked.sampling(options)
        if thought:
            asked.thought(thought[0], thought[1], bool(thought[2]), options.thinking_budget)
        asked.c.n_pin = -1 if options.pin is None else options.pin
        asked.c.keep = turns is not None or options.pin is not None
        asked.c.adapters = self._adapters(options)
        asked.c.overflow = OVERFLOWS.index(options.overflow or ("drop" if asked.c.keep else "refuse"))
        asked.c.add_bos, asked.c.trim_start = add_bos, trim_start
        self._push(asked)
        return vectors

    def embed(self, id: int, texts: Sequence[str], *, rank: bool, pooling: int, normalise: bool, trim: bool) -> Vectors:
        """Queues texts to be made vectors (rank: scores of texts[1:] against texts[0]). Raises as submit()."""
        block = core.mk_block_new()
        if block == ffi.NULL:
            raise EngineError("no memory for the request")
        vectors = Vectors(block)
        asked = Request(id)
        asked.texts(texts)
        asked.c.task = core.MK_TASK_RANK if rank else core.MK_TASK_EMBED
        asked.c.block, asked.c.pooling, asked.c.normalise, asked.c.trim = block, pooling, normalise, trim
        self._push(asked)
        return vectors

    def _adapters(self, options: Options) -> int:
        """The number of the options' set of adapters, described to the worker when it is new."""
        loras, control = options.loras(), options.control_vector()
        if not loras and not control:
            return 0
        known = self._sets.get((loras, control))
        if known is not None:
            return known
        c = ffi.new("mk_adapters *")
        keep = [ffi.new("char[]", os.fsencode(path) if sys.platform != "win32" else path.encode()) for path, _ in loras]
        c.n = len(loras)
        for i, (_, scale) in enumerate(loras):
            c.paths[i], c.scales[i] = keep[i], scale
        floats = ffi.from_buffer("float[]", control)
        c.control, c.n_control = floats, len(control) // 4
        if core.mk_engine_adapters(self._engine, c) != 0:
            raise QueueFull("the adapters could not be handed over: too much is waiting, or memory is out")
        self._sets[(loras, control)] = len(self._sets) + 1
        return len(self._sets)

    def _push(self, asked: Request) -> None:
        result = core.mk_engine_submit(self._engine, asked.c)
        if result == -1:
            raise QueueFull(f"{MAX_WAITING} requests are waiting already; tick, or cancel some")
        if result != 0:
            raise EngineError("no memory for the request")

    def cancel(self, id: int) -> None:
        core.mk_engine_cancel(self._engine, id)

    def pause(self, paused: bool) -> None:
        core.mk_engine_pause(self._engine, paused)

    def pace(self, tokens_per_second: float) -> None:
        """For each stream, at most; 0 for no limit."""
        core.mk_engine_pace(self._engine, tokens_per_second)

    def late(self, seconds: float) -> None:
        core.mk_engine_late(self._engine, seconds)

    def fail_assertion(self) -> None:
        """For tests: makes llama.cpp fail an assertion on the worker's thread."""
        core.mk_engine_fail_assertion(self._engine)

    def close(self) -> None:
        """Joins the worker and frees it. Idempotent."""
        if not self._closed:
            self._closed = True
            self.words, self.states = [self.seen], [self.seen_state]  # no news, ever
            self._progress.release()
            core.mk_engine_close(self._engine)
            self._engine = ffi.NULL
