"""Networks without weights: the counts agree with the networks themselves, and with figures known from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from drlbench.backbones import create, wrap
from drlbench.cost import counting
from drlbench.cost.counting import Operations, operations
from drlbench.cost.network import META, Passes
from drlbench.cost.networks import (
    NotCounted,
    decoder_passes,
    encoder_key,
    encoder_passes,
    network_passes,
    reward_passes,
    text,
)
from drlbench.cost.trainings import discriminator_step, encoder_training, preference_training
from drlbench.registry import ENCODERS
from drlbench.rewards import make_reward
from drlbench.rewards.bradley_terry import BradleyTerry
from drlbench.rewards.discriminator import DiscriminatorSettings
from drlbench.rewards.discriminator_fit import fit_discriminator
from drlbench.suite.kinds import in_full
from drlbench.training import unwatched
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.files import cached

SHAPE = (3, 16, 16)
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("small-classifier", {"width": 16, "kernel": 5, "features": 32, "steps": 4, "batch": 8}),
    ("small-contrastive", {"width": 16, "features": 32, "steps": 3, "batch": 8}),
    ("small-dae", {"width": 16, "features": 32, "steps": 3, "batch": 8}),
]


def pictures(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sit", {"input_size": 16, "hidden_size": 48, "depth": 5, "num_heads": 4}),
        ("jit", {"input_size": 64, "patch_size": 8, "hidden_size": 48, "depth": 7, "num_heads": 4,
                 "bottleneck_dim": 16, "in_context_len": 4, "in_context_start": 3}),
        ("rae", {"input_size": 8, "in_channels": 16, "hidden_size": (48, 64), "depth": (5, 3), "num_heads": (4, 4)}),
    ],
)  # fmt: skip
def test_passes_are_what_the_network_executes(
    name: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model, whole = (wrap(create(name, **given)) for _ in range(2))  # type: ignore[arg-type] # `create` is typed as any module
        t, y = torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    found = Passes(model, lambda x: model.velocity(x, t, y), model.latent_shape)
    counts = found.trained, found.forward, found.product
    x = torch.zeros(1, *model.latent_shape, device=META, requires_grad=True)
    weights = [p for p in whole.parameters() if p.requires_grad]

    def trained() -> None:
        torch.autograd.grad(whole.velocity(x.detach(), t, y).sum(), weights, allow_unused=True)

    def forward() -> None:
        with torch.no_grad():
            whole.velocity(x, t, y)

    monkeypatch.setattr(counting, "_known", _Forgets())
    assert counts[0].flops == operations(trained)
    assert counts[1].flops == operations(forward)
    whole.requires_grad_(False)
    assert counts[2].flops == operations(lambda: torch.autograd.grad(whole.velocity(x, t, y).sum(), x))


class _Forgets(dict[Any, Any]):
    """Every operator is new."""

    def __setitem__(self, key: Any, value: Any) -> None: ...


def test_what_was_looked_up_looks_like_what_was_made() -> None:
    """Several results, a missing one, strides that are not the usual ones, writing in place, a view, numbers' types."""
    x = torch.empty(4, 6, 5, device=META)

    def run() -> list[Any]:
        top = x.topk(2, dim=1)
        turned = x.transpose(0, 2)
        empty = torch.zeros(5, device=META)
        return [*top, turned, turned * 2, turned * 2.5, x.long() * 2, x.long() * 2.5, empty.add_(1), x.add(x[:, :1]),
                torch.native_layer_norm(x, (5,), None, None, 1e-5)]  # fmt: skip

    def looks(found: list[Any]) -> list[Any]:
        return [looks(list(f)) if isinstance(f, tuple) else (f.shape, f.stride(), f.dtype) for f in found]

    with Operations() as first:
        once = run()
    with Operations() as second:
        again = run()
    assert looks(once) == looks(again) == looks(run())
    assert (first.kernels, first.draws) == (second.kernels, second.draws)


@pytest.mark.parametrize(
    ("size", "autoencoder", "forward", "decoder"),
    [("sit-xl-2", "sd-vae-ft-ema", 0.237, 0.622), ("jit-h-16", "pixels", 0.364, 0.0)],
)
def test_published_backbones(size: str, autoencoder: str, forward: float, decoder: float) -> None:
    """The paper's arithmetic takes 0.237 TFLOP for SiT-XL/2."""
    key = (size, "{}", autoencoder, None, "")
    assert network_passes(key).forward.flops / 1e12 == pytest.approx(forward, rel=0.005)
    assert decoder_passes(key).forward.flops / 1e12 == pytest.approx(decoder, rel=0.005)


def test_a_published_encoder_and_reward_need_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path))
    inception = encoder_passes(encoder_key("inception-v3", {}), (3, 256, 256))
    assert inception.forward.flops / 1e9 == pytest.approx(11.5, rel=0.01) and inception.shape == (2048,)
    aesthetic = reward_passes("laion-aesthetic", "{}", (), (3, 256, 256), 1000)
    assert aesthetic.forward.flops / 1e12 == pytest.approx(0.162, rel=0.01), "CLIP ViT-L/14 at 224"


def test_brisque_is_counted_without_its_file() -> None:
    found = reward_passes("brisque", "{}", (), (3, 32, 32), 10)
    # Smoothing, of values and their squares, at 32 and 16 pixels.
    assert found.forward.flops == 2 * (2 * 49) * (32**2 + 16**2)
    if cached(ASSETS["brisque-svm"]) is not None:
        reward, image = make_reward("brisque"), torch.rand(1, 3, 32, 32)
        assert found.product.flops == operations(lambda: torch.autograd.grad(_score(reward, image).sum(), image))


def _score(reward: Any, image: Any) -> Any:
    return reward(image.requires_grad_(), torch.zeros(1).long())


def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(NotCounted, match="only its files"):
        decoder_passes(("sit-xl-2", "{}", "/a/folder", None, ""))


@pytest.mark.parametrize(("kind", "given"), SMALL, ids=[k for k, _ in SMALL])
def test_an_encoders_training_is_what_its_fit_executes(kind: str, given: dict[str, Any]) -> None:
    images, labels = pictures(20), np.arange(20) % 10
    made: list[Any] = []
    whole = operations(lambda: made.extend(ENCODERS.get(kind).fit(images, labels, given, 0)))
    key = encoder_key(kind, in_full(ENCODERS, kind, given))
    one = encoder_passes(key, SHAPE).forward.flops
    assert one == operations(lambda: made[0](torch.rand(1, *SHAPE)))
    # The features of the 20 images set the scale afterwards.
    assert encoder_training(key, SHAPE, 20, 10).flops + 20 * one == whole


def test_a_preference_reward_is_trained_as_counted() -> None:
    given = {"steps": 3, "batch": 8, "width": 8}
    record = BradleyTerry.Record(**given)
    reward = BradleyTerry("bt", record, SHAPE, 10)  # type: ignore[arg-type] # `Record` is typed as any settings
    images, y = torch.rand(8, *SHAPE), torch.arange(8)
    executed = operations(lambda: reward._train(images, images, y, y.float() % 2, torch.Generator(), unwatched))
    assert preference_training(text(record.model_dump()), SHAPE, 10).flops == executed


@pytest.mark.parametrize("extra", [{}, {"r1_images": 3, "micro_batch": 4}, {"encoder_learning_rate": 1e-3}])
def test_the_steps_of_a_discriminator(extra: dict[str, Any]) -> None:
    """R1 every other step, with and without pieces, and with the encoder trained."""
    encoder, _ = ENCODERS.get("small-classifier").fit(pictures(20), np.arange(20) % 10, SMALL[0][1], 0)
    pair = torch.rand(20, *SHAPE), torch.arange(20) % 10
    common = {"width": 24, "heads": 2, "batch": 16, "patience": None, "r1": 1.0, "r1_every": 2, "validate_every": 99}

    def fit(steps: int) -> int:
        given = common | extra | {"steps": steps}
        return operations(lambda: fit_discriminator(encoder, pair, pair, pair, pair, 10, given, 0))

    settings = DiscriminatorSettings(**common, **extra).model_dump()
    key = encoder_key("small-classifier", in_full(ENCODERS, "small-classifier", SMALL[0][1]))
    plain, smooth = discriminator_step(text(settings), (key,), SHAPE, 10)
    assert fit(3) - fit(1) == 2 * plain.flops + smooth.flops


def test_a_plug_ins_stack_that_changes_shape_is_counted_whole() -> None:
    with torch.device("meta"):
        stack = nn.Sequential(*(nn.Linear(8 + i, 9 + i) for i in range(4)))
    assert Passes(stack, stack, (8,)).forward.flops == sum(2 * (8 + i) * (9 + i) for i in range(4))
