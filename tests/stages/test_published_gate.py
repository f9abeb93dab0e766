"""The base gate under a checkpoint's card: samples of its own, made and measured as the card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from drlbench.backbones import cards, create, wrap
from drlbench.backbones.cards import Card, Published
from drlbench.backbones.protocols import Protocol
from drlbench.data.sources import load_dataset
from drlbench.encoders.pixels import Pixels
from drlbench.errors import CellsFailed
from drlbench.features.extract import extract
from drlbench.features.moments import Moments
from drlbench.metrics.frechet import frechet_distance
from drlbench.metrics.signature import read_signature
from drlbench.plan.pipeline import lay_out
from drlbench.plan.prerequisites import missing
from drlbench.run.perform import Options, perform
from drlbench.sampling.generate import generate, random_labels
from drlbench.sampling.guidance import ClassifierFree
from drlbench.seeds import sample_seeds, seed_of
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite
from drlbench.weights.asset import Asset

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"
SIZES = {
    "input_size": 8, "patch_size": 4, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 2,
    "num_classes": 10, "learn_sigma": False,
}  # fmt: skip
HOW = Protocol("sde_Euler_sigma_Mean", 4, cfg=1.5, labels="random", n=40, encoder="pixels", reference="adm-imagenet256")


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A card of a tiny network, its file (which runs read by its path), and statistics to measure against."""
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path / "cache"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = create("sit", **SIZES)
        torch.nn.init.normal_(net.final_layer.linear.weight, std=0.2)
    asset = Asset("tiny-sit", "tiny.safetensors", url="http://localhost:9/tiny", licence="none")
    save_file(net.state_dict(), tmp_path / "tiny.safetensors")
    labels = random_labels(HOW.n, 10, seed_of("labels", 0))
    images = generate(
        wrap(net),
        labels,
        sample_seeds(0, HOW.n),
        "official:sde_Euler_sigma_Mean",
        4,
        ClassifierFree(1.5),
        batch_size=500,
    )
    digits = load_dataset({"kind": "digits"})
    encoder, _ = Pixels.fit(digits.train_images, digits.train_labels, {}, 0)
    features = extract(encoder, images, 40).astype(np.float64)
    rng = np.random.default_rng(0)
    real = features + 0.1 * rng.standard_normal(features.shape)
    mu, sigma = real.mean(0), np.cov(real, rowvar=False)
    np.savez(tmp_path / "statistics.npz", mu=mu, sigma=sigma)

    def publish(fid: float | None) -> float:
        """Publish an FID, by default what this network really has."""
        own = frechet_distance(features, Moments(mu, sigma, HOW.n)).value if fid is None else fid
        card = Card("tiny-sit", "sit", asset, "pixels", "raw state dict", published=(
            Published("fid", own, "in words", "a tiny paper", HOW),
        ))  # fmt: skip
        monkeypatch.setattr(cards.CARDS, "_table", {**cards.CARDS, "tiny-sit": card})
        return own

    return publish


def suite_file(folder: Path, **gate: Any) -> Path:
    spec = yaml.safe_load(TINY.read_text())
    described = {
        "family": "sit",
        "architecture": SIZES,
        "checkpoint": str(folder / "tiny.safetensors"),
        "autoencoder": "pixels",
    }
    spec["backbones"]["sit"] = {**described, "gate": {"space": "pixels", "protocol": "tiny-sit", **gate}}
    spec["runs"] = {"base": {}, "drl": {**spec["runs"]["drl"], "lambda": [1], "rounds": 1}}
    path = folder / "gated.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def run(folder: Path, **gate: Any) -> Store:
    suite, store = load_suite(suite_file(folder, **gate)), Store(folder / "store")
    perform(suite, lay_out(suite, "*"), store, folder / "run", Options(1, "cpu", "drlbench run"))
    return store


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_the_base_is_measured_as_its_card_says(official: Any, tmp_path: Path) -> None:
    official(1e-6)
    statistics = str(tmp_path / "statistics.npz")
    with pytest.raises(CellsFailed):
        run(tmp_path, tolerance=0.05, statistics=statistics)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (error,) = {c["error"] for c in record["cells"] if c["status"] == "failed"}
    assert "n = 40, 95 % interval" in error
    assert "sde_Euler_sigma_Mean in 4 steps as its authors count, guidance 1.5 for t in [0, 1], 40 samples" in error
    assert "off the stated 1e-06 (a tiny paper)" in error
    assert not {kind for kind, _ in Store(tmp_path / "store").entries()} & {"reward", "finetune"}

    value = official(None)
    store = run(tmp_path, tolerance=1e-6, statistics=statistics)
    kinds = [kind for kind, _ in store.entries()]
    assert kinds.count("finetune") == 1
    # The suite's own samples (two cells, data) and those of the gate.
    assert kinds.count("samples") == 4
    (kept,) = [json.loads((folder / "gate.json").read_text()) for kind, folder in store.entries() if kind == "gate"]
    assert kept["measured"]["n"] == kept["published_n"] == 40
    assert kept["measured"]["value"] == pytest.approx(value, rel=1e-6)
    assert kept["measured"]["low"] < kept["measured"]["value"] < kept["measured"]["high"]
    parts = read_signature(kept["measured"]["signature"])
    assert parts["ref"].startswith("statistics:") and parts["enc"].startswith("pixels:")


def test_a_plan_names_what_the_gate_needs(official: Any, tmp_path: Path) -> None:
    official(2.0)
    suite = load_suite(suite_file(tmp_path, tolerance=0.05))
    (statistics,) = missing(suite)
    assert statistics.name == "adm-imagenet256"
    assert statistics.used_by == ("gate of sit",)
    assert "VIRTUAL_imagenet256_labeled.npz" in statistics.how
    suite = load_suite(suite_file(tmp_path, tolerance=0.05, statistics="nowhere.npz"))
    assert [m.name for m in missing(suite)] == ["nowhere.npz"]
