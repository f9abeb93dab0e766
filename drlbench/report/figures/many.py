"""Draw many figures at once: worker processes share them out, and every file is the same as one process makes it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import matplotlib as mpl

from drlbench.report.figures.style import RC, Picture, save
from drlbench.report.rundata import RunData, read_run
from drlbench.store.provenance import cores

Task = Callable[[], Sequence[Picture]]
Tasks = Callable[[RunData], Sequence[Task]]  # a function of a module, so that a worker finds it by name

_run: RunData | None = None  # a worker's own


def draw_all(run: RunData, tasks: Tasks, folder: Path, workers: int | None = None) -> list[list[Path]]:
    """Write the pictures of every task into `folder`; returns each task's paths.

    Args:
        workers: processes (default: one per core that this process may use).
    """
    count = len(tasks(run))
    workers = min(workers or cores(), count)
    if workers < 2:
        return [_save(task, folder) for task in tasks(run)]
    # Spawned, not forked: numpy's threads do not survive a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _enter, (run.path,))
    with pool:
        return list(pool.map(partial(_draw, tasks, folder), range(count)))


def _enter(path: Path) -> None:
    global _run
    _run = read_run(path)


def _draw(tasks: Tasks, folder: Path, number: int) -> list[Path]:
    assert _run is not None
    return _save(tasks(_run)[number], folder)


def _save(task: Task, folder: Path) -> list[Path]:
    with mpl.rc_context(RC):
        return [path for picture in task() for path in save(picture, folder)]
