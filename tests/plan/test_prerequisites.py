"""Plan and fetch on a machine that has neither weights nor images nor a GPU."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from drlbench.backbones import create
from drlbench.cli import main as cli
from drlbench.cost.estimate import Estimator
from drlbench.cost.work import PEAK_TFLOPS, Rate
from drlbench.errors import MissingPrerequisite
from drlbench.plan import prerequisites
from drlbench.plan.pipeline import lay_out
from drlbench.store import atomic
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite
from drlbench.weights.asset import Asset

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "suites" / "imagenet256.yaml"
WEIGHTS = 19  # files of the outside world that the paper's experiment needs


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cache of any kind."""
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr("drlbench.weights.files._in_package", lambda asset: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_plan_says_what_is_missing_and_what_it_costs(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.process_time()
    assert call(monkeypatch, "plan", str(SUITE), "--store", str(bare / "store")) == 0
    # 20 s here, counting every published network for the first time; a plan that hashes too much takes minutes.
    assert time.process_time() - started < 60
    text = capsys.readouterr().out
    assert "imagenet256: 68 cells" in text
    assert f"missing here ({WEIGHTS + 1}, " in text
    for part in (
        "sit-xl-2-256: SiT-XL-2-256.pt, about 2.70 GB (for backbone sit)",
        "curl -L --create-dirs -o",
        "hf download nyu-visionx/RAE-collections DiTs/Dinov2/wReg_base/ImageNet256/DiTDH-XL/stage2_model.pt",
        "(for backbone sit, backbone repa)",
        "asks for an accepted licence and a login",
        "licence: ImageNet terms of access",
        "hf download ILSVRC/imagenet-1k --repo-type dataset",
        "(for reward imagereward)",
    ):
        assert part in text


def test_the_plan_as_json(bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--json", "--store", str(bare / "store"), "--cells", "sit/drl+prl/lambda=1/*", "--gpus", "8")
    assert call(monkeypatch, "plan", str(SUITE), *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    (sit,) = found["backbones"]
    # 26.1 hours by the paper's arithmetic for 3,000 updates; of these there are 5,000.
    assert sit["fine_tune_floor"] == pytest.approx(26.1 * 5 / 3, rel=0.03) and sit["paper_hours"] == 190
    assert any(line.startswith("sit-xl-2 at 10") and "from the paper's hours" in line for line in found["basis"])
    assert not found["not_counted"] and found["whole_suite"]["gpu_hours"] > 10 * found["gpu_hours"]
    # K = 100 states and targets of 3072 trajectories of RAE's 196,608 numbers in two bytes, on each of 8 workers.
    assert found["whole_suite"]["memory_bytes"] > 8 * 2 * 100 * 3072 * 196_608 * 2
    assert {m["name"] for m in found["missing"]} >= {"sit-xl-2-256", "jit-h-16", "hpsv2", "sd-vae-ft-ema"}
    assert len(found["missing"]) == WEIGHTS + 1


def test_a_measured_benchmark_takes_the_place_of_the_papers_hours(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"backbone": "sit-xl-2", "precision": "bf16", "device": "NVIDIA H200"}
    numbers = {"total_hours": 52.2, "floor_hours": 26.1, "peak_tflops": 790.0}
    (bare / "sit.json").write_text(json.dumps(result | numbers))
    (bare / "other.json").write_text(json.dumps(result | numbers | {"backbone": "jit-h-16", "device": "cpu"}))
    (bare / "broken.json").write_text("{")
    monkeypatch.setenv("DRLBENCH_BENCH", str(bare))
    graph = lay_out(load_suite(SUITE), "*/base/*", absent_ok=True)
    rates = Estimator(graph, Store(bare / "store"), "cuda").rates
    tflops, where = rates[Rate("sit-xl-2", "bf16", True)]
    assert tflops == pytest.approx(395) and "measured on NVIDIA H200" in where
    assert "from the paper's hours" in rates[Rate("jit-h-16", "bf16", True)][1]


def test_only_what_is_left_is_counted(bare: Path) -> None:
    graph = lay_out(load_suite(SUITE), "sit/drl*", absent_ok=True)
    store = Store(bare / "store")
    whole = Estimator(graph, store, "cuda").estimate(1)
    for node in graph.nodes.values():
        if node.kind == "finetune":
            with atomic.artefact(store.folder("finetune", node.key), {"key": node.key}):
                pass
    part = Estimator(graph, store, "cuda").estimate(1)
    hours = {k.kind: k.tflop / PEAK_TFLOPS / 3600 for k in whole.kinds}
    # Six DRL runs, and three of 5,000 updates that start from one of them.
    assert hours["finetune"] == pytest.approx((6 + 3 * 5 / 3) * 26.1, rel=0.03)
    assert next(k for k in part.kinds if k.kind == "finetune").tflop == 0.0
    assert whole.work.disk > part.work.disk


def test_a_run_stops_before_any_work(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", str(SUITE), "--out", "out", "--offline") == 6
    err = capsys.readouterr().err
    assert f"{WEIGHTS + 1} things are missing before this can run" in err
    assert not (bare / "out").exists()
    # With a network only what no program can bring is in the way: a shared folder, and the images.
    with pytest.raises(MissingPrerequisite, match="2 things are missing"):
        prerequisites.check_ready(load_suite(SUITE), offline=False)


def test_fetch_offline_names_every_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "fetch", str(SUITE), "--offline") == 6
    err = capsys.readouterr().err
    for asset in prerequisites.weights_of(load_suite(SUITE).spec):
        assert f"{asset.name}: {asset.filename}" in err
    assert "offline: the network was not touched" in err
    assert "ImageNet-1k" in err


def test_fetch_brings_the_rest_when_one_file_cannot_be_had(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def bring(asset: Asset, progress: object = None) -> Path:
        asked.append(asset.name)
        if asset.name == "dinov3-vitl16":
            raise MissingPrerequisite("dinov3-vitl16: access refused")
        return bare / asset.name

    monkeypatch.setattr(prerequisites, "resolve", bring)
    assert call(monkeypatch, "fetch", str(SUITE)) == 6
    err = capsys.readouterr().err
    assert len(asked) == len(set(asked)) == WEIGHTS
    assert "access refused" in err
    assert f"hpsv2: {bare}/hpsv2" in err


def test_a_suite_that_needs_nothing(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "fetch", str(ROOT / "tests" / "fault" / "tiny.yaml")) == 0
    assert capsys.readouterr().out == "this suite needs no weights from outside\n"


LOCAL = """
suite: mine
data: {{kind: folder, path: images}}
encoders: {{pixels: {{kind: pixels}}}}
spaces: [pixels]
backbones:
  mine: {{family: sit, checkpoint: {checkpoint}}}
runs: {{base: {{}}}}
sampling: {{steps: 2, n: 4}}
metrics: [fd]
"""


def test_local_files_that_are_not_there(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(LOCAL.format(checkpoint="weights/mine.pt"))
    assert call(monkeypatch, "plan", "mine.yaml") == 0
    text = capsys.readouterr().out
    assert "weights/mine.pt: weights/mine.pt, size unknown (for backbone mine)" in text
    assert "--set backbones.mine.checkpoint=PATH" in text
    assert "images: no such folder" in text
    assert call(monkeypatch, "run", "mine.yaml", "--out", "out") == 6
    assert "2 things are missing" in capsys.readouterr().err
    Path("weights").mkdir()
    torch.save(create("sit", input_size=8, hidden_size=16, depth=1, num_heads=4).state_dict(), "weights/mine.pt")
    assert [m.name for m in prerequisites.missing(load_suite(Path("mine.yaml")))] == ["images"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("encoders.inception.varient=tf1", "did you mean 'variant'"),
        (
            "encoders.dinov2-l.preset=dinov2-vitl14/224/bicubic/cls@1",
            "did you mean 'dinov2-vitl14/224/bicubic-8bit/cls@1'",
        ),
        ("rewards.drl.r2=3", "unknown setting 'r2' (did you mean 'r1'"),
        ("rewards.hpsv2.versoin=2.0", "did you mean 'version'"),
        ("algorithms.adjoint-matching.pases=3", "did you mean 'passes'"),
        ("algorithms.adjoint-matching.preset=papers", "input should be 'paper'"),
        ("backbones.sit.checkpoint=sit-xl-2-25", "did you mean 'sit-xl-2-256'"),
        ("backbones.sit.size=sit-xl-3", "unknown backbone 'sit-xl-3'"),
        ("backbones.sit.autoencoder=sd-vae", "unknown autoencoder 'sd-vae'"),
        ("data.kind=parqet", "did you mean 'parquet'"),
        ("data.size=big", "a number of pixels"),
    ],
)
def test_mistakes_in_the_suite(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], assignment: str, message: str
) -> None:
    assert call(monkeypatch, "validate", str(SUITE), "--set", assignment) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "imagenet256.yaml:" in err


def test_the_papers_suites_are_valid(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suites = sorted((ROOT / "suites" / "paper").glob("*.yaml"))
    assert suites
    assert call(monkeypatch, "validate", str(SUITE), *map(str, suites)) == 0
    assert capsys.readouterr().out.count("ok,") == len(suites) + 1
