"""Drive an algorithm for a number of updates, with checkpoints by wall clock and exact resume.

`metrics.jsonl` grows by one line per update while the run goes on; a resumed run cuts it back to the checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from drlbench.errors import Diverged, UserError
from drlbench.finetune.base import Algorithm
from drlbench.finetune.finite import REMEDY
from drlbench.finetune.ranks import gathered, largest, world
from drlbench.store import checkpoint
from drlbench.store.atomic import write_text

METRICS = "metrics.jsonl"


def train(
    algorithm: Algorithm,
    updates: int,
    checkpoint_dir: Path | None = None,
    checkpoint_seconds: float = 600.0,
    on_step: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Step until `updates` updates have been done in all, this call's and earlier ones'.

    Args:
        algorithm: freshly built; with a checkpoint in `checkpoint_dir` it continues exactly where that one was.
        updates: total number of updates.
        checkpoint_dir: none: nothing is saved. The same folder for all ranks.
        checkpoint_seconds: at most this long between checkpoints (longer while a large buffer is in use); less where
            one is written quickly, since a kill takes what came after it.
        on_step: called with each finished row; it may add to the row (held-out metrics).

    Returns:
        One row per update: `update` (from 1), `seconds` of training so far, and what the algorithm logs. Seconds are
        those of the clock on a GPU, and of the processor on a CPU, which other processes do not lengthen; loading,
        checkpoints and held-out measures are not in them.

    Raises:
        Diverged: a logged value is not finite.
        IntegrityError: the checkpoint is damaged or belongs to other settings.
        UserError: it was written on another number of ranks.
    """
    folder, leads = checkpoint_dir, world()[0] == 0
    rows = _resume(algorithm, folder) if folder is not None else []
    if folder is not None and leads:
        write_text(folder / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    on_cpu = next(algorithm.policy.parameters()).device.type == "cpu"
    clock = time.process_time if on_cpu else time.monotonic
    spent = rows[-1]["seconds"] if rows else 0.0
    saved_at, saved_rows, took = time.monotonic(), len(rows), 0.0
    while len(rows) < updates:
        start = clock()
        row: dict[str, Any] = dict(algorithm.step())
        spent += clock() - start
        number = len(rows) + 1
        for name, value in row.items():
            if not math.isfinite(value) and not (name == "threshold" and value == math.inf):
                raise Diverged(f"update {number}: {name} is {value}; {REMEDY}")
        row = {"update": number, "seconds": round(spent, 4)} | {k: v for k, v in row.items() if math.isfinite(v)}
        if on_step is not None:
            on_step(row)
        rows.append(row)
        if folder is not None and leads:
            with (folder / METRICS).open("a") as live:
                live.write(json.dumps(row) + "\n")
        due = checkpoint.due((began := time.monotonic()) - saved_at, took, checkpoint_seconds)
        # Clocks differ from rank to rank, so the first one asks all others.
        if folder is not None and largest(due and algorithm.cheap_to_save()):
            _save(algorithm, folder, rows)
            saved_at, saved_rows = time.monotonic(), len(rows)
            took = saved_at - began
    if folder is not None and saved_rows < len(rows):
        _save(algorithm, folder, rows)
    return rows


def _save(algorithm: Algorithm, folder: Path, rows: list[dict[str, Any]]) -> None:
    state: dict[str, Tensor] = {name: value.contiguous() for name, value in algorithm.state_dict().items()}
    rank = world()[0]
    states = gathered(checkpoint.write_state(folder, len(rows), rank, safetensors.torch.save(state)))
    if rank == 0:
        checkpoint.write(folder, states, algorithm.signature, rows)
    gathered(None)  # nobody goes on to overwrite a state before the record of it is there


def _resume(algorithm: Algorithm, folder: Path) -> list[dict[str, Any]]:
    rank, ranks = world()
    found = checkpoint.read_for(folder, algorithm.signature)
    if found is None:
        return []
    if len(found.states) != ranks:
        raise UserError(
            f"{folder / checkpoint.PROGRESS}: was written on {len(found.states)} ranks, this is a run on {ranks}; "
            f"go on with --ranks {len(found.states)}, or delete {folder} to start again"
        )
    algorithm.load_state_dict(safetensors.torch.load_file(checkpoint.checked(folder, found.states[rank])))
    return [*found.rows]
