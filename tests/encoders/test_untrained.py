"""Encoders that start again: the same architecture with weights from a seed, for every kind that has weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from drlbench.encoders import clip, dino, siglip
from drlbench.encoders.base import Encoder
from drlbench.encoders.fourier import Fourier
from drlbench.encoders.inception import InceptionV3
from drlbench.encoders.inception_graph import Network
from drlbench.encoders.pixels import Pixels
from drlbench.encoders.small_classifier import SmallClassifier
from drlbench.encoders.small_contrastive import Contrastive
from drlbench.encoders.small_dae import DenoisingAutoencoder
from drlbench.errors import UserError
from drlbench.rewards.discriminator import Discriminator
from drlbench.rewards.discriminator_fit import fit_discriminator

Patch = pytest.MonkeyPatch


def keep(network: nn.Module, folder: Path, name: str = "model.safetensors") -> Path:
    """The network's weights as a published file, moved off where a library would start them."""
    state = {k: (v + 0.1 if v.is_floating_point() else v).contiguous() for k, v in network.state_dict().items()}
    save_file(state, folder / name)
    return folder / name


def tiny_dino(kind: type[dino.DINO], network: str, preset: str, folder: Path, patch: Patch) -> Encoder:
    patch.setitem(dino.NETWORKS, network, replace(dino.NETWORKS[network], width=32, depth=2, heads=2))
    model, config = dino.NETWORKS[network].config("eager")
    return kind(preset, keep(model(config), folder), "eager")


def dinov2(folder: Path, patch: Patch) -> Encoder:
    return tiny_dino(dino.DINOv2, "dinov2-vitb14", "dinov2-vitb14/224/bicubic-8bit/cls@1", folder, patch)


def dinov3(folder: Path, patch: Patch) -> Encoder:
    return tiny_dino(dino.DINOv3, "dinov3-vits16", "dinov3-vits16/224/bilinear-aa/cls@1", folder, patch)


def siglip_tower(folder: Path, patch: Patch) -> Encoder:
    from transformers import SiglipVisionModel

    name = "siglip-vitb16/256/bicubic-8bit/map@1"
    patch.setitem(siglip.PRESETS, name, replace(siglip.PRESETS[name], size=32, width=32, hidden=64, depth=2, heads=2))
    return siglip.SigLIP(name, keep(SiglipVisionModel(siglip.PRESETS[name].config("eager")), folder), "eager")


def open_clip(folder: Path, patch: Patch) -> Encoder:
    import open_clip as library

    tiny = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 28, "layers": 2, "width": 64, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    patch.setattr(library, "get_model_config", lambda _: tiny)
    name = "clip-vitl14-336/336/bicubic-8bit-square/l2@1"
    small = replace(clip.PRESETS[name].preprocess, size=28)
    patch.setitem(clip.PRESETS, name, replace(clip.PRESETS[name], preprocess=small))
    return clip.CLIP(weights=keep(library.model.CLIP(**tiny), folder))


def hf_clip(folder: Path, patch: Patch) -> Encoder:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    name = "clip-vitl14-336/336/bicubic-8bit-square/l2@1"
    small = replace(clip.PRESETS[name].preprocess, size=28)
    patch.setitem(clip.PRESETS, name, replace(clip.PRESETS[name], preprocess=small))
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=1, patch_size=14,
        image_size=28, projection_dim=16, hidden_act="quick_gelu",
    )  # fmt: skip
    return clip.CLIP(weights=keep(CLIPVisionModelWithProjection(config), folder))


def inception(folder: Path, patch: Patch) -> Encoder:
    state = {k: v if v.is_floating_point() else torch.zeros(()).long() for k, v in Network().state_dict().items()}
    torch.save(state, folder / "weights.pth")
    return InceptionV3(weights=folder / "weights.pth")


def small(kind: Any) -> Callable[[Path, Patch], Encoder]:
    def build(folder: Path, patch: Patch) -> Encoder:
        images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
        found: Encoder = kind.fit(images, np.arange(40) % 4, {"steps": 2, "width": 8}, 0)[0]
        return found

    return build


KINDS = {
    "dinov2": dinov2,
    "dinov3": dinov3,
    "siglip": siglip_tower,
    "open_clip": open_clip,
    "hf_clip": hf_clip,
    "inception": inception,
    "small-classifier": small(SmallClassifier),
    "small-contrastive": small(Contrastive),
    "small-dae": small(DenoisingAutoencoder),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_same_architecture_from_a_seed(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    given = KINDS[name](tmp_path, monkeypatch)
    before = {k: v.clone() for k, v in given.state_dict().items()}
    state = torch.get_rng_state()
    one, again, other = given.untrained(1), given.untrained(1), given.untrained(2)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is put back"
    found = one.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in before.items()}
    assert all(torch.equal(found[k], v) for k, v in again.state_dict().items())
    assert all(torch.equal(before[k], v) for k, v in given.state_dict().items()), "the given one is left alone"
    weights = [k for k, v in before.items() if v.ndim > 1]
    drawn = [k for k in weights if not torch.equal(found[k], other.state_dict()[k])]
    assert len(drawn) > 0.5 * len(weights), "the others start at a constant"
    assert not any(torch.equal(found[k], before[k]) for k in drawn)
    assert not any(p.requires_grad for p in one.parameters()) and not one.training
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = one(images)
    assert features.shape == (2, given.dim) and torch.isfinite(features).all()
    assert not torch.allclose(features[0], features[1], rtol=1e-5, atol=0), "the images can be told apart"


@pytest.mark.parametrize("name", ["dinov3", "small-dae"])
@pytest.mark.parametrize("weights", ["pretrained", "scratch"])
def test_a_discriminator_trains_it_with_r1_and_reads_it_back(
    name: str, weights: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    given = KINDS[name](tmp_path, monkeypatch)
    generator = torch.Generator().manual_seed(0)
    sets = [(torch.rand(12, 3, 8, 8, generator=generator), torch.arange(12) % 2) for _ in range(4)]
    settings = {
        "encoder_learning_rate": 1e-3, "encoder_weights": weights, "r1": 0.1, "r1_images": 4, "batch": 8, "steps": 2,
        "width": 8, "micro_batch": 4,
    }  # fmt: skip
    model = fit_discriminator(given, *sets, 2, settings, seed=0)
    start = given.untrained(0) if weights == "scratch" else given
    moved = [k for k, v in model.encoders[0].state_dict().items() if not torch.equal(v, start.state_dict()[k])]
    assert len(moved) > 0.5 * len([k for k, p in given.named_parameters() if not k.startswith(("up_", "out"))])
    model.save(tmp_path / "saved")
    before = {k: v.clone() for k, v in given.state_dict().items()}
    loaded = Discriminator.load(tmp_path / "saved", [given])
    assert torch.equal(loaded(*sets[0]), model(*sets[0])) and loaded.signature == model.signature
    assert all(torch.equal(before[k], v) for k, v in given.state_dict().items())


@pytest.mark.parametrize(("kind", "settings"), [(Pixels, {}), (Fourier, {"frequencies": 4})])
def test_what_has_no_weights_says_so(kind: Any, settings: dict[str, object]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    with pytest.raises(UserError, match="has no weights that could be trained"):
        kind.fit(images, np.arange(10) % 2, settings, 0)[0].untrained(0)
