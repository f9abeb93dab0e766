"""FID by three tools: what is said where they agree, disagree or fail; the tools themselves in the long tests."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drlbench.cli import main as cli
from drlbench.data.images import open_images
from drlbench.encoders.base import Encoder
from drlbench.encoders.inception import InceptionV3
from drlbench.encoders.inception_graph import Network
from drlbench.errors import IntegrityError, UserError
from drlbench.evaluate import peers
from drlbench.evaluate.peers import check_agreement, compare_with_peers, to_csv
from drlbench.features.extract import extract
from drlbench.metrics.frechet import frechet_distance

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"


class Small(Encoder):
    """Stands for Inception where only the road is tested."""

    dim = 6

    def __init__(self, variant: str = "tf1", weights: Any = None) -> None:
        super().__init__()
        self.signature = f"small:abc/{variant}/6"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, (1, 2)).flatten(1)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", arr_0=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    np.savez(tmp_path / "grey.npz", arr_0=rng.integers(0, 200, (50, 8, 8, 1), dtype=np.uint8))
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Peers that are drlbench itself, off by what the test says."""
    off = {"torch-fidelity": 0.0, "clean-fid": 0.0}

    def peer(name: str) -> Any:
        def measure(state: Any, pairs: Any, batch: int, device: str, tell: Any) -> float:
            features = [extract(Small(), np.asarray(images), batch) for images in pairs]
            return frechet_distance(*features, resamples=0).value + off[name]

        return measure

    monkeypatch.setattr(peers, "InceptionV3", Small)
    monkeypatch.setattr(peers, "locate", lambda asset, weights: Path("weights.pth"))
    monkeypatch.setattr(peers, "read_weights", lambda path: {})
    monkeypatch.setattr(peers, "_torch_fidelity", peer("torch-fidelity"))
    monkeypatch.setattr(peers, "_clean_fid", peer("clean-fid"))
    return off


def test_agreement_is_measured_on_the_same_pixels(sets: Path, small: dict[str, float]) -> None:
    small |= {"torch-fidelity": 9e-4, "clean-fid": -9e-3}
    told: list[tuple[str, float]] = []
    found = compare_with_peers(
        open_images(sets / "own.npz"), open_images(sets / "grey.npz"), tell=lambda *what: told.append(what)
    )
    check_agreement(found)
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [(r["peer"], r["mode"], r["n"], r["n_reference"]) for r in rows] == [
        ("torch-fidelity", "tf1", "40", "50"),
        ("clean-fid", "clean", "40", "50"),
    ]
    assert [float(r["difference"]) for r in rows] == pytest.approx([-9e-4, 9e-3], abs=1e-6)
    assert "rank-deficient" in rows[0]["reason"] and "Pillow" in rows[1]["reason"]
    assert ("drlbench, tf1", 1.0) in told and ("drlbench, clean", 1.0) in told


def test_a_disagreement_is_an_error_and_a_broken_peer_is_said(
    sets: Path, small: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    small["torch-fidelity"] = 2e-3

    def broken(*_: Any) -> float:
        raise TypeError("sqrtm() got an unexpected keyword argument 'disp'")

    monkeypatch.setattr(peers, "_clean_fid", broken)
    found = compare_with_peers(open_images(sets / "own.npz"), open_images(sets / "grey.npz"))
    assert "clean-fid failed: sqrtm() got an unexpected keyword argument 'disp' (scipy " in found[1].reason
    assert found[1].to_json()["theirs"] is None
    json.dumps(found[1].to_json(), allow_nan=False)
    with pytest.raises(IntegrityError, match=r"FID\[tf1\]: .* by torch-fidelity"):
        check_agreement(found)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_command_prints_both_tables(
    sets: Path, small: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sets)
    np.savez("real.npz", arr_0=np.random.default_rng(1).integers(0, 200, (50, 8, 8, 3), dtype=np.uint8))
    arguments = ("eval", "own.npz", "--reference", "real.npz", "--metrics", "fd", "--spaces", "pixels", "--peers")
    assert call(monkeypatch, *arguments, "--out", "out") == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith("space,metric,value") and second.startswith("peer,version,mode,metric")
    assert [p["peer"] for p in json.loads((sets / "out" / "eval.json").read_text())["peers"]] == list(small)
    small["clean-fid"] = 1.0
    assert call(monkeypatch, *arguments) == 5
    assert "clean-fid" in capsys.readouterr().err
    np.savez("statistics.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert call(monkeypatch, "eval", "own.npz", "--reference", "statistics.npz", "--peers") == 2
    assert "needs --reference with images" in capsys.readouterr().err


def test_a_run_without_inception_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("run", str(TINY), "--out", "run", "--store", "store", "--cells", "*base*", "--workers", "1")
    assert call(monkeypatch, *run) == 0
    assert call(monkeypatch, "verify", "run", "--store", "store", "--peers") == 2
    assert "needs a space of kind inception-v3; this run's are: pixels (pixels)" in capsys.readouterr().err


def random_weights(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Network().state_dict(), path)
    return path


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_tools_themselves_give_one_number(sets: Path) -> None:
    weights = random_weights(sets / "weights.pth")
    found = compare_with_peers(open_images(sets / "own.npz"), open_images(sets / "grey.npz"), weights)
    for c in found:
        assert c.theirs == pytest.approx(c.ours, rel=1e-3), c
    with pytest.raises(UserError, match="at least 2"):
        np.savez(sets / "one.npz", arr_0=np.zeros((1, 8, 8, 3), np.uint8))
        compare_with_peers(open_images(sets / "one.npz"), open_images(sets / "grey.npz"), weights)


@pytest.mark.long
def test_clean_fids_layers_are_ours(sets: Path) -> None:
    weights = random_weights(sets / "weights.pth")
    state = torch.load(weights, weights_only=True)
    images = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1)).mul(255).round()
    theirs = peers._Layers(state)(images)
    ours = InceptionV3("clean", weights=weights)(images / 255)
    assert torch.linalg.norm(theirs - ours) < 1e-4 * torch.linalg.norm(ours)
