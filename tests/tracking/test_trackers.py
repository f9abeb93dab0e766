"""What reaches TensorBoard and Weights & Biases, whose packages need not be installed: stand-ins take the calls."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drlbench.errors import MissingPrerequisite
from drlbench.tracking import Tracking, check_tracker, open_tracker

ROWS = [{"update": n, "seconds": n / 2, "loss": 1.0 / n} for n in (5, 6)]
SETTINGS = {"algorithm": "sft", "settings": {"batch": 8}}


class Calls:
    """Takes every call of the packages and keeps it as (what, positional, named)."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def taker(self, what: str, answer: Any = None) -> Any:
        def take(*given: Any, **named: Any) -> Any:
            self.made.append((what, given, named))
            return answer

        return take

    def of(self, what: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(given, named) for name, given, named in self.made if name == what]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    found = Calls()

    class Writer:
        def __init__(self, *given: Any, **named: Any) -> None:
            found.taker("open")(*given, **named)
            self.add_text, self.add_scalar = found.taker("text"), found.taker("scalar")
            self.close = found.taker("close")

    board = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined] # a module made here has no such name yet
    run = ModuleType("a run of wandb")
    run.log, run.finish = found.taker("log"), found.taker("finish")  # type: ignore[attr-defined] # as above
    weights = ModuleType("wandb")
    weights.init, weights.login = found.taker("init", run), found.taker("login", True)  # type: ignore[attr-defined] # as above
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", weights)
    for name in ("tensorboard", "wandb"):
        monkeypatch.delitem(sys.modules, f"drlbench.tracking.{name}", raising=False)
    yield found
    for name in ("tensorboard", "wandb"):
        sys.modules.pop(f"drlbench.tracking.{name}", None)


def show(tracker: str, folder: Path) -> None:
    tracking = Tracking(tracker, folder, "digits", "sit/drl/lambda=1/seed=0.0 round 1: am", "0123456789abcdef0123")
    opened = open_tracker(tracking, SETTINGS)
    for row in ROWS:
        opened.log(row)
    opened.close()


def test_tensorboard_gets_every_value_at_its_update(calls: Calls, tmp_path: Path) -> None:
    show("tensorboard", tmp_path)
    ((where,), named) = calls.of("open")[0]
    assert where == str(tmp_path / "tensorboard" / "sit_drl_lambda=1_seed=0.0_round_1_am-01234567")
    assert named == {"purge_step": 5}, "a continued run repeats rows; what was shown from there on goes"
    found = [given for given, _ in calls.of("scalar")]
    assert found == [(name, row[name], row["update"]) for row in ROWS for name in ("seconds", "loss")]
    assert '"batch": 8' in calls.of("text")[0][0][1]
    assert len(calls.of("close")) == 1


def test_weights_and_biases_gets_every_value_at_its_update(calls: Calls, tmp_path: Path) -> None:
    show("wandb", tmp_path / "run")
    ((_, named),) = calls.of("init")
    assert (named["project"], named["group"], named["config"]) == ("drlbench", "digits", SETTINGS)
    assert (named["id"], named["resume"]) == ("0123456789abcdef", "allow"), "a continued stage continues its curve"
    assert (tmp_path / "run").is_dir()
    wanted = [(({"seconds": row["seconds"], "loss": row["loss"]},), {"step": row["update"]}) for row in ROWS]
    assert calls.of("log") == wanted
    assert len(calls.of("finish")) == 1


def test_wandb_needs_a_login_unless_it_stays_offline(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(sys.modules["wandb"], "login", lambda prompt: False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(MissingPrerequisite, match="wandb login"):
        check_tracker("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker("wandb")
