"""A larger model of the digits as a teacher: what a distillation is made of where Stable Diffusion is too large."""

from __future__ import annotations

from pathlib import Path

import torch

from drlbench import backbones
from drlbench.backbones.base import Backbone
from drlbench.backbones.pretrain import pretrain
from drlbench.data.dataset import Dataset
from drlbench.data.digits import digits
from drlbench.data.npz import save_npz
from drlbench.sampling.generate import balanced_labels, generate
from drlbench.seeds import sample_seeds, seed_of, seeded
from drlbench.training import to_float

ARCHITECTURE = {
    "input_size": 8, "patch_size": 2, "in_channels": 1, "hidden_size": 32, "depth": 2, "num_heads": 4,
    "num_classes": 10, "learn_sigma": False,
}  # fmt: skip
STEPS = 30  # of Heun's method


def draw_digits(out: Path, train: int, held_out: int, updates: int, seed: int) -> None:
    """Train a SiT on the real train digits and write balanced samples of it, two splits from fresh noise, to an npz."""
    real = digits()
    with seeded(seed_of("teacher", "weights", seed)):
        net = backbones.create("sit", **ARCHITECTURE)
    assert isinstance(net, Backbone)
    model = backbones.wrap(net)
    with torch.no_grad():
        latents = model.encode(to_float(real.train_images))
    labels = torch.from_numpy(real.train_labels)
    pretrain(model, latents, labels, {"steps": updates, "lr": 0.01}, seed_of("teacher", "training", seed))
    images, given = [], []
    for split, count in (("train", train), ("held-out", held_out)):
        y = balanced_labels(count, real.num_classes)
        images.append(generate(model, y, sample_seeds(seed_of("teacher", split, seed), count), steps=STEPS))
        given.append(y)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Dataset("digits of a teacher", images[0], given[0], images[1], given[1], real.class_names)
    save_npz(made, out)
