"""A run that saves after every update, to be killed; started by test_train.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from finetune_models import TinyModel, quadratic_reward

from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.train import train

LONG = 400
SETTINGS = {"steps": 5, "buffer": 8, "batch": 4, "passes": 2, "learning_rate": 1e-2, "warmup": 3, "ema": 0.9}


def fresh(seed: int = 1, **extra: object) -> AdjointMatching:
    return AdjointMatching(TinyModel(), TinyModel(), quadratic_reward(), None, SETTINGS | extra, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(fresh(), LONG, Path(sys.argv[1]), checkpoint_seconds=0)
