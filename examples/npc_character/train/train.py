"""Builds Sable's model from nothing but this folder and her dump: ``python examples/npc_character/train/train.py``.

Corpus, vocabulary, four stages of training and ``sable.gguf``, in that order; the seeds fix all of it. Takes an
hour or two on two cores. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import export
import tokenizer
import torch
from corpus import Corpus
from lessons import AT_PLAY, REHEARSAL, Lessons
from model import Llama, Shape
from trainer import FIRST, FOURTH, SECOND, THIRD, fit

HOME = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train Sable's model.")
    parser.add_argument("-o", "--out", type=Path, default=HOME / "sable.gguf", help="the GGUF to write")
    parser.add_argument(
        "--work", type=Path, default=HOME / "train" / "work", help="where vocabulary and checkpoint are kept"
    )
    parser.add_argument("--steps", type=int, nargs=4, metavar="N", help="training steps of 4,096 tokens of each stage")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)

    plans, shape = [FIRST, SECOND, THIRD, FOURTH], Shape()
    if options.steps:
        plans = [replace(plan, steps=steps) for plan, steps in zip(plans, options.steps, strict=True)]
    words = options.work / "tokenizer.json"
    if not (options.resume and words.exists()):
        tokenizer.train(Corpus(HOME, plans[0].seed).texts(), shape.vocab).save(str(words))
    codec = tokenizer.Codec(tokenizer.load(words))

    def write(model: Llama) -> None:
        export.write(model, codec.tokenizer, options.out)

    corpus, lessons = Corpus(HOME, plans[0].seed), Lessons(HOME, plans[1].seed)
    rehearsal, play = Lessons(HOME, plans[2].seed, REHEARSAL), Lessons(HOME, plans[3].seed, AT_PLAY, offered=0.7)
    logging.info("%d topics, %d lines of hers, %d cues", len(corpus.topics), len(corpus.lines), len(corpus.cues))
    stages = list(zip(plans, (corpus, lessons, rehearsal, play), strict=True))
    model = fit(stages, codec, shape, options.work / "checkpoint.pt", resume=options.resume, on_save=write)
    write(model)
    logging.info("%s: %d weights, %d bytes", options.out.name, model.count(), options.out.stat().st_size)


if __name__ == "__main__":
    main()
