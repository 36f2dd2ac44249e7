"""The training loop: a warm-up on repeats, then conversations; Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

import logging
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from corpus import Corpus
from model import Llama, Shape
from tokenizer import Codec
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger("sable.train")


@dataclass(frozen=True)
class Plan:
    """How long and how fast. Lengths are in tokens, a step is ``batch`` tokens."""

    seed: int = 20261120
    steps: int = 1900
    repeat_steps: int = 200
    simple_share: float = 0.3
    long_from: float = 0.8
    batch: int = 4096
    length: int = 512
    long_length: int = 1024
    matrix_rate: float = 0.01
    embedding_rate: float = 0.006
    other_rate: float = 0.003
    rest_share: float = 0.06


def rows(corpus: Corpus, codec: Codec, length: int) -> Iterator[tuple[list[int], list[bool]]]:
    """Conversations of exactly ``length + 1`` tokens, cut at the end, and what of them is reply."""
    card = codec.message("system", corpus.card)
    while True:
        tokens, reply = list(card[0]), list(card[1])
        while len(tokens) <= length:
            for content, answer in corpus.turns():
                for role, text in (("user", content), ("assistant", answer)):
                    ids, mask = codec.message(role, text)
                    tokens += ids
                    reply += mask
        yield tokens[: length + 1], reply[: length + 1]


def repeats(rng: random.Random, vocab: int, length: int) -> tuple[list[int], list[bool]]:
    """Random tokens, then the same again: the cheapest lesson in looking back, and copying grows out of it."""
    tokens: list[int] = []
    reply: list[bool] = []
    while len(tokens) <= length:
        part = [rng.randrange(vocab) for _ in range(64)]
        tokens += part + part
        reply += [False] * len(part) + [True] * len(part)
    return tokens[: length + 1], reply[: length + 1]


class Batches:
    """Deals out batches: inputs, the places in them that are learned, and the token that belongs there."""

    def __init__(self, corpus: Corpus, codec: Codec, plan: Plan, vocab: int) -> None:
        self.corpus, self.codec, self.plan, self.vocab = corpus, codec, plan, vocab
        self.rng = random.Random(plan.seed + 1)

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        plan = self.plan
        late = step >= plan.long_from * plan.steps
        length = plan.long_length if late else plan.length
        self.corpus.simple = step < plan.simple_share * plan.steps
        source = rows(self.corpus, self.codec, length)
        warm = step < plan.repeat_steps
        lot = [
            repeats(self.rng, self.vocab, length) if warm and number % 4 == 3 else next(source)
            for number in range(plan.batch // length)
        ]
        tokens = torch.tensor([row for row, _ in lot])
        learn = torch.tensor([mask for _, mask in lot])[:, 1:]
        # Learning a random few of the other tokens costs less than weighing down the loss of all of them.
        chance = torch.rand(learn.shape, generator=torch.Generator().manual_seed(self.rng.getrandbits(32)))
        places = (learn | (chance < plan.rest_share)).flatten().nonzero().squeeze(1)
        return tokens[:, :-1].contiguous(), places, tokens[:, 1:].flatten()[places]


def optimizers(model: Llama, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks; AdamW for embeddings, output and norms."""
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if name.startswith("blk.") and p.ndim == 2]
    others = [p for name, p in named.items() if p.ndim == 1 or name == "output.weight"]
    embeddings = {"params": [named["token_embd.weight"]], "lr": plan.embedding_rate}
    return [
        torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW([embeddings, {"params": others, "lr": plan.other_rate}], betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, plan: Plan) -> float:
    """The share of the full learning rate at ``step``: a short rise, then a cosine down to 2 %."""
    if step < 60:
        return (step + 1) / 60
    done = (step - 60) / max(1, plan.steps - 60)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def save(path: Path, model: Llama, opts: list[torch.optim.Optimizer], step: int) -> None:
    draft = path.with_suffix(".partial")
    state = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts], "step": step}
    torch.save({**state, "shape": asdict(model.shape)}, draft)
    draft.replace(path)


def fit(
    corpus: Corpus,
    codec: Codec,
    shape: Shape,
    plan: Plan,
    checkpoint: Path,
    *,
    resume: bool = False,
    on_save: Callable[[Llama], None] | None = None,
) -> Llama:
    """Train and return the network. Saves to ``checkpoint`` every four minutes; ``resume`` goes on from there."""
    torch.manual_seed(plan.seed)
    model = Llama(shape)
    opts = optimizers(model, plan)
    first = 0
    if resume and checkpoint.exists():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["opts"], strict=True):
            opt.load_state_dict(saved)
        first = int(state["step"]) + 1
        corpus.rng.seed(plan.seed + first)
    groups = [group for opt in opts for group in opt.param_groups]
    full = [plan.matrix_rate, plan.embedding_rate, plan.other_rate]
    # Compiling gains a quarter of the time; without a C++ compiler the plain network does.
    forward = torch.compile(model, dynamic=False) if shutil.which("g++") else model

    def loss_of(tokens: Tensor, places: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(forward(tokens).flatten(0, 1)[places])
        return F.cross_entropy(logits.float(), wanted)

    batches = Batches(corpus, codec, plan, shape.vocab)
    started = kept = time.monotonic()
    shown = 0.0
    for step in range(first, plan.steps):
        for group, top in zip(groups, full, strict=True):
            group["lr"] = top * rate(step, plan)
        loss = loss_of(*batches.draw(step))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        shown = 0.95 * shown + 0.05 * loss.item() if step > first else loss.item()
        if step % 10 == 0:
            pace = (step - first + 1) * plan.batch / (time.monotonic() - started)
            log.info(
                "step %d of %d, loss %.3f, %.0f tokens/s, %.0f s",
                step,
                plan.steps,
                shown,
                pace,
                time.monotonic() - started,
            )
        if time.monotonic() - kept > 240 or step == plan.steps - 1:
            save(checkpoint, model, opts, step)
            kept = time.monotonic()
            if on_save:
                on_save(model)
    return model.eval()
