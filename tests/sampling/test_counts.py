"""How many evaluations a sampler takes: what a plan says against what the samplers do; and how suites name samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.sampling.counts import ADAPTIVE, evaluations
from drlbench.sampling.generate import generate, random_labels, sample_latents
from drlbench.sampling.guidance import Autoguidance, ClassifierFree
from drlbench.seeds import sample_seeds
from drlbench.suite.schema import SamplingSpec


def model_of(golden: Callable[[str], Any], family: str, weights: str = "weights") -> VelocityModel:
    data = golden("rae_dit" if family == "rae" else family)
    if weights == "weights":
        net = create(family, **data.config["args"]).eval()
        net.load_official_state_dict(data.weights)
        return wrap(net)
    from safetensors.torch import load_file

    net = create("rae", **data.config["guidance_model_args"]).eval()
    net.load_official_state_dict(load_file(data.folder / data.config["guidance_model_weights"]))
    return wrap(net)


def draw(model: VelocityModel, sampler: str, steps: int | None, **options: Any) -> tuple[torch.Tensor, int]:
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1

    handle = model.net.register_forward_hook(counted)
    final = sample_latents(model, torch.tensor([1, 2]), sample_seeds(0, 2), sampler, steps, **options)
    handle.remove()
    return final, count


@pytest.mark.parametrize(
    ("family", "sampler", "steps"),
    [
        ("sit", "paper", None),
        ("rae", "paper", None),
        ("sit", "heun", 7),
        ("sit", "euler", 7),
        ("jit", "official", None),
        ("jit", "official:euler", 9),
        ("repa", "official", None),
        ("repa", "official:heun", 5),
        ("rae", "official", None),
        ("rae", "official:rk4", 4),
        ("rae", "official:heun3", 4),
        ("sit", "official:euler", 6),
        ("sit", "official:midpoint", 6),
        ("sit", "official:sde", 9),
        ("sit", "official:sde_Heun_sigma_Mean", 9),
    ],
)
def test_counted_as_they_are(golden: Callable[[str], Any], family: str, sampler: str, steps: int | None) -> None:
    assert draw(model_of(golden, family), sampler, steps)[1] == evaluations(sampler, steps, family)


def test_adaptive_ones_are_guessed() -> None:
    assert evaluations("dopri5", 50) == evaluations("official", None, "sit") == ADAPTIVE
    assert (evaluations("paper", None), evaluations("heun", 20), evaluations("euler", 20)) == (99, 39, 20)


def test_the_papers_sampler_is_heun_in_50_steps(golden: Callable[[str], Any]) -> None:
    model = model_of(golden, "sit")
    assert torch.equal(draw(model, "paper", None)[0], draw(model, "heun", 50)[0])
    with pytest.raises(UserError, match="'paper' is Heun in 50 steps; for 20 take 'heun'"):
        draw(model, "paper", 20)


def test_official_autoguidance_is_raes_alone(golden: Callable[[str], Any]) -> None:
    main, weak = model_of(golden, "rae"), model_of(golden, "rae", "guide")
    plain = draw(main, "official", 11)[0]
    guided = draw(main, "official", 11, guidance=Autoguidance(weak, 1.42))[0]
    same = draw(main, "official", 11, guidance=Autoguidance(main, 1.42))[0]
    assert (guided - plain).abs().max() > 0.1
    torch.testing.assert_close(same, plain, atol=1e-4, rtol=0)
    sit = model_of(golden, "sit")
    with pytest.raises(UserError, match="autoguidance is no part of this backbone's own procedure"):
        draw(sit, "official", 11, guidance=Autoguidance(sit, 1.5))


def test_unknown_official_method(golden: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match="jit has no sampling method 'sde'"):
        draw(model_of(golden, "jit"), "official:sde", 3)


def test_bf16_is_near_and_not_the_same(golden: Callable[[str], Any]) -> None:
    for family in ("sit", "jit", "repa", "rae"):
        model, guidance = model_of(golden, family), ClassifierFree(1.5)
        fp32 = draw(model, "paper", None, guidance=guidance)[0]
        bf16 = draw(model, "paper", None, guidance=guidance, autocast="bfloat16")[0]
        assert bf16.dtype == torch.float32
        assert 0 < (bf16 - fp32).norm() / fp32.norm() < 0.03


def test_random_labels() -> None:
    labels = random_labels(5000, 10, 3)
    assert (labels[:100] == random_labels(100, 10, 3)).all()
    assert (np.bincount(labels) > 400).all()
    assert not (labels == random_labels(5000, 10, 4)).all()


def test_no_samples_asked_for(golden: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match="no samples were asked for"):
        generate(model_of(golden, "sit"), [], [])


def test_what_a_suite_may_say() -> None:
    assert SamplingSpec(sampler="paper", n=10).steps is None
    assert SamplingSpec(sampler="official", n=10).steps is None
    assert SamplingSpec(sampler="heun", n=10, steps=20).precision == "fp32"
    with pytest.raises(ValidationError, match="sampler 'heun' needs `steps`"):
        SamplingSpec(n=10)
    with pytest.raises(ValidationError, match="'paper' is Heun in 50 steps"):
        SamplingSpec(sampler="paper", n=10, steps=20)
