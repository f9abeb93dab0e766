"""A published reward through its stage: kept as a card, read back, and refused when its file is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drlbench.errors import IntegrityError
from drlbench.rewards import pickscore
from drlbench.rewards.scoring import score_images
from drlbench.stages import Job
from drlbench.stages.files import load_reward
from drlbench.stages.reward import run

NAMES = ["tench", "goldfish", "great white shark"]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PickScore's layout with small layers and random weights."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(pickscore, "VISION", {**small, "patch_size": 14, "image_size": 28})
    monkeypatch.setattr(pickscore, "TEXT", small)
    monkeypatch.setattr(pickscore, "WIDTH", 16)
    monkeypatch.setattr(pickscore, "PREPROCESS", replace(pickscore.PREPROCESS, size=28))
    model, config = pickscore.network()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = model(config)
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
    return folder


def job(weights: Path, out: Path) -> Job:
    out.mkdir()
    settings = {"class_names": NAMES, "weights": str(weights)}
    given = {"kind": "pickscore", "name": "pick", "encoders": [], "settings": settings, "seed": 0}
    return Job(given, {}, out, out / "partial", "cpu", lambda done: None)


def test_a_published_reward_is_the_same_when_its_stage_is_read_back(weights: Path, tmp_path: Path) -> None:
    run(job(weights, tmp_path / "stage"))
    images = np.random.default_rng(1).integers(0, 256, (6, 40, 30, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, 2, 1, 0])
    direct = score_images(pickscore.PickScore(NAMES, weights=weights), images, labels, 4, "cpu")
    kept = score_images(load_reward(tmp_path / "stage", {}), images, labels, 4, "cpu")
    assert (kept == direct).all() and kept.std() > 0
    names = {path.name for path in (tmp_path / "stage").iterdir()}
    assert not any(name.endswith(("safetensors", "npz", "pt")) for name in names), "a card, not a copy"


def test_other_weights_under_the_same_path_are_noticed(weights: Path, tmp_path: Path) -> None:
    run(job(weights, tmp_path / "stage"))
    state = load_file(weights / "model.safetensors")
    state["logit_scale"] = state["logit_scale"] + 1
    save_file(state, weights / "model.safetensors")
    with pytest.raises(IntegrityError, match="was made with"):
        load_reward(tmp_path / "stage", {})
