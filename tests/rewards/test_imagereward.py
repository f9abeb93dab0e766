"""ImageReward against the published modules on a tiny configuration, and its checkpoint's key list."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.rewards import imagereward
from drlbench.rewards.imagereward import ImageReward, Network, rename_vision, tokenize

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
RECIPE = json.loads((GOLDEN / "imagereward_tiny.json").read_text())
VISION = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
          "image_size": 32, "patch_size": 16, "layer_norm_eps": 1e-6}  # fmt: skip
TEXT = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 200, "max_position_embeddings": 64, "encoder_hidden_size": 64,
        "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "ten", "##ch", "dog"]


def tiny_state():
    """The recorded weights: one frozen stream per key."""
    state = {}
    for key, shape in RECIPE["keys"].items():
        if key.endswith("position_ids"):
            state[key] = torch.arange(shape[-1]).expand(1, -1).clone()
            continue
        x = np.random.RandomState((zlib.crc32(key.encode()) ^ RECIPE["seed"]) & 0xFFFFFFFF).standard_normal(shape)
        if "norm" in key.lower() and key.endswith("weight"):
            x = 1 + 0.1 * x
        else:
            x = x / np.sqrt(np.prod(shape[1:])) * 1.5 if len(shape) >= 2 else 0.1 * x
        state[key] = torch.from_numpy(x.astype(np.float32))
    return state


def test_tiny_golden():
    with np.load(GOLDEN / "imagereward_tiny.npz") as file:
        golden = {key: torch.from_numpy(file[key]) for key in file.files}
    network = Network(tiny_state(), "tiny", VISION, TEXT).eval()
    with torch.no_grad():
        seen = network.vision(pixel_values=golden["pixel_values"]).last_hidden_state
        score = network(golden["pixel_values"], golden["input_ids"], golden["attention_mask"])
    torch.testing.assert_close(seen, golden["image_embeds"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(score, golden["reward"], rtol=0, atol=1e-5)


def test_padding_beyond_the_prompt_changes_nothing():
    network = Network(tiny_state(), "tiny", VISION, TEXT).eval()
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens, mask = torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.long)
    padded = torch.nn.functional.pad(tokens, (0, 31)), torch.nn.functional.pad(mask, (0, 31))
    torch.testing.assert_close(network(pixels, tokens, mask), network(pixels, *padded), rtol=0, atol=1e-5)


def test_published_key_list():
    """Every tensor of the 1.79 GB checkpoint has its place, and no place stays empty."""
    from transformers import BlipTextConfig, BlipVisionConfig
    from transformers.models.blip.modeling_blip import BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    with gzip.open(GOLDEN / "arch.json.gz") as file:
        keys = {k: tuple(shape) for k, (shape, _) in json.load(file)["imagereward"].items()}
    with torch.device("meta"):
        vision = BlipVisionModel(BlipVisionConfig(**imagereward.VISION)).state_dict()
        text = BlipTextModel(BlipTextConfig(**imagereward.TEXT), add_pooling_layer=False).state_dict()
    prefix = "blip.visual_encoder."
    images = {rename_vision(k.removeprefix(prefix)): s for k, s in keys.items() if k.startswith(prefix)}
    assert images == {k: tuple(v.shape) for k, v in vision.items()}
    prefix = "blip.text_encoder."
    words = {k.removeprefix(prefix): s for k, s in keys.items() if k.startswith(prefix) and "position_ids" not in k}
    assert words == {k: tuple(v.shape) for k, v in text.items()}
    rest = [k for k in keys if not k.startswith(("blip.visual_encoder.", "blip.text_encoder.", "mlp."))]
    assert all(k.startswith(imagereward.UNUSED) for k in rest)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(imagereward, "VISION", VISION)
    monkeypatch.setattr(imagereward, "TEXT", TEXT)
    small = imagereward.Preprocess(32, "bicubic", "crop", True, *imagereward.OPENAI_CLIP)
    monkeypatch.setattr(imagereward, "PREPROCESS", small)
    torch.save(tiny_state(), tmp_path / "ImageReward.pt")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_as_a_reward(checkpoint, tmp_path):
    reward = ImageReward(["tench", "dog"], weights=checkpoint, vocabulary=checkpoint)
    assert reward.tokens.tolist() == [[2, 5, 6, 7, 5, 8, 9, 3], [2, 5, 6, 7, 5, 10, 3, 0]]
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.tensor([0, 1, 0, 1])
    scores = reward(images, y)
    assert scores.shape == (4,) and scores.dtype == torch.float32
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    assert not torch.allclose(scores, reward(images, 1 - y))
    single = torch.cat([reward(images[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(single, scores, rtol=1e-5, atol=1e-5)
    assert "a photo of a {class}" in reward.signature
    with pytest.raises(UserError, match=r"labels 0\.\.2, but prompts exist for 0\.\.1"):
        reward(images, torch.tensor([0, 1, 2, 0]))
    reward.save(tmp_path)
    assert ImageReward.load(tmp_path).signature == reward.signature


def test_messages(checkpoint, monkeypatch):
    state = tiny_state()
    state["blip.extra.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"1 unexpected: blip\.extra\.weight"):
        Network(state, "x", VISION, TEXT)
    del state["blip.extra.weight"], state["blip.visual_encoder.norm.bias"]
    with pytest.raises(UserError, match="1 missing"):
        Network(state, "x", VISION, TEXT)
    (checkpoint / "vocab.txt").unlink()
    with pytest.raises(MissingPrerequisite, match="bert-vocabulary"):
        ImageReward(["dog"], weights=checkpoint, vocabulary=checkpoint)


def test_tokens_are_cut_at_35(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokens, mask = tokenize(["dog " * 80], tmp_path / "vocab.txt")
    assert tokens.shape == (1, 35) and tokens[0, -1] == 3 and mask.all()
