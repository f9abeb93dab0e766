"""DINO, SigLIP and CLIP: official key lists, small local checkpoints, and what is said when weights do not come."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from drlbench.encoders import clip, dino, siglip
from drlbench.encoders.pretrained import load_transformers
from drlbench.encoders.weights import locate
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.weights.asset import Asset
from drlbench.weights.files import OFFLINE_VARIABLES

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


@pytest.fixture(scope="module")
def archs():
    with gzip.open(GOLDEN / "arch.json.gz") as file:
        return json.load(file)


def shapes(model):
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def listed(archs, name):
    return {key: shape for key, (shape, _) in archs[name].items()}


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("dinov2-vitl14", "hf_Dinov2Model_large"),
        ("dinov3-vits16", "hf_DINOv3ViTModel_vits16"),
        ("dinov3-vitb16", "hf_DINOv3ViTModel_vitb16"),
        ("dinov3-vitl16", "hf_DINOv3ViTModel_vitl16"),
    ],
)
def test_dino_key_lists(archs, network, name):
    model, config = dino.NETWORKS[network].config("sdpa")
    with torch.device("meta"):
        assert shapes(model(config)) == listed(archs, name)


def test_timm_key_list_becomes_transformers(archs):
    state = {k: torch.empty(s, device="meta") for k, s in listed(archs, "timm_vit_large_patch14_dinov2").items()}
    found = {key: list(value.shape) for key, value in dino.from_timm(state).items()}
    assert found == listed(archs, "hf_Dinov2Model_large")


@pytest.mark.parametrize("biases", [True, False])
def test_timm_dinov3_gives_the_same_features(archs, tmp_path, biases):
    """The ungated copy that messages name: every key finds its place, and the network computes the same."""
    import timm

    torch.manual_seed(0)
    name = "vit_small_patch16_dinov3_qkvb" if biases else "vit_small_patch16_dinov3"
    network = timm.create_model(name, num_classes=0, img_size=224).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    converted = {key: list(value.shape) for key, value in dino.from_timm(state).items()}
    assert converted == listed(archs, "hf_DINOv3ViTModel_vits16")
    save_file(state, tmp_path / "model.safetensors")
    encoder = dino.DINOv3("dinov3-vits16/224/bilinear-aa/cls@1", weights=tmp_path)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = network.forward_features(encoder.preprocess(images))[:, 0]
    torch.testing.assert_close(encoder(images), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["ViT-B-32", "ViT-L-14", "ViT-H-14"])
def test_open_clip_key_lists(archs, architecture):
    state = {k: torch.empty(s, device="meta") for k, s in listed(archs, f"open_clip_{architecture}").items()}
    model = clip.build_open_clip(architecture, state, "list")
    assert shapes(model) == listed(archs, f"open_clip_{architecture}")


TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def tiny_dino(tmp_path, monkeypatch):
    """A small DINOv2 and DINOv3 with random weights, in the names their published files use."""
    monkeypatch.setitem(
        dino.NETWORKS, "dinov2-vitb14", replace(dino.NETWORKS["dinov2-vitb14"], width=32, depth=2, heads=2)
    )
    monkeypatch.setitem(
        dino.NETWORKS, "dinov3-vits16", replace(dino.NETWORKS["dinov3-vits16"], width=32, depth=2, heads=2)
    )
    torch.manual_seed(0)
    model, config = dino.NETWORKS["dinov2-vitb14"].config("sdpa")
    network = model(config)
    old, words = {}, {"q": "query", "k": "key", "v": "value"}
    for key, value in network.state_dict().items():
        key = re.sub(r"attention\.(q|k|v)_proj", lambda m: f"attention.attention.{words[m[1]]}", key)
        old[key.replace("attention.o_proj", "attention.output.dense")] = value.contiguous()
    save_file(old, tmp_path / "model.safetensors")
    return network.eval(), tmp_path


def test_dinov2_from_a_file_of_the_hub(tiny_dino):
    network, folder = tiny_dino
    encoder = dino.DINOv2("dinov2-vitb14/224/bicubic-8bit/cls@1", weights=folder)
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = network(encoder.preprocess(images)).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(images), want)
    assert encoder.dim == 32
    assert re.fullmatch(r"dinov2-vitb14/224/bicubic-8bit/cls@1:[0-9a-f]{12}", encoder.signature)
    torch.testing.assert_close(torch.cat([encoder(images[i : i + 1]) for i in range(3)]), want, rtol=1e-5, atol=1e-5)
    leaf = images.clone().requires_grad_()
    encoder(leaf).square().sum().backward()
    assert leaf.grad.abs().sum() > 0


def test_second_derivatives_with_eager_attention(tiny_dino):
    _, folder = tiny_dino
    encoder = dino.DINOv2("dinov2-vitb14/224/bicubic-8bit/cls@1", weights=folder, attention="eager")
    # Not ones: features come from a LayerNorm, whose sum is constant, and its gradient would be rounding.
    w = torch.randn(32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    leaf = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    (gradient,) = torch.autograd.grad((encoder(leaf) @ w).sum(), leaf, create_graph=True)
    gradient.square().sum().backward()
    # |d features / d pixels^T w|^2 is quadratic in w: its gradient against w is twice its value (Euler).
    assert (w.grad @ w).item() == pytest.approx(2 * gradient.square().sum().item(), rel=1e-3)
    assert gradient.square().sum() > 1e-6


def test_a_card_instead_of_a_copy(tiny_dino, tmp_path):
    _, folder = tiny_dino
    encoder = dino.DINOv2("dinov2-vitb14/224/bicubic-8bit/cls@1", weights=folder)
    (tmp_path / "stage").mkdir()
    encoder.save(tmp_path / "stage")
    back = dino.DINOv2.load(tmp_path / "stage")
    assert back.signature == encoder.signature
    state = {key: value + 1 for key, value in back.network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    with pytest.raises(IntegrityError, match="now gives"):
        dino.DINOv2.load(tmp_path / "stage")


def test_siglip_takes_the_file_with_both_towers(tmp_path, monkeypatch):
    from transformers import SiglipConfig, SiglipModel

    name = "siglip-vitb16/256/bicubic-8bit/map@1"
    tower = replace(siglip.PRESETS[name], size=32, width=32, hidden=64, depth=2, heads=2)
    monkeypatch.setitem(siglip.PRESETS, name, tower)
    torch.manual_seed(0)
    vision = {**TINY, "intermediate_size": 64, "image_size": 32, "patch_size": 16}
    text = {**TINY, "intermediate_size": 64, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    full = SiglipModel(SiglipConfig(vision_config=vision, text_config=text)).eval()
    save_file({k: v.contiguous() for k, v in full.state_dict().items()}, tmp_path / "model.safetensors")
    encoder = siglip.SigLIP(name, weights=tmp_path)
    images = torch.rand(2, 3, 50, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = full.vision_model(encoder.preprocess(images)).pooler_output
    torch.testing.assert_close(encoder(images), want)


def test_clip_from_either_naming(tmp_path, monkeypatch, archs):
    import open_clip
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tiny = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 28, "layers": 2, "width": 64, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: tiny)
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**tiny).eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    name = "clip-vitl14-336/336/bicubic-8bit-square/l2@1"
    small = replace(clip.PRESETS[name].preprocess, size=28)
    monkeypatch.setitem(clip.PRESETS, name, replace(clip.PRESETS[name], preprocess=small))
    encoder = clip.CLIP(weights=tmp_path)
    images = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = network.encode_image(encoder.preprocess(images), normalize=True)
    torch.testing.assert_close(encoder(images), want)
    tokens = clip.tokenize(["a photo of a cat"])
    rebuilt = clip.build_open_clip("tiny", dict(network.state_dict()), "tiny")
    torch.testing.assert_close(rebuilt.encode_text(tokens), network.encode_text(tokens).detach())

    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=1,
        patch_size=14,
        image_size=28,
        projection_dim=16,
        hidden_act="quick_gelu",
    )
    hf = CLIPVisionModelWithProjection(config).eval()
    save_file({k: v.contiguous() for k, v in hf.state_dict().items()}, tmp_path / "hf.safetensors")
    other = clip.CLIP(weights=tmp_path / "hf.safetensors")
    with torch.no_grad():
        want = torch.nn.functional.normalize(hf(other.preprocess(images)).image_embeds, dim=-1)
    torch.testing.assert_close(other(images), want)
    names = listed(archs, "hf_CLIPVisionModelWithProjection_L14_336")
    with torch.device("meta"):
        full = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                patch_size=14,
                image_size=336,
                projection_dim=768,
            )
        )
    assert shapes(full) == names


def test_messages(tiny_dino, tmp_path, monkeypatch):
    network, folder = tiny_dino
    with pytest.raises(UserError, match="did you mean"):
        dino.DINOv2("dinov2-vitb14/224/bicubic/cls@1", weights=folder)
    state = dict(network.state_dict())
    state.pop("layernorm.bias")
    with pytest.raises(UserError, match=r"1 missing \(layernorm.bias"):
        model, config = dino.NETWORKS["dinov2-vitb14"].config("sdpa")
        load_transformers(model, config, state, "x")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(MissingPrerequisite) as raised:
        dino.DINOv3()
    message = str(raised.value)
    for part in (
        "offline: the network was not touched",
        "hf download facebook/dinov3-vitl16",
        "Accept the licence",
        "timm/vit_large",
    ):
        assert part in message
    with pytest.raises(MissingPrerequisite, match="as `weights`"):
        locate(Asset("X", "model.safetensors", "facebook/dinov2-base"))


def test_a_refused_gate_says_how_to_get_in(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_, **__):
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    for variable in OFFLINE_VARIABLES:
        monkeypatch.setenv(variable, "0")
    with pytest.raises(MissingPrerequisite, match=r"access refused.*hf auth login.*without a gate"):
        locate(dino.NETWORKS["dinov3-vitl16"].source)
