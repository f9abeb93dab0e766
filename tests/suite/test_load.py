"""Every mistake in a suite file is one message with file:line:column, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.errors import UserError
from drlbench.suite.cells import cells
from drlbench.suite.load import load_suite

GOOD = """\
suite: tiny
data: {kind: digits}
encoders:
  dae: {kind: small-dae, seed: 1, steps: 10}
  pix: {kind: pixels}
spaces: [pix]
backbones:
  sit:
    family: sit
    pretrain: {steps: 5, lr: 1e-5}
rewards:
  drl: {kind: discriminator, encoders: [dae]}
  ink: {kind: bradley-terry}
algorithms:
  am: {kind: adjoint-matching, updates: 5}
runs:
  base: {}
  drl: {reward: drl, algorithm: am, lambda: [0.5, 1], rounds: 2, headline: {lambda: [1], seeds: [0, 1]}}
  drl+prl: {start: {run: drl, lambda: 1}, reward: ink, algorithm: am, lambda: [1]}
  both: {reward: ink, with: {drl: 1}, algorithm: am, lambda: [2]}
sampling: {steps: 4, n: 20}
metrics: [fd]
preferences: [ink]
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "suite.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_suite_gives_its_cells(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, GOOD))
    pretrain = suite.spec.backbones["sit"].pretrain or {}
    assert pretrain["steps"] == 5 and pretrain["lr"] == 1e-5 and pretrain["hold"] == 0.6, "defaults are written out"
    assert [c.id for c in cells(suite.spec)] == [
        "sit/base/seed=0.0",
        "sit/drl/lambda=0.5/seed=0.0",
        "sit/drl/lambda=1/seed=0.0",
        "sit/drl/lambda=1/seed=0.1",
        "sit/drl+prl/lambda=1/seed=0.0",
        "sit/both/lambda=2/seed=0.0",
    ]


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")], ids=["BOM", "CRLF"])
def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path, text: str) -> None:
    assert load_suite(write(tmp_path, text)).spec.suite == "tiny"


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + p] * 10)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)
)

# ruff: noqa: E501 - one mistake a line reads best
BAD = {
    "unknown key": (GOOD.replace("spaces:", "space:"), ":6:1", "did you mean 'spaces'"),
    "unknown nested key": (GOOD.replace("steps: 4,", "step: 4,"), ":21:12", "did you mean 'steps'"),
    "misspelt key that others hang on": (GOOD.replace("algorithm: am, lambda: [1]", "algorithm: am, lamda: [1]"), ":19:71", "did you mean 'lambda'"),
    "misspelt key that must be there": (GOOD.replace("suite: tiny", "suit: tiny"), ":1:1", "did you mean 'suite'"),
    "missing key": (GOOD.replace("data: {kind: digits}\n", ""), ":1:1", "the key 'data' is missing"),
    "wrong type": (GOOD.replace("n: 20", "n: many"), ":21:22", "valid integer"),
    "quoted number": (GOOD.replace("n: 20", "n: '20'"), ":21:22", "not '20'"),
    "out of range": (GOOD.replace("n: 20", "n: 1"), ":21:22", "greater than 1"),
    "duplicate key": (GOOD + "metrics: [kd]\n", ":24:1", "duplicate key"),
    "tab": (GOOD.replace("  base: {}", "\tbase: {}"), ":17:1", "cannot start any token"),
    "unclosed": (GOOD.replace("data: {kind: digits}", "data: {kind: digits"), ":3:9", "expected"),
    "python tag": (GOOD.replace("kind: digits", "kind: !!python/object:os.system x"), ":2:14", "not allowed"),
    "alias bomb": (BOMB, "", "100000"),
    "empty": ("", "", "the file is empty"),
    "only a comment": ("# nothing\n", "", "the file is empty"),
    "a list": ("- suite\n", ":1:1", "a suite is a mapping"),
    "binary": (b"\xff\xfe\x00\x01", "", "not UTF-8"),
    "too large": ("#" * 1_000_001, "", "larger than"),
    "unknown encoder kind": (GOOD.replace("small-dae", "smal-dae"), ":4:9", "did you mean 'small-dae'"),
    "unknown space": (GOOD.replace("spaces: [pix]", "spaces: [pxi]"), ":6:10", "did you mean 'pix'"),
    "unknown reward": (GOOD.replace("reward: drl", "reward: dlr"), ":18:9", "did you mean 'drl'"),
    "unknown algorithm": (GOOD.replace("algorithm: am, lambda: [2]", "algorithm: ma, lambda: [2]"), ":20:39", "'am'"),
    "unknown metric": (GOOD.replace("metrics: [fd]", "metrics: [fdd]"), ":22:11", "did you mean 'fd'"),
    "lambda missing": (GOOD.replace("with: {drl: 1}, algorithm: am, lambda: [2]", "algorithm: am"), ":20:3", "needs `lambda`"),
    "lambda negative": (GOOD.replace("lambda: [2]", "lambda: [-2]"), ":20:63", "greater than 0"),
    "lambda infinite": (GOOD.replace("lambda: [2]", "lambda: [.inf]"), ":20:63", "finite"),
    "rounds without a discriminator": (GOOD.replace("reward: ink, with: {drl: 1},", "reward: ink, rounds: 2,"), ":20:23", "re-fit"),
    "start from nowhere": (GOOD.replace("{run: drl, lambda: 1}", "{run: dlr, lambda: 1}"), ":19:21", "did you mean 'drl'"),
    "start from no lambda": (GOOD.replace("{run: drl, lambda: 1}", "{run: drl, lambda: 3}"), ":19:31", "has no lambda 3"),
    "neither checkpoint nor pretrain": (GOOD.replace("    pretrain: {steps: 5, lr: 1e-5}\n", ""), ":8:3", "either"),
    "no backbone": (GOOD.replace("sit:\n    family: sit\n    pretrain: {steps: 5, lr: 1e-5}", "{}"), ":7:1", "at least 1"),
    "path as a name": (GOOD.replace("suite: tiny", "suite: ../tiny"), ":1:1", "is not a name"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_told_once_with_its_place(tmp_path: Path, name: str) -> None:
    text, place, hint = BAD[name]
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_suite(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"{path}{place}:" in message
    assert hint in message
    assert message.count(str(path)) == 1
    assert "Traceback" not in message


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("n: 20", "n: 1").replace("metrics: [fd]", "metrics: []").replace("steps: 4", "steps: 0")
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, text))
    assert str(caught.value).count("suite.yaml:") == 3


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(UserError, match=r"no such suite file \(did you mean 'suite'\?\)"):
        load_suite(tmp_path / "suit.yaml")


def test_set_overrides_by_path(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, GOOD), ("sampling.n=30", "runs.both.lambda=[1e-1, 3]", "spaces.0=dae"))
    assert suite.spec.sampling.n == 30
    assert suite.spec.runs["both"].lambda_ == [0.1, 3]
    assert suite.spec.spaces == ["dae"]


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [("sampling.n", "key.path=value"), ("sampling.m.k=3", "no key 'm'"), ("smapling.n=3", "did you mean 'sampling'"),
     ("suite.x=3", "single value"), ("sampling.n=[", "not valid YAML")],
)  # fmt: skip
def test_a_bad_override_is_told(tmp_path: Path, assignment: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, GOOD), (assignment,))
    assert hint in str(caught.value)


def test_a_folder_named_like_a_shipped_suite_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits-small").mkdir()
    for _ in range(2):
        assert load_suite("digits-small").spec.suite == "digits-small"
    assert capfd.readouterr().err == "digits-small: the shipped suite, not the folder of that name here\n"
    with pytest.raises(UserError, match=r"is a folder, not a suite file"):
        load_suite(tmp_path / "digits-small")
    Path("mine").mkdir()
    with pytest.raises(UserError, match=r"mine: is a folder, not a suite file"):
        load_suite("mine")
