"""Make one stage: check its inputs, call its function, seal its folder. What every worker of every executor does."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from drlbench.errors import UserError
from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, Work, WorkerLost
from drlbench.store import atomic
from drlbench.store.bucket import open_store
from drlbench.store.disk import refusal, size
from drlbench.store.layout import folder_size

if TYPE_CHECKING:
    from drlbench.stages import Job


def make(
    node: Node,
    work: Work,
    place: str,
    progress: Callable[[float], None],
    together: Callable[[str, Job], None] | None = None,
) -> Outcome:
    """Make one stage's folder; what goes wrong comes back as text, so that other cells go on.

    Args:
        place: the device of this worker.
        progress: told the fraction done.
        together: runs a stage of `ON_RANKS` on all its ranks, where they are not processes of this machine.

    Raises:
        WorkerLost: a machine that took part is gone; the stage may be tried again.
    """
    from drlbench.run.executors import devices, torchrun
    from drlbench.run.executors.ranks import run_on_ranks
    from drlbench.stages import ON_RANKS, Job

    store, started = open_store(work.store), time.monotonic()
    folder, partial = store.folder(node.kind, node.key), store.partial(node.key)
    written = 0
    try:
        record = {
            "key": node.key,
            "kind": node.kind,
            "version": node.version,
            "settings": dict(node.settings),
            "inputs": {name: key for name, (_, key) in node.inputs.items()},
            "label": node.label,
        }
        with store.in_use([node.key, *(key for _, key in node.inputs.values())]):
            for kind, key in node.inputs.values():
                atomic.check(store.bring(kind, key), key)
            with atomic.artefact(folder, record) as out:
                inputs = {name: store.folder(kind, key) for name, (kind, key) in node.inputs.items()}
                shown = replace(work.tracking, label=node.label, key=node.key) if work.tracking else None
                job = Job(node.settings, inputs, out, partial, place, progress, shown)
                try:
                    if together is not None and node.kind in ON_RANKS:
                        together(node.kind, job)
                    elif torchrun.started() and node.kind in ON_RANKS:
                        torchrun.run_together(node.kind, job)
                    elif work.ranks > 1 and node.kind in ON_RANKS:
                        run_on_ranks(node.kind, job, work.ranks)
                    else:
                        devices.run_stage(node.kind, job)
                    atomic.put_json(out / "seconds.json", round(time.monotonic() - started, 3))
                except BaseException:
                    written = folder_size(out)
                    raise
            store.send(node.kind, node.key)
        shutil.rmtree(partial, ignore_errors=True)
        return Outcome("made", time.monotonic() - started)
    except WorkerLost:
        raise
    except Exception as error:
        # The boundary of a cell: whatever it was, it is told with its traceback and the other cells go on.
        known = error if isinstance(error, UserError) else refusal(error, folder)
        told = str(known) if known is not None else f"{type(error).__name__}: {error}"
        if known is not None and known is not error and written:
            told += f" ({size(written)} of this stage had been written)"
        code = 1 if known is None or known.exit_code == 2 else known.exit_code
        return Outcome("failed", time.monotonic() - started, told, traceback.format_exc(), code)
    finally:
        devices.release()
