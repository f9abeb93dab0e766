"""PickScore, HPSv2, CLIPScore and the aesthetic heads on small checkpoints in the published layout."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from drlbench.encoders import clip, siglip
from drlbench.errors import UserError
from drlbench.rewards import aesthetic, hpsv2, pickscore
from drlbench.rewards.aesthetic import AestheticV25, LAIONAesthetic, build_head
from drlbench.rewards.clipscore import CLIPScore
from drlbench.rewards.hpsv2 import HPSv2, HPSv21
from drlbench.rewards.pickscore import PickScore
from drlbench.rewards.prompts import class_prompts, imagenet_names
from drlbench.rewards.scoring import score_images

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
NAMES = ["tench", "goldfish", "great white shark"]
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 2, "width": 64, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def archs():
    with gzip.open(GOLDEN / "arch.json.gz") as file:
        return json.load(file)


@pytest.fixture
def images():
    return torch.rand(4, 3, 40, 30, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tiny_open_clip(tmp_path, monkeypatch):
    import open_clip

    monkeypatch.setattr(open_clip, "get_model_config", lambda _: TINY_CLIP)
    for name, card in list(clip.PRESETS.items()):
        small = replace(card, preprocess=replace(card.preprocess, size=28))
        monkeypatch.setitem(clip.PRESETS, name, small)
    monkeypatch.setattr(hpsv2, "PREPROCESS", replace(hpsv2.PREPROCESS, size=28))
    torch.manual_seed(0)
    return open_clip.model.CLIP(**TINY_CLIP).eval(), tmp_path


def cosine(network, pixels, prompts, y):
    with torch.no_grad():
        image = network.encode_image(pixels, normalize=True)
        text = network.encode_text(clip.tokenize(prompts), normalize=True)
    return (image * text[y]).sum(-1)


def check_as_reward(reward, images, y):
    leaf = images.clone().requires_grad_()
    scores = reward(leaf, y)
    assert scores.shape == y.shape and scores.dtype == torch.float32
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    assert not any(p.requires_grad for p in reward.parameters())
    single = torch.cat([reward(images[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    torch.testing.assert_close(single, scores.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "file"), [(HPSv2, "HPS_v2_compressed.pt"), (HPSv21, "HPS_v2.1_compressed.pt")])
def test_hpsv2_is_the_plain_cosine(tiny_open_clip, images, kind, file):
    network, folder = tiny_open_clip
    half = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save({"state_dict": half}, folder / file)
    reward = kind(class_names=NAMES, weights=folder)
    network.load_state_dict({k: v.float() for k, v in half.items()})
    y = torch.tensor([0, 2, 1, 0])
    want = cosine(network, hpsv2.PREPROCESS(images), [f"a photo of a {n}" for n in NAMES], y)
    torch.testing.assert_close(reward(images, y), want, rtol=1e-5, atol=1e-6)
    assert reward.signature.startswith("hpsv2.0:" if kind is HPSv2 else "hpsv2.1:") and "pad" in reward.signature
    check_as_reward(reward, images, y)


def test_clipscore_conventions(tiny_open_clip, images):
    network, folder = tiny_open_clip
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    y = torch.tensor([0, 1, 2, 2])
    plain = CLIPScore(class_names=NAMES, weights=folder)
    pixels = plain.preprocess(images)
    want = cosine(network, pixels, [f"a photo of a {n}" for n in NAMES], y)
    torch.testing.assert_close(plain(images, y), 100 * want, rtol=1e-4, atol=1e-4)
    hessel = CLIPScore("hessel", class_names=NAMES, weights=folder)
    want = cosine(network, pixels, [f"A photo depicts a photo of a {n}" for n in NAMES], y)
    torch.testing.assert_close(hessel(images, y), 2.5 * want.clamp(min=0), rtol=1e-4, atol=1e-5)
    check_as_reward(plain, images, y)
    with pytest.raises(UserError, match="valid: torchmetrics, hessel"):
        CLIPScore("other", weights=folder)


def test_pickscore(tmp_path, monkeypatch, images, archs):
    model, config = pickscore.network()
    with torch.device("meta"):
        found = {k: list(v.shape) for k, v in model(config).state_dict().items()}
    assert found == {k: shape for k, (shape, _) in archs["hf_CLIPModel_PickScore_v1"].items()}

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    monkeypatch.setattr(pickscore, "VISION", {**small, "patch_size": 14, "image_size": 28})
    monkeypatch.setattr(pickscore, "TEXT", small)
    monkeypatch.setattr(pickscore, "WIDTH", 16)
    monkeypatch.setattr(pickscore, "PREPROCESS", replace(pickscore.PREPROCESS, size=28))
    model, config = pickscore.network()
    torch.manual_seed(0)
    network = model(config).eval()
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # as in older files
    save_file(state, tmp_path / "model.safetensors")
    reward = PickScore(NAMES, weights=tmp_path)
    y = torch.tensor([2, 0, 1, 1])
    tokens = clip.tokenize([f"a photo of a {n}" for n in NAMES])
    with torch.no_grad():
        out = network(input_ids=tokens, pixel_values=pickscore.PREPROCESS(images))
    want = network.logit_scale.exp().item() * (out.image_embeds * out.text_embeds[y]).sum(-1)
    torch.testing.assert_close(reward(images, y), want, rtol=1e-5, atol=1e-5)
    check_as_reward(reward, images, y)
    reward.save(tmp_path)
    assert PickScore.load(tmp_path).signature == reward.signature


@pytest.mark.parametrize(
    ("name", "relu"),
    [
        ("aesthetic_sac_logos_ava1-l14-linearMSE", False),
        ("aesthetic_ava_logos-l14-linearMSE", False),
        ("aesthetic_ava_logos-l14-reluMSE", True),
    ],
)
def test_published_heads(archs, name, relu):
    generator = torch.Generator().manual_seed(0)
    state = {k: 0.05 * torch.randn(shape, generator=generator) for k, (shape, _) in archs[name].items()}
    x = torch.randn(5, 768, generator=generator)
    want = x.double().numpy()
    keys = [k for k in state if k.endswith("weight")]
    for i, key in enumerate(keys):
        want = want @ state[key].double().numpy().T + state[key.replace("weight", "bias")].double().numpy()
        if relu and i < len(keys) - 1:
            want = np.maximum(want, 0)
    np.testing.assert_allclose(build_head(state, name)(x).detach().numpy(), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="no known aesthetic head"):
        build_head({"layers.0.weight": torch.zeros(2, 2), "layers.0.bias": torch.zeros(2)}, "x")


def linear_head(places, width, prefix):
    generator = torch.Generator().manual_seed(1)
    state = {}
    for place, out in zip(places, aesthetic.WIDTHS, strict=True):
        state[f"{prefix}{place}.weight"] = torch.randn(out, width, generator=generator) / width**0.5
        state[f"{prefix}{place}.bias"] = torch.randn(out, generator=generator)
        width = out
    return state


def test_laion_aesthetic(tiny_open_clip, images):
    network, folder = tiny_open_clip
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    torch.save(linear_head((0, 2, 4, 6, 7), 16, "layers."), folder / "head.pth")
    reward = LAIONAesthetic(weights=folder, head=folder / "head.pth")
    y = torch.zeros(4, dtype=torch.long)
    with torch.no_grad():
        want = reward.head(network.encode_image(reward.encoder.preprocess(images), normalize=True)).squeeze(-1)
    torch.testing.assert_close(reward(images, y), want, rtol=1e-5, atol=1e-5)
    check_as_reward(reward, images, y)
    torch.save(linear_head((0, 2, 4, 6, 7), 20, "layers."), folder / "wide.pth")
    with pytest.raises(UserError, match="a head for 20 dimensions"):
        LAIONAesthetic(weights=folder, head=folder / "wide.pth")


def test_aesthetic_v25(tmp_path, monkeypatch, images):
    name = "siglip-so400m14/384/bicubic-8bit/map@1"
    tower = replace(siglip.PRESETS[name], size=28, width=32, hidden=64, depth=2, heads=2)
    monkeypatch.setitem(siglip.PRESETS, name, tower)
    from transformers import SiglipVisionModel

    torch.manual_seed(0)
    network = SiglipVisionModel(tower.config("sdpa")).eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "model.safetensors")
    torch.save(linear_head((0, 2, 4, 6, 8), 32, "scoring_head."), tmp_path / "aesthetic_predictor_v2_5.pth")
    reward = AestheticV25(weights=tmp_path, head=tmp_path)
    with torch.no_grad():
        pooled = network(reward.encoder.preprocess(images)).pooler_output
        want = reward.head(pooled / pooled.norm(dim=-1, keepdim=True)).squeeze(-1)
    y = torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(reward(images, y), want, rtol=1e-5, atol=1e-5)
    check_as_reward(reward, images, y)


def test_prompts():
    prompts = class_prompts()
    assert len(prompts.texts) == 1000 and prompts.texts[0] == "a photo of a tench"
    assert len(set(imagenet_names())) >= 998
    assert class_prompts(template="{class}").signature != prompts.signature
    assert class_prompts(NAMES).signature != prompts.signature
    for bad, match in (
        (([], "a {class}"), "empty"),
        ((NAMES, "a photo"), "exactly once"),
        (("coco", "{class}"), "list"),
    ):
        with pytest.raises(UserError, match=match):
            class_prompts(*bad)


def test_scoring_is_independent_of_batches(tiny_open_clip):
    network, folder = tiny_open_clip
    torch.save({"state_dict": network.state_dict()}, folder / "HPS_v2_compressed.pt")
    reward = HPSv2(class_names=NAMES, weights=folder)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (10, 20, 20, 3), dtype=np.uint8), rng.integers(0, 3, 10)
    whole = score_images(reward, images, labels)
    assert whole.dtype == np.float64
    for size in (1, 7):
        np.testing.assert_allclose(score_images(reward, images, labels, batch_size=size), whole, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="labels of shape"):
        score_images(reward, images, labels[:-1])
