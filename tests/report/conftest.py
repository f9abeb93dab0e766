"""Runs made up once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import HOSTILE, make_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "made-up")


@pytest.fixture(scope="session")
def hostile_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(
        tmp_path_factory.mktemp("runs") / "hostile", names={**HOSTILE, "title": "</script><img src=x onerror=alert(2)>"}
    )
