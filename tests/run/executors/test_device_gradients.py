"""Gradients that a GPU is to repeat, against those that torch takes by itself on a CPU."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch.nn import functional as F

from drlbench.encoders.preprocess import RepeatableResize


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "to"), [((9, 14), (5, 6)), ((6, 5), (11, 13)), ((8, 7), (8, 3))])
def test_resize_has_the_value_and_gradient_of_interpolate(kind, size, to):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *size, generator=draw).requires_grad_()
    weight = torch.randn(2, 3, *to, generator=draw)
    mine = RepeatableResize.apply(images, *to, kind)
    theirs = F.interpolate(images, size=to, mode=kind, antialias=True, align_corners=False)
    assert torch.equal(mine, theirs)
    (found,) = torch.autograd.grad((mine * weight).sum(), images)
    (wanted,) = torch.autograd.grad((theirs * weight).sum(), images)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_resize_can_be_differentiated_twice():
    """An R1 penalty: the gradient of a squared gradient."""
    images = torch.randn(1, 1, 5, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def penalty(resize) -> torch.Tensor:
        (slope,) = torch.autograd.grad(resize(images).pow(3).sum(), images, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), images)[0]

    mine = penalty(lambda x: RepeatableResize.apply(x, 3, 7, "bicubic"))
    # Its own gradient cannot be differentiated, so the same resize as products of matrices stands for it.
    rows = F.interpolate(torch.eye(5)[None, None], size=(3, 5), mode="bicubic", antialias=True)[0, 0]
    columns = F.interpolate(torch.eye(4)[None, None], size=(7, 4), mode="bicubic", antialias=True)[0, 0]
    assert torch.allclose(mine, penalty(lambda x: rows @ x @ columns.T), rtol=1e-4, atol=1e-4)


def test_a_running_sum_in_float64_has_the_bits_of_a_cpu_s_cumsum():
    values = torch.randn(19, 50, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.stack(list(accumulate(values.double()))).float(), values.cumsum(0))
