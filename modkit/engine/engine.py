"""The engine in this process: a model, a C worker, and the streams that come out of it.

The thread that makes an Engine owns it: submit, tick, cancel and close belong to that thread (another
one gets WrongThread). Nothing here blocks except close(), which joins the worker within milliseconds.
What it can be asked is in `asking.py`, what it hears in `hearing.py`.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modkit.engine.asking import Asking
from modkit.engine.protocol import check_pace
from modkit.errors import EngineClosed, OptionError
from modkit.native.loading import LoadOptions
from modkit.native.settings import Settings, configure
from modkit.native.vocab import read_metadata
from modkit.native.worker import Worker

__all__ = ["Engine"]

llama_log = logging.getLogger("modkit.llama")

_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine(Asking):
    """A language model inside this process, ticked by the game's loop.

    model: path of a GGUF file. context: tokens that each conversation may have (4096). slots: conversations
    that can be spoken in at once (1). threads: CPU threads to compute with (None: half the cores, so that
    the game keeps the other half). gpu_layers: how many layers go to the GPU: a number, "all", or
    "auto": as many as fit into vram_budget (bytes or "4GiB") and into what is free; where none fits, a
    shorter context is tried, then the CPU. cache_ram: memory for conversations that have no slot at the
    moment, bytes or "256MiB" (the default; 0 or None for none): they come back without being computed again.
    cache_dir: a folder where they go, up to cache_disk bytes ("1GiB"), when that memory is full, and where
    personas are kept for the next run (None: nowhere). chat_template: a Jinja text in place of the model's own.
    library: a llama.cpp file or folder (None: see modkit.native.find). A model in several files is named by
    its first, or by a list of all. Everything else about loading is in modkit.native.LoadOptions, e.g.
    kv_type="q8_0", mmap=False.

    Attributes: path, library (the llama.cpp that runs it), name (of the model, "" until it is ready) and context
    (the tokens asked for; once it is ready, those there are). Everything belongs to the thread that made the
    engine, or called attach() last; from another one it raises WrongThread.

    Returns at once; the file is read on the worker. Raises LibraryError, OptionError, and ModelError where
    no file is; what is wrong with the file comes out of tick() as ModelError, and as OutOfMemory when it
    does not fit.
    """

    drops_turns = True  # when the context is full, the oldest turns leave it by themselves: see Options.overflow

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        context: int = 4096,
        slots: int = 1,
        threads: int | None = None,
        gpu_layers: int | str = "auto",
        vram_budget: int | str | None = None,
        *,
        cache_ram: int | str | None = "256MiB",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_disk: int | str = "1GiB",
        library: str | os.PathLike[str] | None = None,
        chat_template: str | None = None,
        **loading: Any,
    ) -> None:
        parts = () if isinstance(model, (str, os.PathLike)) else tuple(os.fspath(part) for part in model)
        if not isinstance(model, (str, os.PathLike)) and not parts:
            raise OptionError("no model was named; give the path of a .gguf file")
        self.path = Path(parts[0] if parts else model)  # type: ignore[arg-type]
        self.name = ""
        self.context = context
        super().__init__(chat_template)
        more = LoadOptions.of(loading)
        folder = None if cache_dir is None else os.fspath(cache_dir)
        caches: dict[str, Any] = {"cache_ram": cache_ram, "cache_dir": folder, "cache_disk": cache_disk}
        settings = Settings(context, slots, threads, gpu_layers, vram_budget, loading=more, parts=parts, **caches)
        self._worker: Worker = self._start_worker(settings, library)
        self.library = self._worker.library
        self._closed = False
        _open_engines.add(self)

    def _start_worker(self, settings: Settings, library: str | os.PathLike[str] | None) -> Worker:
        """The seam for an engine whose worker is elsewhere."""
        return configure(self.path, settings, library, llama_log.getEffectiveLevel())

    # ---- state ----

    @property
    def progress(self) -> float:
        """How much of the model is loaded, 0.0 to 1.0. Any thread."""
        return self._worker.progress

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: name, description, vocab, context_train, layers, parameters, bytes… Empty until ready.

        A copy of what the worker said when it had loaded it. Raises nothing.
        """
        return dict(self._worker.info or {})

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own key/value pairs, of any length; lists are left out. Empty until ready, and once closed.

        Read anew at each look, a C call for each pair: not for every frame. Raises nothing.
        """
        address = self._worker.address("model")
        return read_metadata(self.library, address) if address else {}

    def perf(self) -> dict[str, float]:
        """llama.cpp's counters as of the last decode; all 0 without `Engine(..., perf=True)`.

        In milliseconds `load_ms`, `prompt_ms` and `reply_ms`, in tokens `prompt_tokens` and `reply_tokens`; and
        `graphs_reused`, how many decodes went without building a graph. Never waits. Raises EngineClosed, EngineDied,
        ModelError.
        """
        self._check_alive()
        return self._worker.perf()

    # ---- life ----

    def pause(self) -> None:
        """Stops computing after the batch under way; streams stay where they are. Returns at once."""
        self._check_thread()
        self._worker.pause(True)

    def resume(self) -> None:
        """Goes on where pause() stopped; of no effect when it did not. Returns at once."""
        self._check_thread()
        self._worker.pause(False)

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Lets each stream say at most so many tokens a second; None takes the limit away.

        A reader's speed (10 or so) is enough for a subtitle, and leaves the machine to the game. First
        tokens do not wait. Raises OptionError.
        """
        self._check_thread()
        self._worker.pace(check_pace(tokens_per_second))

    def late(self, ms: float) -> None:
        """Says that a frame came `ms` milliseconds late: prompts are read in shorter slices for a while.

        0 says nothing. Raises OptionError.
        """
        self._check_thread()
        if not 0 <= ms < 1e9:
            raise OptionError(f"late({ms!r}): give milliseconds, 0 or more")
        if ms > 0:
            self._worker.late(ms / 1e3)

    def close(self) -> None:
        """Ends the worker, aborting a load, prefill or decode under way, and frees the model.

        Streams still running end with EngineClosed. Idempotent. Blocks for milliseconds, longer only
        while background jobs (a save's commit) finish.
        """
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        self._end_all(EngineClosed("the engine was closed while this reply was under way"))
        self._helper.close()
        self._run_prepared()
        if self._vocab is not None:
            self._vocab.close()
        self._worker.close()
        _open_engines.discard(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self._thread = threading.get_ident()
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "failed" if self._failure else "ready" if self.ready else "loading"
        return f"<Engine {self.path.name} {state}>"


@atexit.register
def _close_all() -> None:
    """A worker still inside llama.cpp while the process runs its exit handlers would crash it."""
    for engine in list(_open_engines):
        engine.attach()
        engine.close()
