"""The counted operations against PyTorch's counter, and against the arithmetic published with the method."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drlbench.backbones import create
from drlbench.cost.arithmetic import (
    ENCODER_TFLOP,
    PEAK_TFLOPS,
    forward_tflop,
    latent_values,
    sampling_tflop,
    trajectories,
    trajectory_tflop,
)
from drlbench.finetune.presets import preset
from drlbench.weights.catalogue import ASSETS


@pytest.mark.parametrize(
    "size",
    [
        "sit-xl-2",
        "sit-s-4",
        "sit-xl-2-512",
        "repa-sit-xl-2",
        "jit-h-16",
        "jit-l-16",
        "jit-b-32",
        "rae-ditdh-xl",
        "rae-ditdh-s",
    ],
)
def test_forward(size: str) -> None:
    with torch.device("meta"):
        net = create(size)
        x, t, y = torch.empty(1, *net.latent_shape), torch.empty(1), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(x, t, y)
    assert forward_tflop(size, {}) == pytest.approx(counter.get_total_flops() / 1e12, rel=0.03)
    assert latent_values(size, {}) == x.numel()


def test_a_given_architecture() -> None:
    assert forward_tflop("sit", {"depth": 14}) == pytest.approx(forward_tflop("sit-xl-2", {}) / 2)
    assert forward_tflop("a-plug-in", {}) == 0.0


def test_the_papers_recipe() -> None:
    """345,600 trajectories of 213 TFLOP for SiT-XL/2: 26 H200-hours."""
    settings = preset("adjoint-matching", "sit")
    assert trajectories(3000, settings) == 345_600
    each = trajectory_tflop(0.237, 0.0, settings)
    assert each == pytest.approx(213, rel=0.005)
    assert 345_600 * each / PEAK_TFLOPS / 3600 == pytest.approx(26, rel=0.01)


def test_sampling() -> None:
    assert sampling_tflop(1.0, 0.5, 99) == 99.5
    assert sampling_tflop(1.0, 0.0, 99, 2.0, 0.1, 1.0) == pytest.approx(99 * 1.9)


def test_constants_name_files_of_the_catalogue() -> None:
    assert set(ENCODER_TFLOP) <= set(ASSETS)
