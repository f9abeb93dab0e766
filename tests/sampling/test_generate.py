"""Images from seeds: independent of the batch, ordered labels, official rounding, clear refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.errors import Diverged, UserError
from drlbench.sampling.generate import balanced_labels, generate, generate_batches, initial_noise, sample_latents
from drlbench.sampling.guidance import Autoguidance, ClassifierFree
from drlbench.seeds import sample_seeds

SIZES: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 8, "in_channels": 3, "hidden_size": 16, "depth": 1, "num_heads": 4},
    "jit": {"input_size": 8, "patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 4, "bottleneck_dim": 4},
    "repa": {"input_size": 8, "in_channels": 3, "hidden_size": 16, "depth": 2, "num_heads": 4, "encoder_depth": 1},
    "rae": {"input_size": 4, "in_channels": 3, "hidden_size": [8, 16], "depth": [1, 1], "num_heads": [2, 2]},
}
SIZES["jit"] |= {"in_context_len": 2, "in_context_start": 1}


def model(name: str, seed: int = 0) -> VelocityModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = create(name, **SIZES[name], num_classes=10)
        for parameter in net.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.2)
    return wrap(net)


# SiT's own procedure is adaptive, so its steps depend on the batch: it is not in the list.
@pytest.mark.parametrize(
    ("name", "sampler"),
    [(n, s) for n in SIZES for s in ("heun", "euler")] + [(n, "official") for n in ("jit", "repa", "rae")],
)
def test_a_sample_is_the_same_whatever_the_batch_size(name: str, sampler: str) -> None:
    steps = 4
    net = model(name)
    seeds, labels = sample_seeds(3, 5), torch.tensor([0, 1, 2, 3, 9])
    whole = sample_latents(net, labels, seeds, sampler, steps, ClassifierFree(1.5))
    for i in (0, 4):
        alone = sample_latents(net, labels[i : i + 1], seeds[i : i + 1], sampler, steps, ClassifierFree(1.5))
        torch.testing.assert_close(alone, whole[i : i + 1], atol=1e-5, rtol=1e-5)
    assert (whole[0] - whole[1]).abs().max() > 0.1


def test_images_do_not_depend_on_the_batch_size() -> None:
    net, seeds = model("jit"), sample_seeds(1, 7)
    fractions: list[float] = []
    one = generate(net, balanced_labels(7, 10), seeds, steps=3, batch_size=7, progress=fractions.append)
    assert (one.shape, one.dtype, fractions) == ((7, 8, 8, 3), np.uint8, [1.0])
    fractions.clear()
    three = generate(net, balanced_labels(7, 10), seeds, steps=3, batch_size=3, progress=fractions.append)
    assert fractions == [3 / 7, 6 / 7, 1.0]
    assert np.abs(one.astype(int) - three).max() <= 1
    assert (one != three).mean() < 0.01
    parts = list(generate_batches(net, balanced_labels(7, 10), seeds, steps=3, batch_size=3))
    assert [len(p) for p in parts] == [3, 3, 1]


def test_seeds_and_noise() -> None:
    assert sample_seeds(5, 3) == sample_seeds(5, 9)[:3]
    assert len(set(sample_seeds(5, 1000) + sample_seeds(6, 1000))) == 2000
    net = model("sit")
    noise = initial_noise(net, sample_seeds(0, 200))
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02
    torch.testing.assert_close(initial_noise(net, sample_seeds(0, 200)[7:8]), noise[7:8], atol=0, rtol=0)


@pytest.mark.parametrize(("n", "counts"), [(20, [2] * 10), (23, [3] * 3 + [2] * 7), (3, [1] * 3)])
def test_labels_are_balanced_and_ordered(n: int, counts: list[int]) -> None:
    labels = balanced_labels(n, 10)
    assert (np.diff(labels) >= 0).all()
    assert np.bincount(labels).tolist() == counts


def test_noise_scale_enters_once() -> None:
    net = model("jit")
    plain = sample_latents(net, torch.tensor([1]), [7], "euler", 1)
    net.noise_scale = 2.0
    scaled = sample_latents(net, torch.tensor([1]), [7], "euler", 1)
    noise = initial_noise(net, [7])
    v = [net.velocity(s * noise, torch.zeros(1), torch.tensor([1])) for s in (1, 2)]
    torch.testing.assert_close(plain, noise + v[0])
    torch.testing.assert_close(scaled, 2 * noise + v[1])


@pytest.mark.parametrize("name", list(SIZES))
def test_bfloat16_autocast_stays_near(name: str) -> None:
    net, labels, seeds = model(name), torch.arange(4), sample_seeds(0, 4)
    exact = sample_latents(net, labels, seeds, "heun", 5)
    rough = sample_latents(net, labels, seeds, "heun", 5, autocast="bfloat16")
    assert rough.dtype == torch.float32
    relative = ((rough - exact).norm() / exact.norm()).item()
    assert 1e-5 < relative < 0.03  # bfloat16 keeps 8 bits: 0.004 per rounding


def test_official_guidance_interval_is_turned_round_for_repa() -> None:
    net = model("repa")
    seen: list[tuple[float, int]] = []
    net.net.register_forward_hook(lambda _, inputs, __: seen.append((round(inputs[1][0].item(), 3), len(inputs[0]))))
    sample_latents(net, torch.tensor([1]), [7], "official", 4, ClassifierFree(2.0, 0.3, 1.0))
    # Own time runs from 1 (noise) to 0.04: guidance for t <= 0.7.
    assert seen == [(1.0, 1), (0.68, 2), (0.36, 2), (0.04, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [1, 2]}, "2 labels for 1 seeds"),
        ({"labels": [11]}, r"label 11 is not a class of 0..9 \(10 is no label\)"),
        ({"seeds": [], "labels": []}, "no samples were asked for"),
        ({"sampler": "ddim"}, "unknown sampler 'ddim'"),
        (
            {"sampler": "official", "guidance": ClassifierFree(2.0, 0.1, 1.0)},
            "sit's official procedure has no cfg_interval",
        ),
        (
            {"sampler": "official", "guidance": Autoguidance(model("sit"), 1.5)},
            "autoguidance is no part of this backbone",
        ),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    arguments = {"labels": [1], "seeds": [7], "steps": 3, **options}
    with pytest.raises(UserError, match=message):
        generate(model("sit"), **arguments)


def test_pixels_that_are_not_finite_are_named() -> None:
    """No uint8 could show them: NaN would become black without a word."""
    own = model("sit")
    decode = own.autoencoder.decode

    def broken(latents: torch.Tensor) -> torch.Tensor:
        images = decode(latents).clone()
        images[1, 0, 0, 0] = torch.nan
        return images

    own.autoencoder.decode = broken  # type: ignore[method-assign] # an autoencoder gone wrong
    with pytest.raises(Diverged, match=r"the pixels of sample 1 are not finite \(1 of 3\)"):
        list(generate_batches(own, [0, 1, 2, 0, 1], sample_seeds(0, 5), "euler", 2, batch_size=3))
