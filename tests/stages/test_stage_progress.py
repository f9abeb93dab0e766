"""Stages that go over many images say how far they are: never backwards, and to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from drlbench.stages import Job, encoder, features, reference
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
