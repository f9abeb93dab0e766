"""What the tests of a run's own files share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from least_run import Least, make

from drlbench.store.layout import Store


@pytest.fixture(scope="session")
def least_once(tmp_path_factory: pytest.TempPathFactory) -> Least:
    """Not to be changed."""
    return make(tmp_path_factory.mktemp("least") / "store")


@pytest.fixture
def least(least_once: Least, tmp_path: Path) -> Least:
    """A copy to be changed."""
    return replace(least_once, store=Store(shutil.copytree(least_once.store.root, tmp_path / "store")))
