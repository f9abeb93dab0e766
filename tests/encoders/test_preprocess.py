"""Resizers against what the published tools feed their networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drlbench.encoders.preprocess import HALF, IMAGENET, OPENAI_CLIP, Preprocess, quantise

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
IMAGES = ("a_32", "b_256", "c_360x280")


def load(name):
    with np.load(GOLDEN / "images_uint8.npz") as file:
        return torch.from_numpy(file[name]).permute(2, 0, 1)[None].float() / 255


def golden(key):
    with np.load(GOLDEN / "preprocess_stride5.npz") as file:
        return file[key]


# (tool, our preprocessing, whether the tool rounds to 8 bits in between)
CASES = [
    ("edm2_dinov2_torch", Preprocess(224, "bicubic", "squash", False, *IMAGENET), False),
    ("hf_dinov3_224", Preprocess(224, "bilinear", "squash", False, *IMAGENET), False),
    ("dgm_eval_dinov2", Preprocess(224, "bicubic", "squash", True, *IMAGENET), True),
    ("imagereward_openai_clip_transform", Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP), True),
    ("open_clip_3.3_image_transform", Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP), True),
    ("hf_clip_224_pil_backend", Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP), True),
    ("hf_clip_224(PickScore)", Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP), True),
    ("cmmd_336", Preprocess(336, "bicubic", "square", True, *OPENAI_CLIP), True),
]
# Where a sum falls on half a grey level, either neighbour is right. How often that is depends on the image: on flat
# ones often, so the bound is far above what is seen here (at most 0.6 %) and far below what a wrong filter does.
ON_THE_EDGE = 0.05


@pytest.mark.parametrize(("tool", "preprocess", "rounds"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("name", IMAGES)
def test_against_the_tool(tool, preprocess, rounds, name):
    found = preprocess(load(name))[0, :, ::5, ::5].numpy()
    error = np.abs(found - golden(f"{name}/{tool}"))
    assert (error > 1e-5).mean() <= (ON_THE_EDGE if rounds else 0.0)
    assert error.max() < 1.01 / 255 / min(preprocess.std)


@pytest.mark.parametrize("name", IMAGES)
def test_a_wrong_filter_would_be_seen(name):
    wrong = Preprocess(224, "bilinear", "crop", True, *OPENAI_CLIP)(load(name))[0, :, ::5, ::5].numpy()
    error = np.abs(wrong - golden(f"{name}/hf_clip_224_pil_backend"))
    assert (error > 1e-5).mean() > 4 * ON_THE_EDGE


def test_pad_puts_the_whole_image_on_black():
    image = torch.ones(1, 3, 30, 60)
    found = Preprocess(224, "bicubic", "pad", False, *HALF)(image)
    assert found.shape == (1, 3, 224, 224)
    assert found[0, 0, 0, 0] == -1 and found[0, 0, 112, 112] == pytest.approx(1.0, abs=1e-5)
    assert (found[0, 0, :, 100] > 0).sum() == 112


def test_gradients_pass_through_the_rounding_and_grey_becomes_colour():
    # Far enough from black and white that no filter goes beyond them.
    image = (0.3 + 0.4 * torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))).requires_grad_()
    rounded = Preprocess(32, "bicubic", "squash", True, *IMAGENET)
    plain = Preprocess(32, "bicubic", "squash", False, *IMAGENET)
    gradients = []
    for preprocess in (rounded, plain):
        found = preprocess(image)
        assert found.shape == (1, 3, 32, 32)
        gradients.append(torch.autograd.grad((found**2).sum(), image)[0])
    assert torch.nn.functional.cosine_similarity(*(g.flatten() for g in gradients), dim=0) > 0.999
    assert rounded.signature == "32/bicubic-aa-8bit/squash/imagenet"


def test_levels_beyond_black_and_white_have_no_gradient():
    levels = torch.tensor([-3.0, -0.2, 0.0, 0.6, 254.7, 255.0, 256.0], requires_grad=True)
    found = quantise(levels)
    assert found.tolist() == [0, 0, 0, 1, 255, 255, 255]
    for sign in (1, -1):  # of a reward and of a loss
        (gradient,) = torch.autograd.grad(sign * found.sum(), levels, retain_graph=True)
        assert gradient.tolist() == [0, 0, sign, sign, sign, sign, 0]
