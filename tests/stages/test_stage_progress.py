"""Stages that go over many images say how far they are: never backwards, and to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drlbench.stages import Job, base, encoder, features, reference, reward
from drlbench.stages.files import load_encoder

DATA = {"kind": "digits"}


def job(out: Path, settings: dict[str, Any], seen: list[float], **inputs: Path) -> Job:
    out.mkdir()
    return Job(settings, inputs, out, out / "partial", "cpu", seen.append)


def rises_to_the_end(seen: list[float], least: int) -> bool:
    return len(seen) >= least and seen == sorted(seen) and seen[-1] == 1.0 and 0 < seen[0] < 1


def test_encoding_tells_how_far_it_is(tmp_path: Path) -> None:
    settings = {"kind": "pixels", "settings": {}, "data": DATA, "seed": 0}
    encoder.run(job(tmp_path / "encoder", settings, []))
    seen: list[float] = []
    reference.run(job(tmp_path / "reference", {"data": DATA}, seen, encoder=tmp_path / "encoder"))
    assert rises_to_the_end(seen, 3)  # 1,797 digits in chunks of 512, in two splits

    samples = tmp_path / "samples"
    samples.mkdir()
    pictures = np.zeros((1100, 8, 8, 1), np.uint8)
    np.savez(samples / "samples.npz", images=pictures, labels=np.zeros(1100, np.int64), outside=np.zeros(1100))
    seen = []
    features.run(job(tmp_path / "features", {}, seen, encoder=tmp_path / "encoder", samples=samples))
    assert rises_to_the_end(seen, 3)
    with np.load(tmp_path / "features" / "features.npz") as kept:
        assert kept["features"].shape == (1100, load_encoder(tmp_path / "encoder").dim)


def test_trainings_tell_how_far_they_are(tmp_path: Path) -> None:
    chosen = {"kind": "small-dae", "settings": {"steps": 45, "width": 4, "features": 8, "batch": 16}}
    seen: list[float] = []
    encoder.run(job(tmp_path / "encoder", {**chosen, "data": DATA, "seed": 0}, seen))
    assert rises_to_the_end(seen, 3)

    liking: dict[str, Any] = {"kind": "bradley-terry", "name": "ink", "encoders": []}
    liking |= {"settings": {"network": "mlp", "steps": 45, "count": 50}}
    seen = []
    reward.run(job(tmp_path / "reward", {**liking, "data": DATA, "seed": 0}, seen))
    assert rises_to_the_end(seen, 3)


@pytest.mark.parametrize("family", ["sit", "rae"])
def test_a_base_tells_how_far_it_is_and_its_latent_before_it(tmp_path: Path, family: str) -> None:
    small: dict[str, Any] = {"input_size": 8, "in_channels": 1, "num_classes": 10, "patch_size": 2}
    small |= {"hidden_size": 8, "depth": 1, "num_heads": 2}
    own, inputs = {**small, "learn_sigma": False}, {}
    latent = None
    if family == "rae":
        del small["patch_size"]
        own = {**small, "input_size": 4, "in_channels": 4, "hidden_size": [8, 8], "depth": [1, 1], "num_heads": [2, 2]}
        latent = {"encoder": "dae", "seed": 0, "channels": 4, "steps": 60}
        chosen = {"kind": "small-dae", "settings": {"steps": 2, "width": 4, "features": 8, "batch": 16}}
        encoder.run(job(tmp_path / "dae", {**chosen, "data": DATA, "seed": 0}, []))
        inputs = {"encoder:dae": tmp_path / "dae"}
    spec = {"family": family, "size": None, "architecture": own, "latent": latent, "align": None}
    seen: list[float] = []
    settings = {"backbone": {**spec, "pretrain": {"steps": 250, "batch": 8}}, "data": DATA, "seed": 0}
    base.run(job(tmp_path / "base", settings, seen, **inputs))
    assert rises_to_the_end(seen, 3)
    assert min(seen) < 0.5
