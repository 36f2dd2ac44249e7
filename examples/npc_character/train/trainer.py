"""The training loop: a warm-up on repeats, then conversations; Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

import logging
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
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
    """One stage: how long and how fast. Lengths are in tokens, a step is ``batch`` tokens.

    For the first ``repeat_steps`` every ``repeat_every``-th row is a repeat of ``repeat_lengths`` tokens, and later
    a row is one by the chance ``repeat_later``.
    """

    seed: int = 20261120
    steps: int = 1900
    repeat_steps: int = 200
    repeat_every: int = 4
    repeat_lengths: tuple[int, ...] = (64,)
    repeat_later: float = 0.0
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


def repeats(rng: random.Random, vocab: int, length: int, parts: Sequence[int]) -> tuple[list[int], list[bool]]:
    """Random tokens, then the same again: the cheapest lesson in looking back, and copying grows out of it."""
    tokens: list[int] = []
    reply: list[bool] = []
    while len(tokens) <= length:
        part = [rng.randrange(vocab) for _ in range(parts[0] if len(parts) == 1 else rng.choice(parts))]
        tokens += part + part
        reply += [False] * len(part) + [True] * len(part)
    return tokens[: length + 1], reply[: length + 1]


FIRST = Plan()
SECOND = Plan(
    seed=20261121,
    steps=1500,
    repeat_steps=120,
    repeat_every=2,
    repeat_lengths=(16, 32, 64),
    repeat_later=0.06,
    simple_share=0.6,
    long_from=0.92,
    matrix_rate=0.008,
    embedding_rate=0.004,
    other_rate=0.002,
)
THIRD = Plan(
    seed=20261122,
    steps=600,
    repeat_steps=0,
    repeat_later=0.04,
    simple_share=0.0,
    long_from=0.9,
    matrix_rate=0.006,
    embedding_rate=0.003,
    other_rate=0.0015,
)
FOURTH = Plan(
    seed=20261123,
    steps=500,
    repeat_steps=0,
    repeat_later=0.03,
    simple_share=0.0,
    long_from=0.9,
    matrix_rate=0.005,
    embedding_rate=0.0025,
    other_rate=0.0012,
)


class Batches:
    """Deals out batches: inputs, the places in them that are learned, and the token that belongs there."""

    def __init__(self, corpus: Corpus, codec: Codec, plan: Plan, vocab: int) -> None:
        self.corpus, self.codec, self.plan, self.vocab = corpus, codec, plan, vocab
        self.rng = random.Random(plan.seed + 1)

    def _repeats(self, step: int, number: int) -> bool:
        plan = self.plan
        if step < plan.repeat_steps:
            return number % plan.repeat_every == plan.repeat_every - 1
        return plan.repeat_later > 0 and self.rng.random() < plan.repeat_later

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        plan = self.plan
        late = step >= plan.long_from * plan.steps
        length = plan.long_length if late else plan.length
        self.corpus.simple = step < plan.simple_share * plan.steps
        source = rows(self.corpus, self.codec, length)
        lot = [
            repeats(self.rng, self.vocab, length, plan.repeat_lengths) if self._repeats(step, number) else next(source)
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


def save(path: Path, model: Llama, opts: list[torch.optim.Optimizer], stage: int, step: int) -> None:
    draft = path.with_suffix(".partial")
    state = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts], "stage": stage, "step": step}
    torch.save({**state, "shape": asdict(model.shape)}, draft)
    draft.replace(path)


def fit(
    stages: Sequence[tuple[Plan, Corpus]],
    codec: Codec,
    shape: Shape,
    checkpoint: Path,
    *,
    resume: bool = False,
    on_save: Callable[[Llama], None] | None = None,
) -> Llama:
    """Train through the stages; saves to ``checkpoint`` every four minutes, and ``resume`` goes on from there.

    What comes back is the mean of the weights at the ends of the last two stages: each stage takes something from what
    the one before has taught, and halfway between them lies more of both.
    """
    torch.manual_seed(stages[0][0].seed)
    model = Llama(shape)
    at, first, kept_opts = 0, 0, None
    if resume and checkpoint.exists():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        at, first, kept_opts = int(state["stage"]), int(state["step"]) + 1, state["opts"]
    # Compiling gains a quarter of the time; without a C++ compiler the plain network does.
    forward = torch.compile(model, dynamic=False) if shutil.which("g++") else model
    for stage in range(at, len(stages)):
        plan, corpus = stages[stage]
        opts = optimizers(model, plan)
        if kept_opts is not None and first < plan.steps:
            for opt, saved in zip(opts, kept_opts, strict=True):
                opt.load_state_dict(saved)
            corpus.rng.seed(plan.seed + first)

        def keep(step: int, stage: int = stage, opts: list[torch.optim.Optimizer] = opts) -> None:
            save(checkpoint, model, opts, stage, step)
            if on_save:
                on_save(model)

        _stage(model, forward, opts, plan, Batches(corpus, codec, plan, shape.vocab), first, keep)
        torch.save(model.state_dict(), _end_of(checkpoint, stage))
        first, kept_opts = 0, None
    if len(stages) > 1:
        ends = [torch.load(_end_of(checkpoint, len(stages) - back), weights_only=True) for back in (1, 2)]
        model.load_state_dict({name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]})
    return model.eval()


def _end_of(checkpoint: Path, stage: int) -> Path:
    return checkpoint.with_name(f"stage{stage + 1}.pt")


def _stage(
    model: Llama,
    forward: Any,
    opts: list[torch.optim.Optimizer],
    plan: Plan,
    batches: Batches,
    first: int,
    keep: Callable[[int], None],
) -> None:
    groups = [group for opt in opts for group in opt.param_groups]
    full = [plan.matrix_rate, plan.embedding_rate, plan.other_rate]

    def loss_of(tokens: Tensor, places: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(forward(tokens).flatten(0, 1)[places])
        return F.cross_entropy(logits.float(), wanted)

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
            passed = time.monotonic() - started
            pace = (step - first + 1) * plan.batch / passed
            log.info("step %d of %d, loss %.3f, %.0f tokens/s, %.0f s", step, plan.steps, shown, pace, passed)
        if time.monotonic() - kept > 240 or step == plan.steps - 1:
            keep(step)
            kept = time.monotonic()
