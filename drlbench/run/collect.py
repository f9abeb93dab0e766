"""Finished stages to the run's folder: results.csv, run.json, curves.json, replicates.npz and the sample grids.

Only this file and the store know where numbers lie; `drlbench.report` reads the run's folder alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drlbench.errors import IntegrityError
from drlbench.report.results import COLUMNS, Row, write_results
from drlbench.run.across import Found, mean_ratios
from drlbench.run.bound import Bound, bound_of
from drlbench.run.entries import (
    backbone_entry,
    cell_entry,
    looked_through,
    reward_entry,
    rough_rewards,
    space_entry,
    weights_taken,
)
from drlbench.run.grids import write_grids, write_points
from drlbench.run.reading import Curve, Reader, Score
from drlbench.run.signatures import signature
from drlbench.store import atomic
from drlbench.suite.cells import policy

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Measured, Plan
    from drlbench.plan.node import Node


def collect(plan: Plan, reader: Reader, run: Path) -> dict[str, Any]:
    """Write everything a run measured; a cell with a missing or damaged stage keeps the numbers it has.

    Args:
        reader: notes the stages that are damaged; none of their numbers is written.

    Returns:
        run.json's `cells`, `spaces`, `rewards`, `backbones`, `guidances`, `sampling`, `warnings`, `teacher`, `results`
        (the length and checksums of results.csv) and `details`: further numbers of a computation, such as KD's
        standard error over its subsets, under the key of its replicates.
    """
    rows: list[Row] = []
    replicates: dict[str, np.ndarray] = {}
    notes: dict[str, None] = {}
    details: dict[str, dict[str, float]] = {}
    cells = []
    sources: list[tuple[CellPlan | None, str, Measured]] = [
        (c, guidance, measured) for c in plan.cells for guidance, measured in c.measured.items()
    ]
    if plan.data is not None:
        sources.append((None, "none", plan.data))
    for cell, guidance, measured in sources:
        ratios: dict[str, Found] = {}
        for node, space in measured.numbers():
            for score, mark, draws in _scores(plan, reader, node):
                if cell is None and space and score.metric != "fd":
                    continue  # the other distances are taken to the held-out images, which these are
                rows.append(_row(plan, cell, guidance, space, score, mark))
                key = f"{cell.cell.id if cell else 'data'}|{guidance}|{space}|{score.metric}"
                if draws is not None:
                    replicates[key] = draws
                if score.details:
                    details[key] = score.details
                notes |= dict.fromkeys(score.notes)
                if cell is not None and score.metric == "fdr":
                    ratios[space] = score, mark, draws
        for score, mark, draws in mean_ratios(ratios, looked_through(plan)):
            rows.append(_row(plan, cell, guidance, "", score, mark))
            if cell is not None and draws is not None:
                replicates[f"{cell.cell.id}|{guidance}||{score.metric}"] = draws
    for cell in plan.cells:
        kl = _scores(plan, reader, cell.kl) if cell.kl is not None else []
        rows += [_row(plan, cell, guidance, "", score, mark) for score, mark, _ in kl for guidance in cell.measured]
        bound = _bound(plan, reader, cell)
        rows += [_row(plan, cell, "none", score.space, score, mark) for score, mark in bound.rows]
        notes |= dict.fromkeys(bound.notes)
        nats = kl[0][0].value if kl else None
        cells.append(cell_entry(plan, reader, cell, nats, write_grids(plan, reader, cell, run)))
    written = write_results(run / "results.csv", rows)
    if plan.spec.data.kind == "toy":
        write_points(plan, reader, run)
    buffer = io.BytesIO()
    # numpy's stub reads any ** as the flag allow_pickle.
    np.savez_compressed(buffer, **replicates)  # type: ignore[arg-type] # its stub takes the keywords for options
    atomic.write_bytes(run / "replicates.npz", buffer.getvalue())
    atomic.write_json(run / "curves.json", {c.cell.id: list(_curves(reader, c)) for c in plan.cells})
    return {
        "cells": cells,
        "spaces": [space_entry(plan, reader, name) for name in plan.spec.spaces],
        "rewards": [reward_entry(plan, reader, name) for name in plan.spec.rewards],
        "backbones": [backbone_entry(plan, reader, name) for name in plan.spec.backbones],
        "guidances": [
            {"name": g.name, "cfg": g.cfg, "cfg_low": g.low, "cfg_high": g.high, "guide": g.guide and g.guide.run}
            for g in plan.spec.guidance
        ],
        "sampling": plan.spec.sampling.model_dump(mode="json", include={"sampler", "steps", "precision"}),
        "warnings": sorted(notes | weights_taken(plan, reader) | rough_rewards(plan, reader)),
        "teacher": plan.spec.data.teacher,
        "details": details,
        "results": written.model_dump(),
    }


def _scores(plan: Plan, reader: Reader, node: Node) -> list[tuple[Score, str, np.ndarray | None]]:
    """(score, signature, bootstrap replicates) of every metric of a stage; none of a damaged one."""
    if not reader.has(node):
        return []
    try:
        draws = reader.arrays(node, "replicates.npz")
        found = reader.record(node, "rows.json", list[Score])
        return [(score, signature(plan, reader, node, score), draws.get(score.metric)) for score in found]
    except IntegrityError:
        return []  # the reader has noted it, and the cell will say so


def _bound(plan: Plan, reader: Reader, cell: CellPlan) -> Bound:
    try:
        return bound_of(plan, reader, cell)
    except IntegrityError:
        return Bound()  # noted


def _row(plan: Plan, cell: CellPlan | None, guidance: str, space: str, score: Score, mark: str) -> Row:
    spec = plan.spec
    g = next((g for g in spec.guidance if g.name == guidance), spec.guidance[0])
    run = spec.runs[cell.cell.run] if cell else None
    algorithm = spec.algorithms[run.algorithm].kind if run and run.algorithm else ""
    reward = "+".join([*run.with_, *([run.reward] if run.reward else [])]) if run else ""
    added = policy(spec, cell.cell) if cell else None
    values = {
        "suite": spec.suite,
        "backbone": cell.cell.backbone if cell else "",
        "run": cell.cell.run if cell else "data",
        "reward": reward,
        "algorithm": algorithm,
        "lambda": cell.cell.lambda_ if cell else None,
        "seed": cell.cell.seeds if cell else "",
        "guidance": guidance if cell else "none",
        "cfg": g.cfg,
        "cfg_low": g.low,
        "cfg_high": g.high,
        "space": space,
        **{k: getattr(score, k) for k in ("metric", "value", "low", "high", "n", "better")},
        "signature": mark,
        "policy": f"widen={added.widen} depth={added.depth}" if added else "",
    }
    return Row(**{("lambda_" if c == "lambda" else c): values[c] for c in COLUMNS})


def _curves(reader: Reader, cell: CellPlan) -> Iterator[dict[str, Any]]:
    parts = [(number, "discriminator" if n.kind == "reward" else "finetune", n) for number, n in cell.training]
    if cell.trajectory is not None:
        parts.append((0, "trajectory", cell.trajectory))
    for number, kind, node in parts:
        try:
            curve = reader.record(node, "curve.json", Curve) if reader.has(node) else None
        except IntegrityError:
            continue  # noted
        if curve is not None:
            yield {"round": number, "kind": kind, **curve.model_dump(exclude_unset=True)}
