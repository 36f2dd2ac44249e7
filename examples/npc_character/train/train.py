"""Builds Sable's model from nothing but this folder and her dump: ``python examples/npc_character/train/train.py``.

Corpus, vocabulary, training and ``sable.gguf``, in that order; the seed fixes all of it. Takes about forty
minutes on two cores. See README.md beside this file.
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
from model import Llama, Shape
from trainer import Plan, fit

HOME = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train Sable's model.")
    parser.add_argument("-o", "--out", type=Path, default=HOME / "sable.gguf", help="the GGUF to write")
    parser.add_argument(
        "--work", type=Path, default=HOME / "train" / "work", help="where vocabulary and checkpoint are kept"
    )
    parser.add_argument("--steps", type=int, default=Plan.steps, help="training steps of 4,096 tokens")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--more", action="store_true", help="train on the wordings of topics/more as well")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)

    plan, shape = replace(Plan(), steps=options.steps), Shape()
    words = options.work / "tokenizer.json"
    if not (options.resume and words.exists()):
        tokenizer.train(Corpus(HOME, plan.seed, options.more).texts(), shape.vocab).save(str(words))
    codec = tokenizer.Codec(tokenizer.load(words))

    def write(model: Llama) -> None:
        export.write(model, codec.tokenizer, options.out)

    corpus = Corpus(HOME, plan.seed, options.more)
    logging.info("%d topics, %d lines of hers, %d cues", len(corpus.topics), len(corpus.lines), len(corpus.cues))
    model = fit(corpus, codec, shape, plan, options.work / "checkpoint.pt", resume=options.resume, on_save=write)
    write(model)
    logging.info("%s: %d weights, %d bytes", options.out.name, model.count(), options.out.stat().st_size)


if __name__ == "__main__":
    main()
