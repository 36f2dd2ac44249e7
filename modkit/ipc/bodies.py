"""Bodies of the OpenAI protocol: what options become in a request, and what answers mean."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modkit.engine.template import check_messages
from modkit.errors import OptionError
from modkit.native.sampling import Options

if TYPE_CHECKING:
    from modkit.engine.protocol import Message

__all__ = ["chat_form", "fields_of", "model_of", "plain_messages", "scores_of", "vectors_of"]

# Options by the name that servers know them under; those after the bar are llama-server's and vLLM's own.
_NAMES = {
    "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed", "stop": "stop",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty",
}  # fmt: skip
_LOCAL = frozenset({"repeat_last_n", "pin", "priority"})  # of no meaning to another machine, and no harm
# What a server says of its model (vLLM in the model itself, llama-server in its "meta"): Engine.info's names for it.
_SAID = {
    "max_model_len": "context", "n_ctx": "context", "n_ctx_train": "context_train", "n_vocab": "vocab",
    "n_embd": "embedding", "n_params": "parameters", "size": "bytes",
}  # fmt: skip


def fields_of(options: dict[str, Any]) -> dict[str, Any]:
    """The options as a request's fields; what is at its default is the server's to decide. Raises OptionError."""
    chosen = Options.of(options)
    made: dict[str, Any] = {}
    for name, value in vars(chosen).items():
        default = Options.__dataclass_fields__[name].default
        if name in _NAMES:
            if value != default or name in ("max_tokens", "temperature"):
                made[_NAMES[name]] = list(value) if isinstance(value, (list, tuple)) else value
        elif name == "grammar":
            grammar = chosen.plain_grammar()
            if grammar is not None:
                made["grammar"] = grammar["gbnf"]  # llama-server's name for it
        elif name == "logprobs":
            if value:
                made["logprobs"] = value
        elif value != default and name not in _LOCAL:
            raise OptionError(f"{name}= is not part of the OpenAI protocol: leave it out with a RemoteEngine")
    return made


def chat_form(fields: dict[str, Any]) -> dict[str, Any]:
    """With log-probabilities as a chat is asked for them."""
    n = fields.get("logprobs")
    return {**fields, "logprobs": True, "top_logprobs": n} if n else fields


def plain_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Roles and contents alone: tokens belong to the model that made them."""
    return [{"role": m["role"], "content": m["content"]} for m in check_messages(messages)]


def model_of(answer: Any) -> dict[str, Any]:
    """What the first model of a server's list is; {} when it says nothing that can be used."""
    models = answer.get("data") if isinstance(answer, dict) else None
    first = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
    meta = first.get("meta")
    info: dict[str, Any] = {}
    if isinstance(first.get("id"), str):
        info["name"] = first["id"][:200]
    for said in (meta if isinstance(meta, dict) else {}, first):
        for key, name in _SAID.items():
            if type(said.get(key)) is int and said[key] > 0:
                info[name] = said[key]
    return info


def vectors_of(body: Any) -> memoryview[float]:
    """The rows of an answer of /embeddings. Raises what a malformed one makes it raise."""
    rows = sorted(body["data"], key=lambda row: row["index"])
    flat = array("f")
    for row in rows:
        flat.extend(row["embedding"])
    return memoryview(flat).cast("B").cast("f", shape=[len(rows), len(flat) // len(rows)])


def scores_of(body: Any) -> list[float]:
    """The scores of an answer of /rerank, in the order of the texts. Raises as vectors_of()."""
    rows = body["results"]
    scores = [0.0] * len(rows)
    for row in rows:
        scores[row["index"]] = float(row["relevance_score"])
    return scores
