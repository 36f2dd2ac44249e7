"""llama.cpp's params structs, filled from checked options.

The structs point at arrays (devices, overrides, patterns) that must live until the model is loaded and
its contexts are made: `keep` lists hold them, and the Worker holds that. Host's thread; no file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.native._core import ffi as core_ffi
from modkit.native.loading import KV_TYPES, NUMA, PRIORITIES, ROPE_SCALINGS, SPLIT_MODES, LoadOptions

if TYPE_CHECKING:
    from modkit.native.library import Device, Library

__all__ = ["EXPERTS", "devices_in_use", "fill_context", "fill_model", "fill_threadpool", "use_numa"]

# the tensors of a mixture's experts, as llama.cpp's own --cpu-moe names them
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
_numa_in_use: dict[object, str] = {}


def fill_model(library: Library, options: LoadOptions, keep: list[Any]) -> tuple[Any, Any]:
    """(block, view) of the model params; raises OptionError for devices that are not there."""
    block, model = library.model_params()
    model.split_mode = SPLIT_MODES[options.split_mode]
    model.check_tensors = options.check_tensors
    model.use_extra_bufts = options.repack
    if options.mlock:
        model.load_mode = 2 if options.mmap is False else 3
    elif options.mmap is not None:
        model.load_mode = int(options.mmap)
    model.main_gpu = _main_gpu(library, options)
    _fill_devices(library, options, model, keep)
    _fill_overrides(library, options, model, keep)
    _fill_placement(library, options, model, keep)
    return block, model


def fill_context(library: Library, options: LoadOptions) -> tuple[Any, Any]:
    """(block, view) of the context params, sizes and threads left to the caller."""
    block, context = library.context_params()
    context.type_k, context.type_v = (KV_TYPES[kind] for kind in options.kv_types)
    flash = options.flash_attention
    context.flash_attn_type = -1 if flash == "auto" else int(bool(flash))
    if options.rope_scaling is not None:
        context.rope_scaling_type = ROPE_SCALINGS[options.rope_scaling]
    for name, at in (
        ("rope_base", "rope_freq_base"),
        ("rope_scale", "rope_freq_scale"),
        ("yarn_ext_factor", "yarn_ext_factor"),
        ("yarn_attn_factor", "yarn_attn_factor"),
        ("yarn_beta_fast", "yarn_beta_fast"),
        ("yarn_beta_slow", "yarn_beta_slow"),
        ("yarn_context", "yarn_orig_ctx"),
    ):
        value = getattr(options, name)
        if value is not None:
            setattr(context, at, value)
    context.offload_kqv = options.kv_on_gpu
    context.op_offload = options.ops_on_gpu
    context.no_perf = not options.perf
    return block, context


def fill_threadpool(library: Library, options: LoadOptions, threads: int, config: Any) -> None:
    """The compute threads' pool, when something about it was asked for; OpenMP builds ignore it."""
    if options.priority is None and options.poll is None and options.cpus is None:
        return
    raw, ffi = library.raw, library.ffi
    params = ffi.new("struct ggml_threadpool_params *")
    raw.ggml_threadpool_params_init(params, threads)
    params.prio = PRIORITIES[options.priority or "normal"]
    if options.poll is not None:
        params.poll = options.poll
    for cpu in options.cpus or ():
        params.cpumask[cpu] = True
    size = ffi.sizeof("struct ggml_threadpool_params")
    core_ffi.memmove(core_ffi.addressof(config, "threadpool_params"), ffi.buffer(params), size)
    for name in ("threadpool_new", "threadpool_free"):
        function = getattr(raw, f"ggml_{name}")
        setattr(config, name, core_ffi.cast("void *", int(ffi.cast("uintptr_t", function))))


def use_numa(library: Library, options: LoadOptions) -> None:
    """For the whole process, and so only once; raises OptionError when it was set otherwise before."""
    if options.numa is None:
        return
    before = _numa_in_use.setdefault(library.path, options.numa)
    if before != options.numa:
        raise OptionError(f"numa={options.numa!r}: this process uses {before!r} already, for all its engines")
    library.raw.llama_numa_init(NUMA[options.numa])


def _device(library: Library, name: str) -> Any:
    found = library.raw.ggml_backend_dev_by_name(name.encode())
    if found == library.ffi.NULL:
        known = ", ".join(device.name for device in library.devices())
        raise OptionError(f"there is no device {name!r}; this llama.cpp sees {known}")
    return found


def _main_gpu(library: Library, options: LoadOptions) -> int:
    """main_gpu is an index among the devices in use."""
    if not isinstance(options.main_gpu, str):
        return options.main_gpu
    used = options.devices if options.devices is not None else [d.name for d in library.gpus()]
    _device(library, options.main_gpu)
    if options.main_gpu not in used:
        raise OptionError(f"main_gpu={options.main_gpu!r} is not among the devices in use: {', '.join(used)}")
    return list(used).index(options.main_gpu)


def devices_in_use(library: Library, options: LoadOptions) -> list[Device]:
    """The GPUs that layers may go to, in llama.cpp's order."""
    used = library.gpus()
    if options.devices is not None:
        by_name = {device.name: device for device in library.devices()}
        used = [by_name[name] for name in options.devices if name in by_name and by_name[name].kind != "cpu"]
    if options.split_mode == "none" and used:
        main = _main_gpu(library, options)
        used = used[main : main + 1] or used[:1]
    return used


def _fill_devices(library: Library, options: LoadOptions, model: Any, keep: list[Any]) -> None:
    ffi = library.ffi
    if options.devices is not None:
        devices = [_device(library, name) for name in options.devices]
        if len(set(map(str, devices))) != len(devices):
            raise OptionError(f"devices={list(options.devices)!r} names one twice")
        ended = ffi.new("ggml_backend_dev_t[]", [*devices, ffi.NULL])
        model.devices = ended
        keep.append(ended)  # not model.devices, which owns nothing
    if options.tensor_split is not None:
        room = int(library.raw.llama_max_devices())
        if len(options.tensor_split) > room:
            raise OptionError(f"tensor_split has {len(options.tensor_split)} shares; there are at most {room} devices")
        shares = ffi.new("float[]", room)
        shares[0 : len(options.tensor_split)] = [float(share) for share in options.tensor_split]
        model.tensor_split = shares
        keep.append(shares)


def _fill_overrides(library: Library, options: LoadOptions, model: Any, keep: list[Any]) -> None:
    if not options.overrides:
        return
    overrides = library.ffi.new("struct llama_model_kv_override[]", len(options.overrides) + 1)  # the last ends it
    for at, (key, value) in zip(overrides, options.overrides.items()):
        at.key = key.encode("utf-8", "replace")
        if isinstance(value, bool):
            at.tag, at.val_bool = 2, value
        elif isinstance(value, int):
            at.tag, at.val_i64 = 0, value
        elif isinstance(value, float):
            at.tag, at.val_f64 = 1, value
        else:
            at.tag, at.val_str = 3, value.encode("utf-8", "replace")
    model.kv_overrides = overrides
    keep.append(overrides)


def _buffer_type(library: Library, name: str) -> Any:
    """By the name of a device or of its buffers; raises OptionError."""
    raw = library.raw
    if name.upper() == "CPU":
        return raw.ggml_backend_cpu_buffer_type()
    return raw.ggml_backend_dev_buffer_type(_device(library, name))


def _fill_placement(library: Library, options: LoadOptions, model: Any, keep: list[Any]) -> None:
    wanted = dict(options.placement)
    if options.experts_on_cpu:
        wanted[EXPERTS] = "CPU"
    if not wanted:
        return
    ffi = library.ffi
    room = int(library.raw.llama_max_tensor_buft_overrides())
    if len(wanted) >= room:
        raise OptionError(f"placement has {len(wanted)} patterns; at most {room - 1} are possible")
    overrides = ffi.new("struct llama_model_tensor_buft_override[]", len(wanted) + 1)
    for at, (pattern, where) in zip(overrides, wanted.items()):
        text = ffi.new("char[]", pattern.encode())
        keep.append(text)
        at.pattern, at.buft = text, _buffer_type(library, where)
    model.tensor_buft_overrides = overrides
    keep.append(overrides)
