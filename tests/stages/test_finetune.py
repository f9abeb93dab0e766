"""The fine-tune stage: what it is watched by, that it is the same on two ranks, and where its rows go."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.plan.pipeline import lay_out
from drlbench.run.executors.ranks import RankFailed, _follow, run_on_ranks
from drlbench.stages import Job, stage_function
from drlbench.suite.load import load_suite
from drlbench.tracking import Tracking, check_tracker

SUITE = """
suite: watched
data: {kind: digits}
encoders:
  pixels: {kind: pixels}
  dae: {kind: small-dae, steps: 5, width: 8, features: 8}
spaces: [pixels, dae]
backbones:
  sit:
    family: sit
    architecture:
      {input_size: 8, patch_size: 4, in_channels: 1, hidden_size: 16, depth: 1, num_heads: 2, num_classes: 10,
       learn_sigma: false}
    pretrain: {steps: 40, batch: 32}
rewards:
  bold: {kind: bradley-terry, seed: 5, count: 200, network: mlp, width: 8, steps: 40}
  bold-held-out: {kind: bradley-terry, seed: 6, count: 200, network: mlp, width: 12, steps: 40}
algorithms:
  am: {kind: adjoint-matching, updates: 6, steps: 4, buffer: 16, batch: 16, passes: 1, learning_rate: 1e-2, warmup: 0}
  sft: {kind: sft, updates: 6, batch: 32, learning_rate: 1e-2, warmup: 0}
runs:
  base: {}
  sft: {algorithm: sft}
  prl: {reward: bold, algorithm: am, lambda: [1]}
sampling: {sampler: euler, steps: 4, n: 40}
metrics: [fd]
preferences: [bold, bold-held-out]
"""


def laid_out(folder: Path, *overrides: str) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(SUITE)
    return lay_out(load_suite(path, overrides))


def tuned(plan: Plan, run: str = "prl") -> Node:
    return next(n for n in plan.nodes.values() if n.kind == "finetune" and f"/{run}/" in n.label)


def make(plan: Plan, key: str, folder: Path) -> Path:
    """Run a stage and those it needs, in this process; finished ones are not run again."""
    out = folder / key
    if not out.exists():
        stage_function(plan.nodes[key].kind, {})(job_of(plan, key, folder, out))
    return out


def job_of(plan: Plan, key: str, folder: Path, out: Path) -> Job:
    """A stage's job with its inputs made."""
    node = plan.nodes[key]
    inputs = {name: make(plan, k, folder) for name, (_, k) in node.inputs.items()}
    out.mkdir()
    return Job(node.settings, inputs, out, out / "partial", "cpu", lambda _: None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_held_out_measures_join_the_curve(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "algorithms.am.watch={every: 2, n: 40}")
    assert tuned(plan).settings["watch"]["rewards"] == ["bold-held-out"], "bold is optimised"
    curve = json.loads((make(plan, tuned(plan).key, store) / "curve.json").read_text())
    assert curve["step"] == [1, 2, 3, 4, 5, 6]
    for name in ("bold-held-out", "fd/pixels", "fd/dae", "kl_nats"):
        values, errors = curve["series"][f"held_out/{name}"], curve["series"][f"held_out/{name}/error"]
        assert [v is not None for v in values] == [False, True] * 3, name
        assert all(e > 0 for e in errors if e is not None), name
        assert len({v for v in values if v is not None}) == 3, "the model changes"


def test_fd_loss_sees_the_real_images_through_the_suites_encoders(store: Path, tmp_path: Path) -> None:
    plan = laid_out(
        tmp_path,
        "algorithms.fd={kind: fd-loss, updates: 3, batch: 24, population: 400, sampler_steps: 3, learning_rate: 1e-9, "
        "decay: 0.9999, encoders: [dae], watch: {every: 3, n: 400}}",
        "runs.fd={algorithm: fd, policy: {widen: 8}}",
        "sampling.steps=3",
    )
    series = json.loads((make(plan, tuned(plan, "fd").key, store) / "curve.json").read_text())["series"]
    assert "held_out/fd/dae" not in series and series["held_out/fd/pixels"][-1] > 0
    base = next(
        n for n in plan.nodes.values() if n.kind == "scores" and "/base/" in n.label and n.label.endswith("dae")
    )
    rows = json.loads((make(plan, base.key, store) / "rows.json").read_text())
    fd = next(row["value"] for row in rows if row["metric"] == "fd")
    assert series["fd/dae"][0] == pytest.approx(fd, rel=0.5)  # other noise, 400 samples against 40


def test_the_kl_of_the_watch_is_that_of_the_stage(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "algorithms.am.watch={every: 2, n: 40}", "kl_samples=40")
    curve = json.loads((make(plan, tuned(plan).key, store) / "curve.json").read_text())
    stage = next(n for n in plan.nodes.values() if n.kind == "kl" and "/prl/" in n.label)
    seen: list[float] = []
    task = replace(job_of(plan, stage.key, store, store / stage.key), progress=seen.append)
    stage_function("kl", {})(task)
    row, norms = json.loads((task.out / "rows.json").read_text())
    assert norms["metric"] == "velocity_norm_ratio" and norms["n"] == 40 and norms["better"] == "closer"
    assert 0 < norms["low"] < norms["value"] < norms["high"]
    assert seen == [0.7], "its samples are the longer part"
    assert curve["series"]["held_out/kl_nats"][-1] == pytest.approx(row["value"], rel=1e-5)
    assert "stop" not in curve or "kl_nats" not in str(curve["stop"])


def test_time_spent_training_is_kept_without_that_of_watching(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "algorithms.am.watch={every: 1, n: 100}")
    started = time.process_time()
    about = json.loads((make(plan, tuned(plan).key, store) / "description.json").read_text())
    assert about["clock"] == "cpu"
    assert 0 < about["training_seconds"] < 0.5 * (time.process_time() - started)


def test_a_watched_run_is_the_same_run(store: Path, tmp_path: Path) -> None:
    plain, watched = laid_out(tmp_path), laid_out(tmp_path, "algorithms.am.watch={every: 2, n: 40}")
    assert "watch" not in tuned(plain).settings
    assert set(tuned(plain).inputs) == {"start", "reward:bold"}
    weights = [(make(plan, tuned(plan).key, store) / "weights.safetensors").read_bytes() for plan in (plain, watched)]
    assert weights[0] == weights[1]
    series = json.loads((store / tuned(plain).key / "curve.json").read_text())["series"]
    assert not any(name.startswith("held_out") for name in series)


def test_the_marker_says_where_and_why(store: Path, tmp_path: Path) -> None:
    """A learning rate that ruins the model: distances are best at the first measurement."""
    plan = laid_out(
        tmp_path,
        "algorithms.am.watch={every: 2, n: 200}",
        "algorithms.am.learning_rate=0.01",
        "algorithms.am.updates=12",
        "runs.prl.lambda=[30]",
    )
    curve = json.loads((make(plan, tuned(plan).key, store) / "curve.json").read_text())
    assert curve["summary"]["stop_at"] == curve["stop"]["at"] == 2
    assert any(line.startswith("held-out fd/pixels: best ") for line in curve["stop"]["why"]), curve["stop"]


def test_nothing_held_out_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"algorithms\.am\.watch: run 'prl' optimises every entry"):
        laid_out(
            tmp_path,
            "algorithms.am.watch={every: 2}",
            "preferences=[bold]",
            "spaces=[dae]",
            "rewards.bold={kind: discriminator, encoders: [dae]}",
        )


@pytest.mark.parametrize(("run", "sharding"), [("prl", "none"), ("sft", "fsdp")])
def test_two_ranks_make_the_model_of_one(store: Path, tmp_path: Path, run: str, sharding: str) -> None:
    plan = laid_out(tmp_path, "algorithms.am.watch={every: 3, n: 40}", f"algorithms.sft.sharding={sharding}")
    key = tuned(plan, run).key
    alone = make(plan, key, store)
    done: list[float] = []
    job = job_of(plan, key, store, tmp_path / "two")
    run_on_ranks("finetune", replace(job, progress=done.append), 2)
    assert done == pytest.approx([i / 6 for i in range(1, 7)]), "rank 0 tells, the other is silent"
    curves = [json.loads((folder / "curve.json").read_text()) for folder in (alone, job.out)]
    for name, values in curves[0]["series"].items():
        for mine, theirs in zip(values, curves[1]["series"][name], strict=True):
            assert theirs == (None if mine is None else pytest.approx(mine, rel=2e-3, abs=1e-4)), name
    weights = [load_file(folder / "weights.safetensors") for folder in (alone, job.out)]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).abs().max() < 2e-3, name


def test_a_rank_that_fails_is_told_as_it_was(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "algorithms.sft.batch=33", "algorithms.sft.sharding=fsdp")
    job = job_of(plan, tuned(plan, "sft").key, store, tmp_path / "two")
    with pytest.raises(UserError, match=r"batch \(33\) must be a multiple of 2 ranks"):
        run_on_ranks("finetune", job, 2)


def test_a_rank_that_is_killed_ends_the_stage(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path)
    job = job_of(plan, tuned(plan, "sft").key, store, tmp_path / "two")
    processes = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=-9)]
    with pytest.raises(RankFailed, match="rank 1 died with exit code -9"):
        _follow(processes, multiprocessing.get_context("spawn").Queue(), job)


def test_rows_reach_tensorboard(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an optional package of --tracker")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = laid_out(tmp_path)
    job = job_of(plan, tuned(plan, "sft").key, store, tmp_path / "out")
    tracking = Tracking("tensorboard", tmp_path, "watched", "sit/sft round 1", "0123456789abcdef")
    stage_function("finetune", {})(replace(job, tracking=tracking))
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == "sit_sft_round_1-01234567"
    events = EventAccumulator(str(folder)).Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    curve = json.loads((job.out / "curve.json").read_text())
    assert [step for step, _ in found] == curve["step"]
    assert [value for _, value in found] == pytest.approx(curve["series"]["loss"])


def test_a_tracker_that_cannot_work_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        check_tracker("tensorbord")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPrerequisite, match="pip install wandb"):
        check_tracker("wandb")


@pytest.mark.parametrize(
    ("line", "mistake", "told"),
    [
        ("updates: 6, steps: 4", "updates: 6, stepps: 4", "unknown setting 'stepps' .*did you mean 'steps'"),
        ("pretrain: {", "pretrain: {stepz: 3, ", "unknown setting 'stepz' .*did you mean 'steps'"),
    ],
)
def test_settings_are_checked_before_the_run(tmp_path: Path, line: str, mistake: str, told: str) -> None:
    path = tmp_path / "suite.yaml"
    assert line in SUITE
    path.write_text(SUITE.replace(line, mistake))
    with pytest.raises(UserError, match=rf"suite\.yaml:\d+:\d+: .*{told}"):
        load_suite(path)


def test_a_wider_policy_is_trained_and_kept(tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "runs.sft.policy={widen: 8, depth: 2}")
    node = tuned(plan, "sft")
    weights = load_file(make(plan, node.key, tmp_path) / "weights.safetensors")
    start = load_file(tmp_path / node.inputs["start"][1] / "weights.safetensors")
    second = {n: w for n, w in weights.items() if n.startswith("beside.")}
    assert weights.keys() - second.keys() == start.keys()
    assert second["beside.final_layer.linear.weight"].abs().max() > 0
    assert any((weights[n] - start[n]).abs().max() > 0 for n in start)
    samples = next(n for n in plan.nodes.values() if n.inputs.get("model") == ("finetune", node.key))
    make(plan, samples.key, tmp_path)
