"""Names are safe in file names and columns, ids tell cells apart, and nothing is said twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.errors import UserError, shown
from drlbench.suite.load import load_suite
from drlbench.suite.shipped import shipped_suites


@pytest.mark.parametrize("name", ["..", "-rf", "=cmd|x", "a b", "a/b", "é", "a\nb", "x?", "a--b", "x" * 81, ""])
@pytest.mark.parametrize("where", ["suite", "runs", "guidance", "encoders", "backbones"])
def test_a_name_that_is_not_safe_is_refused(tmp_path: Path, name: str, where: str) -> None:
    spelt = '"' + name.replace("\n", "\\n") + '"'
    text = shipped_suites()["digits-small"].read_text()
    old, new = {
        "suite": ("suite: digits-small", f"suite: {spelt}"),
        "runs": ("  base: {}", f"  base: {{}}\n  {spelt}: {{}}"),
        "guidance": ("metrics:", f"guidance: [{{name: {spelt}}}]\nmetrics:"),
        "encoders": ("encoders:\n", f"encoders:\n  {spelt}: {{kind: pixels}}\n"),
        "backbones": ("backbones:\n", f"backbones:\n  {spelt}: {{family: sit, checkpoint: sit-xl-2-256}}\n"),
    }[where]
    assert old in text
    path = tmp_path / "suite.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_suite(path)
    assert all(c.isprintable() or c == "\n" for c in str(caught.value))


def test_every_lambda_is_a_cell_of_its_own() -> None:
    cells = load_suite("digits-small", ("runs.drl.lambda=[1, 1.0000001, 1e-7]", "runs.drl.headline=null")).cells
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids)
    assert "sit/drl/lambda=1/seed=0.0" in ids and "sit/drl/lambda=1.0000001/seed=0.0" in ids


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("runs.drl.lambda=[1, 1]", "1 is given twice"),
        ("runs.drl.lambda=[1, 1.0]", "1 is given twice"),
        ("runs.drl.seeds=[0, 0]", "0 is given twice"),
        ("base_seeds=[3, 3]", "3 is given twice"),
        ("spaces=[pixels, pixels]", "pixels is given twice"),
        ("metrics=[fd, fd]", "fd is given twice"),
        ("preferences=[drl, drl]", "drl is given twice"),
        ("rewards.drl.encoders=[dae, dae]", "dae is given twice"),
        ("sampling.n=1000000000000000000000000000000", "beyond 2^63"),
        ("sampling.n=10000001", "less than or equal to 10000000"),
        ("sampling.steps=100001", "less than or equal to 100000"),
        ("resamples=1000000", "less than or equal to 100000"),
        ("grid.columns=100000", "less than or equal to 1000"),
        ("sampling.n='200'", "valid integer"),
        ("sampling.n=true", "valid integer"),
        ("sampling.n=200.0", "valid integer"),
        ("algorithms.am.learning_rate='1e-3'", "valid number"),
        ("algorithms.am.learning_rate=true", "valid number"),
        ("algorithms.am.steps=40.0", "valid integer"),
        ("algorithms.am.updates=10000001", "less than or equal to"),
        ("backbones.sit.pretrain.steps=2000000000", "beyond 1,000,000,000"),
        ("runs.data={}", "is kept for the images themselves"),
        ("runs.DRL={}", "differ in case only"),
    ],
)
def test_a_value_that_means_nothing_is_refused(assignment: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_suite("digits-small", (assignment,))
    assert told in str(caught.value) and assignment in str(caught.value) and "--set " in str(caught.value)


def test_a_part_of_a_metric_that_is_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match="stats_per_class=3"):
        load_suite("digits-small", ("metrics=[fd]", "stats_per_class=3"))


def test_numbers_may_be_written_as_people_do() -> None:
    suite = load_suite(
        "digits-small", ("algorithms.am.learning_rate=1e-3", "runs.drl.headline=null", "runs.drl.lambda=1")
    )
    assert suite.spec.algorithms["am"].settings["learning_rate"] == 1e-3
    assert suite.spec.runs["drl"].lambda_ == [1]


def test_text_of_others_is_shown_and_not_obeyed() -> None:
    assert shown("a\x1b[31m\n\u202eb é") == "a\\x1b[31m\\n\\u202eb é"
    assert len(shown("x" * 1000)) == 200


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "suite: least\ndata: {kind: digits}\nruns: {base: {}}\n"
        "backbones: {sit: {family: sit, architecture: {hidden_size: 12, num_heads: 3}, pretrain: {steps: 3}}}\n"
    )
    spec = load_suite(path).spec
    assert spec.spaces == list(spec.encoders) == ["contrastive", "dae", "pixels"]
    assert spec.metrics == ["fd", "kd", "prdc", "stats"] and spec.sampling.n == 5000
    path.write_text(path.read_text() + "encoders: {mine: {kind: pixels}}\n")
    assert load_suite(path).spec.spaces == ["mine"]


@pytest.mark.parametrize("name", ["digits", "student", "toy_shift"])
def test_shipped_suites_are_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_suite(name).spec.suite == name
