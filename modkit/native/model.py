"""A model without an engine: looked at, quantised, or planned for. For tools and loading screens.

Everything runs on a guarded thread of its own, as an engine's does, so a file that makes llama.cpp fail
an assertion is an exception here. These calls block (they poll, so Ctrl-C works); not for the frame.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

from modkit.errors import EngineClosed, LibraryError, ModelError, OptionError, OutOfMemory
from modkit.native._core import ffi as core_ffi
from modkit.native._core import lib as core
from modkit.native._llama import ffi
from modkit.native.loading import MAX_OVERRIDES, LoadOptions, check_pattern
from modkit.native.plan import Plan
from modkit.native.replacing import replacing
from modkit.native.settings import Settings, c_path, check_path, parse_bytes, prepare
from modkit.native.vocab import Vocab, read_metadata
from modkit.native.worker import Worker, WorkerState

__all__ = ["Model", "fit", "quantise"]

QUIET = 100
# the names people use, as llama.cpp numbers file types
FILE_TYPES = {
    **{"f32": 0, "f16": 1, "bf16": 32, "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7, "q2_k": 10},
    **{"q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18},
    **{"iq4_nl": 25, "iq4_xs": 30, "tq1_0": 36, "tq2_0": 37},
}


def _finish(worker: Worker, path: Path, what: str) -> None:
    """Waits for the worker's word; raises what it says."""
    unpacker = msgpack.Unpacker(raw=False, unicode_errors="replace")
    while True:
        if worker.words[0] != worker.seen:
            worker.feed(unpacker)
            for event in unpacker:
                if event[1] == Worker.LOADED:
                    worker.loaded()
                    return
                if event[1] == Worker.FAILED:
                    kind = OutOfMemory if event[3] == Worker.FAILED_MEMORY else ModelError
                    raise kind(f"{path} cannot be {what}: {event[2]}")
        elif worker.state() is WorkerState.DEAD:
            raise ModelError(f"{path} cannot be {what}: llama.cpp gave up on it: {worker.death()}")
        time.sleep(0.002)


def _run(worker: Worker, path: Path, what: str) -> Worker:
    try:
        _finish(worker, path, what)
    except BaseException:
        worker.close()
        raise
    return worker


class Model:
    """A model that is loaded to be looked at: metadata, vocabulary, what it is. A context manager.

    vocab_only: read no weights, which takes milliseconds. options: as Engine's, see LoadOptions.
    Raises ModelError, OutOfMemory, LibraryError, OptionError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        vocab_only: bool = False,
        library: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.path = Path(path)
        settings = Settings(context=512, gpu_layers=options.pop("gpu_layers", 0), loading=LoadOptions.of(options))
        keep: list[Any] = []
        self.library, config = prepare(self.path, settings, library, QUIET, keep)
        config.purpose = core.MK_FOR_LOOKS
        if vocab_only:
            layout = self.library.layout
            block = ffi.new("mk_params *")
            ffi.memmove(block, core_ffi.buffer(core_ffi.addressof(config, "model_params")), ffi.sizeof("mk_params"))
            layout.model_params(block).vocab_only = True
            core_ffi.memmove(core_ffi.addressof(config, "model_params"), ffi.buffer(block), ffi.sizeof("mk_params"))
        self._worker = _run(Worker(self.library, config, keep), self.path, "loaded")
        self._address = self._worker.address("model")
        self.vocab = Vocab(self.library, self._worker.address("vocab"))

    @property
    def metadata(self) -> dict[str, str]:
        """Key/value pairs of the file, of any length; lists are left out."""
        return read_metadata(self.library, self._open())

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: sizes, kinds, and what it cannot do. With vocab_only: what the vocabulary tells."""
        raw, model = self.library.raw, ffi.cast("struct llama_model *", self._open())
        loaded = self._worker.info or {}
        names = ("name", "description", "vocab", "context_train", "layers", "embedding", "parameters", "bytes")
        known = {name: loaded[name] for name in (*names, "chat_template", "buffers")}
        if loaded["layers"] <= 0:  # llama.cpp would fail an assertion when asked for more
            return known
        return {
            **known,
            "heads": raw.llama_model_n_head(model),
            "kv_heads": raw.llama_model_n_head_kv(model),
            "sliding_window": raw.llama_model_n_swa(model),
            "rope_scale_train": raw.llama_model_rope_freq_scale_train(model),
            "encoder": raw.llama_model_has_encoder(model),
            "decoder": raw.llama_model_has_decoder(model),
            "recurrent": raw.llama_model_is_recurrent(model),
            "hybrid": raw.llama_model_is_hybrid(model),
            "diffusion": raw.llama_model_is_diffusion(model),
        }

    def raw_model(self) -> Any:
        """The `llama_model *`, for functions of `library.raw`; it lives until close()."""
        return ffi.cast("struct llama_model *", self._open())

    def _open(self) -> int:
        if not self._address:
            raise EngineClosed("the model is closed")
        return self._address

    def close(self) -> None:
        """Frees the model. Idempotent."""
        self._address = 0
        self.vocab.close()
        self._worker.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_address", 0):
            self.close()


def fit(
    path: str | os.PathLike[str],
    *,
    vram: int | str | None = None,
    ram: int | str | None = None,
    context: int = 4096,
    slots: int = 1,
    gpu_layers: int | str = "auto",
    library: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Plan:
    """Where the model would lie, without loading it: layers on the GPU, context, bytes of each part.

    vram: of the GPU to plan for; None takes this machine's. With vram on a machine without a GPU (for
    this llama.cpp), one of that size is imagined, and its compute buffer guessed from the CPU's. ram:
    None takes what is free here. Raises OutOfMemory when it fits nowhere, and as Model.
    """
    keep: list[Any] = []
    settings = Settings(context, slots, None, gpu_layers, vram, loading=LoadOptions.of(options))
    library_, config = prepare(Path(path), settings, library, QUIET, keep)
    config.purpose = core.MK_FOR_FIT
    if ram is not None:
        config.ram_free = parse_bytes(ram)
    if vram is not None and not config.n_devices:
        config.imagine = True
        config.n_devices = 1
        config.devices[0].name = b"GPU"
        config.devices[0].free = parse_bytes(vram)
    worker = _run(Worker(library_, config, keep), Path(path), "planned for")
    try:
        found = worker.plan()
    finally:
        worker.close()
    if found is None:
        raise ModelError(f"{path} cannot be planned for: llama.cpp does not go through it without loading it")
    return found


def quantise(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    kind: str = "q4_0",
    *,
    threads: int | None = None,
    requantise: bool = False,
    keep_output: bool = False,
    pure: bool = False,
    tensor_types: Mapping[str, str] | None = None,
    library: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a quantised copy of a model; the target appears whole or not at all.

    kind: "q8_0", "q4_k_m" …; "copy" leaves the weights as they are (and joins split files). requantise:
    allow a source that is quantised already. keep_output: leave output.weight alone. pure: one type for everything.
    tensor_types: {regular expression over tensor names: type}. Raises as Model, and LibraryError where
    this build of llama.cpp has no quantiser (xllamacpp's has not: name another with library=).
    """
    source, target = Path(source), Path(target)
    if not isinstance(kind, str) or kind.lower() not in {*FILE_TYPES, "copy"}:
        raise OptionError(f"{kind!r} is not a type to quantise to; there are {', '.join(FILE_TYPES)} and copy")
    keep: list[Any] = []
    found, config = prepare(source, Settings(context=512, threads=threads, gpu_layers=0), library, QUIET, keep)
    raw = found.raw
    if "llama_model_quantize" in raw.missing():
        raise LibraryError(f"{found.path.name} ({found.origin}) has no quantiser; `modkit llama install` brings one")
    params = ffi.new("llama_model_quantize_params *", raw.llama_model_quantize_default_params())
    keep.append(params)
    params.nthread = settings_threads(threads)
    params.allow_requantize, params.quantize_output_tensor = bool(requantise), not keep_output
    params.pure, params.only_copy = bool(pure), kind.lower() == "copy"
    params.ftype = FILE_TYPES.get(kind.lower(), 0)
    if tensor_types:
        params.tt_overrides = _tensor_types(found, tensor_types, keep)
    check_path(source)
    if not target.parent.is_dir():
        raise OptionError(f"{target.parent} is not a folder; the quantised model would go there")
    config.purpose = core.MK_FOR_QUANTISE
    function = int(ffi.cast("uintptr_t", raw.llama_model_quantize))
    config.quantise = core_ffi.cast("void *", function)
    config.quantise_params = core_ffi.cast("void *", int(ffi.cast("uintptr_t", params)))
    try:
        with replacing(target) as part:
            config.output = c_path(part, keep)
            _run(Worker(found, config, keep), source, "quantised").close()
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from None
    return target


def settings_threads(threads: int | None) -> int:
    """All cores by default: nobody plays while a model is quantised."""
    return threads or os.cpu_count() or 1


def _tensor_types(library: Any, wanted: Mapping[str, str], keep: list[Any]) -> Any:
    if len(wanted) > MAX_OVERRIDES:
        raise OptionError(f"tensor_types has {len(wanted)} patterns; at most {MAX_OVERRIDES} are possible")
    types = {}
    for number in range(int(library.raw.GGML_TYPE_COUNT)):
        name = library.raw.ggml_type_name(number)
        if name != ffi.NULL:
            types[ffi.string(name).decode()] = number
    overrides = ffi.new("struct llama_model_tensor_override[]", len(wanted) + 1)
    for at, (pattern, kind) in zip(overrides, wanted.items()):
        check_pattern("tensor_types", pattern)
        if kind.lower() not in types:
            raise OptionError(f"tensor_types: {kind!r} is not a type of ggml")
        text = ffi.new("char[]", pattern.encode())
        keep.append(text)
        at.pattern, at.type = text, types[kind.lower()]
    overrides[len(wanted)].type = int(library.raw.GGML_TYPE_COUNT)
    keep.append(overrides)
    return overrides

