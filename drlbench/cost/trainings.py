"""Every training that a suite asks for outside its fine-tunes, a step or all of it, counted once on the meta device.

Shapes: C channels, H and W height and width, T tokens of Z features.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch

from drlbench.backbones.pretrain import PretrainSettings, flow_matching_loss
from drlbench.cost.counting import Count, counted
from drlbench.cost.network import META, Passes
from drlbench.cost.networks import (
    NotCounted,
    Shape,
    class_labels,
    encoder_of,
    model,
    remembered,
    text,
    without_weights,
)
from drlbench.encoders.small import SmallEncoder
from drlbench.registry import ENCODERS
from drlbench.rewards.bradley_terry import BradleyTerry
from drlbench.rewards.discriminator_fit import rehearsal


@remembered
def decoder_training(key: tuple[Any, ...]) -> Count:
    """One latent through the decoder of an autoencoder that is fitted here, with the gradient of its weights."""
    found: Any = copy.deepcopy(model(*key))  # its decoder is trained, those of others are not
    found.autoencoder.decoder.requires_grad_(True)
    return Passes(found.autoencoder, found.decode, found.latent_shape).trained


@remembered
def pretraining(key: tuple[Any, ...], settings: str, tokens: tuple[int, int] | None) -> Count:
    """One latent in one step of flow matching, with REPA's projections to tokens (T, Z) where there are any."""
    found, record = copy.deepcopy(model(*key)), PretrainSettings(**json.loads(settings))
    x = torch.empty(1, *found.latent_shape, device=META)
    seen = None if tokens is None else torch.empty(1, *tokens, device=META)
    generator = torch.Generator()

    def step() -> None:
        flow_matching_loss(found, x, class_labels(1), record, generator, seen).backward()

    return counted(step)


@remembered
def encoder_training(key: str, image: Shape, images: int, classes: int) -> Count:
    """All of an encoder's training on so many images."""
    name, settings = json.loads(key)
    kind, given = ENCODERS.get(name), json.loads(settings)
    if not issubclass(kind, SmallEncoder):
        raise NotCounted(f"encoder {name} does not say what its training takes")
    return _by_steps(lambda chosen: kind.rehearse(chosen, image, images, classes), given)


def _by_steps(train: Any, settings: dict[str, Any]) -> Count:
    """A training of many steps, from its first two."""
    steps = settings.get("steps")
    if steps is None:
        return counted(lambda: train(settings))
    one = counted(lambda: train(settings | {"steps": 1}))
    two = counted(lambda: train(settings | {"steps": 2}))
    return one.plus(two.plus(one, -1), steps - 1)


def discriminator_step(settings: str, encoders: tuple[str, ...], image: Shape, classes: int) -> tuple[Count, Count]:
    """One step of a discriminator's fit: the logistic loss of a mini-batch, and what R1 adds where it is due."""
    given = json.loads(settings)
    # Rates, lengths and how strong R1 is are nothing to a step, and R1's second derivatives take seconds to count.
    own = {name: value for name, value in given.items() if name not in ("learning_rate", "weight_decay", "steps")}
    return _discriminator_step(text(own | {"r1": float(given["r1"] > 0)}), encoders, image, classes)


@remembered
def _discriminator_step(settings: str, encoders: tuple[str, ...], image: Shape, classes: int) -> tuple[Count, Count]:
    given = json.loads(settings)
    at_once, every = given["micro_batch"] or given["batch"], given["r1_every"]

    def step(r1: float) -> Count:
        with without_weights("discriminator"):
            whole = given | {"micro_batch": None, "r1": r1}  # pieces are more kernels of the same operations
            take = rehearsal([encoder_of(key, image) for key in encoders], whole, image, classes)
        return counted(lambda: take(every))

    plain, smooth = step(0.0), Count(0, 0, 0)
    if given["r1"]:
        smooth = step(given["r1"]).plus(plain, -1)
        pieces = -(-(given["r1_images"] or given["batch"] // 2) // at_once)
        smooth = Count(smooth.flops, pieces * smooth.kernels, smooth.draws)
    return plain, smooth


@remembered
def preference_training(settings: str, image: Shape, classes: int) -> Count:
    """All of the training of a Bradley-Terry reward on pairs."""
    return _by_steps(lambda chosen: BradleyTerry.rehearse(chosen, image, classes), json.loads(settings))
