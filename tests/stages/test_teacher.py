"""A run that learns from another run's samples: what it is trained on, and what a suite may not ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_finetune import SUITE, job_of, make

from drlbench.cost.counts import Counts
from drlbench.cost.work import PEAK_TFLOPS, Work
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.finetune.latents import StreamedLatents
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.stages.files import load_model, read_samples
from drlbench.stages.finetune import _latents
from drlbench.suite.load import load_suite
from drlbench.training import to_float

STUDENT = "  student: {algorithm: sft, teacher: {run: prl, lambda: 1, n: 50}}\n"


def written(folder: Path, student: str = STUDENT) -> Path:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("sampling:", f"{student}sampling:"))
    return path


def laid_out(folder: Path) -> Plan:
    return lay_out(load_suite(written(folder)))


def test_a_student_learns_from_its_teachers_samples_alone(tmp_path):
    plan = laid_out(tmp_path)
    cells = {c.cell.run: c for c in plan.cells}
    student, teacher = cells["student"].model, cells["prl"].model
    handed = plan.nodes[student.inputs["teacher"][1]]
    assert handed.kind == "samples" and handed.inputs["model"][1] == teacher.key and handed.settings["n"] == 50
    assert student.inputs["start"][1] == cells["base"].model.key
    measured = cells["prl"].measured["none"].samples
    assert handed.settings["seed"] != measured.settings["seed"] and handed.key != measured.key
    assert "teacher" not in cells["sft"].model.inputs

    store = tmp_path / "store"
    store.mkdir()
    job = job_of(plan, student.key, store, store / "again")
    latents, labels = _latents(job, load_model(job.inputs["start"]))
    images, given = read_samples(store / handed.key)
    assert torch.equal(latents, to_float(images) * 2 - 1) and labels.tolist() == given.tolist()
    weights = [load_file(make(plan, n.key, store) / "weights.safetensors") for n in (student, cells["sft"].model)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ("{algorithm: sft, teacher: {run: prk, lambda: 1, n: 50}}", "unknown run 'prk' (did you mean 'prl'?)"),
        ("{algorithm: sft, teacher: {run: prl, lambda: 2, n: 50}}", "'prl' has no lambda 2; it has 1"),
        ("{algorithm: sft, teacher: {run: prl, n: 50}}", "say which `lambda` of 'prl'; it has 1"),
        ("{algorithm: sft, teacher: {run: student, n: 50}}", "itself learns from another run's samples"),
        ("{reward: bold, algorithm: am, lambda: [1], teacher: {run: base, n: 50}}", "not from both"),
        ("{algorithm: sft, teacher: {run: prl, lambda: 1}}", "runs.student.teacher.n"),
    ],
)
def test_a_teacher_that_cannot_be_is_told_with_its_place(tmp_path, student, told):
    with pytest.raises(UserError) as caught:
        load_suite(written(tmp_path, f"  student: {student}\n"))
    assert told in str(caught.value) and "suite.yaml:" in str(caught.value)


def test_a_plan_counts_what_flow_matching_costs_and_norms_next_to_nothing():
    hours = {}
    for name in ("student", "integrator"):
        plan = lay_out(load_suite(name), absent_ok=True)
        hours[name] = {kind: _floor_hours(plan, kind) for kind in ("finetune", "trajectory")}
    forward = 0.2372
    flow_matching = 2 * 6000 * 576 * 3 * forward / PEAK_TFLOPS / 3600
    reinforcement = 26.1  # of one lambda, as the plan of the main suite says
    assert hours["student"]["finetune"] == pytest.approx(flow_matching + reinforcement, rel=0.03)
    assert 0 < hours["integrator"]["trajectory"] < 0.2


def _floor_hours(plan: Plan, kind: str) -> float:
    counts = Counts(plan.nodes, (1_281_167, 50_000))
    works = [counts.of(n) for n in plan.nodes.values() if n.kind == kind]
    assert all(isinstance(work, Work) for work in works)
    return sum(work.tflop for work in works if isinstance(work, Work)) / PEAK_TFLOPS / 3600


def test_latents_too_many_for_memory_are_encoded_when_asked_for(tmp_path, monkeypatch):
    plan = laid_out(tmp_path)
    node = next(c.model for c in plan.cells if c.cell.run == "sft")
    whole, streamed = tmp_path / "whole", tmp_path / "streamed"
    for folder in (whole, streamed):
        folder.mkdir()
        monkeypatch.setattr("drlbench.stages.finetune.KEPT_BYTES", 16e9 if folder is whole else 1)
        make(plan, node.key, folder)
    a, b = (load_file(folder / node.key / "weights.safetensors") for folder in (whole, streamed))
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    job = job_of(plan, node.key, streamed, streamed / "again")
    assert isinstance(_latents(job, load_model(job.inputs["start"]))[0], StreamedLatents)


def test_memory_that_is_missing_does_not_change_how_latents_are_made(tmp_path, monkeypatch):
    """Streaming hangs on their number alone: where memory is short the stage is refused."""
    plan = laid_out(tmp_path)
    node = next(c.model for c in plan.cells if c.cell.run == "sft")
    make(plan, node.key, tmp_path)
    job = job_of(plan, node.key, tmp_path, tmp_path / "again")
    model = load_model(job.inputs["start"])
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    with pytest.raises(MissingPrerequisite, match="latents take"):
        _latents(job, model)
