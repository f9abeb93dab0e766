"""The command line's contract: exit codes, one clear message, nothing but results on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from drlbench.cli import main as cli
from drlbench.errors import IntegrityError, Locked, MissingPrerequisite


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


MISUSES = {
    "unknown verb": (["rnu"], "Did you mean 'run'"),
    "no such suite": (["validate", "digts"], "did you mean 'digits'"),
    "suite is a folder": (["validate", "."], "is a folder"),
    "missing argument": (["validate"], "Missing argument"),
    "unknown option": (["run", "digits", "--sore", "x"], "--sore"),
    "option without value": (["run", "digits", "--set"], "requires an argument"),
    "bad --set": (["validate", "digits", "--set", "sampling.n"], "key.path=value"),
    "--set of an unknown key": (["validate", "digits", "--set", "sampling.m=3"], "unknown key 'm'"),
    "--set out of range": (["validate", "digits", "--set", "sampling.n=0"], "greater than 1"),
    "cells that match nothing": (["plan", "digits", "--cells", "sit/bse/*"], "matches none"),
    "unknown executor": (["run", "digits", "--executor", "slurm"], "valid: local"),
    "unknown device": (["run", "digits", "--device", "tpu"], "valid are cpu"),
    "limit of zero": (["run", "digits", "--limit", "0"], "--limit"),
    "unknown kind": (["list", "backbone"], "did you mean 'backbones'"),
    "status of no run": (["status", "suites"], "no run here"),
    "verify of no run": (["verify", "suites"], "run.json is missing"),
    "unknown schema": (["schema", "suites"], "did you mean 'suite'"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, name: str
) -> None:
    arguments, hint = MISUSES[name]
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("drlbench: ")
    assert hint in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("error", "code"), [(Locked, 4), (IntegrityError, 5), (MissingPrerequisite, 6)])
def test_every_kind_of_error_has_its_exit_code(monkeypatch: pytest.MonkeyPatch, error: type, code: int) -> None:
    def broken(*_: object) -> None:
        raise error("it is so")

    monkeypatch.setattr("drlbench.suite.load.load_suite", broken)
    assert call(monkeypatch, "validate", "digits") == 2  # validate gathers what is wrong with each file
    assert call(monkeypatch, "plan", "digits") == code


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("drlbench.suite.load.load_suite", broken)
    monkeypatch.setattr(sys, "argv", ["drlbench", "plan", "digits"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_built_in_suites_are_valid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    names = [p.stem for p in Path(__file__).parents[2].joinpath("suites").glob("*.yaml")]
    assert {"digits", "digits-small", "digits-all"} <= set(names)
    assert call(monkeypatch, "validate", *names) == 0
    assert capsys.readouterr().out.count("ok,") == len(names)


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert call(monkeypatch, "plan", "digits-small", "--json", "--store", str(tmp_path)) == 0
    assert json.loads(capsys.readouterr().out)["suite"] == "digits-small"
    assert call(monkeypatch, "schema", "suite") == 0
    assert "properties" in json.loads(capsys.readouterr().out)


def test_plan_tells_what_each_set_saves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    place = ("plan", "digits-small", "--store", str(tmp_path), "--device", "cpu")
    assert call(monkeypatch, *place, "--set", "sampling.n=30", "--set", "runs.drl.lambda=[1]") == 0
    told = capsys.readouterr().out
    assert "--set sampling.n=30: " in told and "--set runs.drl.lambda=[1]: about " in told and " instead of " in told
    assert call(monkeypatch, *place) == 0
    assert "--set" not in capsys.readouterr().out


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("drlbench 0.")
