"""Finished stages to the run's folder: results.csv, run.json, curves.json, replicates.npz and the sample grids.

Only this file and the store know where numbers lie; `drlbench.report` reads the run's folder alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from drlbench.errors import IntegrityError
from drlbench.report.results import COLUMNS, Row, write_results
from drlbench.run.across import Found, mean_ratios
from drlbench.run.bound import Bound, bound_of
from drlbench.run.reading import Curve, Reader, Score
from drlbench.run.signatures import signature
from drlbench.store import atomic
from drlbench.suite.cells import matched, origin, policy, teacher

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Measured, Plan
    from drlbench.plan.node import Node

GAP, GAP_GREY = 2, 96  # pixels between tiles, so that neighbouring digits do not run into each other
TILE_PIXELS = 24  # the smallest side a digit is recognised at on a phone


def collect(plan: Plan, reader: Reader, run: Path) -> dict[str, Any]:
    """Write everything a run measured; a cell with a missing or damaged stage keeps the numbers it has.

    Args:
        reader: notes the stages that are damaged; none of their numbers is written.

    Returns:
        run.json's `cells`, `spaces`, `rewards`, `backbones`, `guidances`, `warnings`, `teacher`, `results` (the length
        and checksums of results.csv) and `details`: further
        numbers of a computation, such as KD's standard error over its subsets, under the key of its replicates.
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
        for node, space in _numbers(measured):
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
        for score, mark, draws in mean_ratios(ratios, _looked_through(plan)):
            rows.append(_row(plan, cell, guidance, "", score, mark))
            if cell is not None and draws is not None:
                replicates[f"{cell.cell.id}|{guidance}||{score.metric}"] = draws
    for cell in plan.cells:
        kl = next((found for found in _scores(plan, reader, cell.kl)), None) if cell.kl is not None else None
        if kl is not None:
            rows += [_row(plan, cell, guidance, "", kl[0], kl[1]) for guidance in cell.measured]
        bound = _bound(plan, reader, cell)
        rows += [_row(plan, cell, "none", score.space, score, mark) for score, mark in bound.rows]
        notes |= dict.fromkeys(bound.notes)
        cells.append(_cell(plan, reader, cell, run, kl[0].value if kl is not None else None))
    written = write_results(run / "results.csv", rows)
    if plan.spec.data.kind == "toy":
        _write_points(plan, reader, run)
    buffer = io.BytesIO()
    # numpy's stub reads any ** as the flag allow_pickle.
    np.savez_compressed(buffer, **replicates)  # type: ignore[arg-type] # its stub takes the keywords for options
    atomic.write_bytes(run / "replicates.npz", buffer.getvalue())
    atomic.write_json(run / "curves.json", {c.cell.id: list(_curves(reader, c)) for c in plan.cells})
    return {
        "cells": cells,
        "spaces": [_space(plan, reader, name) for name in plan.spec.spaces],
        "rewards": [_reward(plan, reader, name) for name in plan.spec.rewards],
        "backbones": [_backbone(plan, reader, name) for name in plan.spec.backbones],
        "guidances": [{"name": g.name, "cfg": g.cfg, "cfg_low": g.low, "cfg_high": g.high} for g in plan.spec.guidance],
        "sampling": plan.spec.sampling.model_dump(mode="json", include={"sampler", "steps", "precision"}),
        "warnings": sorted(notes | _weights_taken(plan, reader)),
        "teacher": plan.spec.data.teacher,
        "details": details,
        "results": written.model_dump(),
    }


def _numbers(measured: Measured) -> Iterator[tuple[Node, str]]:
    for space, node in measured.scores.items():
        yield node, space
    for node in (*measured.preference.values(), *measured.others.values()):
        yield node, ""


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


def _cell(plan: Plan, reader: Reader, cell: CellPlan, run: Path, kl: float | None) -> dict[str, Any]:
    spec = plan.spec.runs[cell.cell.run]
    needed = [cell.model, *(n for m in cell.measured.values() for n, _ in _numbers(m)), *([cell.kl] if cell.kl else [])]
    trained = [n for _, n in cell.training if reader.has(n)]
    grids = _grids(plan, reader, cell, run)
    terms = [*spec.with_, *([spec.reward] if spec.reward else [])]
    start = origin(plan.spec, cell.cell)
    if start is not None and (reward := plan.spec.runs[start.run].reward):
        terms.append(reward)
    settings = plan.spec.algorithms[spec.algorithm].settings if spec.algorithm else {}
    return {
        "id": cell.cell.id,
        "backbone": cell.cell.backbone,
        "run": cell.cell.run,
        "reward": spec.reward,
        "algorithm": plan.spec.algorithms[spec.algorithm].kind if spec.algorithm else None,
        "lambda": cell.cell.lambda_,
        "seed": cell.cell.seeds,
        "model": [cell.model.kind, cell.model.key],
        "status": "ok" if all(map(reader.has, needed)) else "missing",
        "error": "",
        "optimised": terms,
        "start": None if start is None else start.id,
        "teacher": None if (source := teacher(plan.spec, cell.cell)) is None else source.id,
        "settings": {k: settings[k] for k in ("integrator", "steps") if k in settings},
        "policy": None if (added := policy(plan.spec, cell.cell)) is None else added.model_dump(),
        "updates": next((n.settings["updates"] for _, n in cell.training if n.kind == "finetune"), None),
        "matched": None if (equal := matched(plan.spec, cell.cell)) is None else equal.id,
        "seconds": round(sum(_seconds(reader, n) for n in trained), 1),
        "training_seconds": round(
            sum(reader.described(n).get("training_seconds", 0.0) for n in trained if n.kind == "finetune"), 1
        ),
        "kl_nats": kl,
        "grids": grids,
    }


def _seconds(reader: Reader, node: Node) -> float:
    try:
        return reader.record(node, "seconds.json", float)
    except IntegrityError:
        return 0.0  # noted


def _samples(reader: Reader, node: Node) -> dict[str, np.ndarray] | None:
    """`images` and `labels`, or None: not made, or damaged (which is noted)."""
    try:
        return reader.arrays(node, "samples.npz") if reader.has(node) else None
    except IntegrityError:
        return None


def _write_points(plan: Plan, reader: Reader, run: Path) -> None:
    """points.npz of a toy run: `{cell id}|{guidance}` and `data|none` -> (n, 2) uint8, x and y on the plane's grid."""
    measured = {f"{c.cell.id}|{g}": m.samples for c in plan.cells for g, m in c.measured.items()}
    if plan.data is not None:
        measured["data|none"] = plan.data.samples
    points = {}
    for name, node in measured.items():
        if (kept := _samples(reader, node)) is not None:
            points[name] = kept["images"].reshape(-1, 2)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **points)  # type: ignore[arg-type] # numpy stub, as above
    atomic.write_bytes(run / "points.npz", buffer.getvalue())


def _grids(plan: Plan, reader: Reader, cell: CellPlan, run: Path) -> dict[str, str]:
    if plan.spec.data.kind == "toy":
        return {}  # two grey pixels are no picture
    grids = {}
    for guidance, measured in cell.measured.items():
        if (data := _samples(reader, measured.samples)) is None:
            continue
        picture = draw_grid(data["images"], data["labels"], plan.spec.grid.classes, plan.spec.grid.columns)
        slug = cell.cell.id.replace("/", "--") + f"--{guidance}"
        name = "samples/" + "".join(c if c.isalnum() or c in "-=.+_@" else "_" for c in slug) + ".png"
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        atomic.write_bytes(run / name, buffer.getvalue())
        grids[guidance] = name
    return grids


def draw_grid(images: np.ndarray, labels: np.ndarray, classes: int, columns: int) -> Image.Image:
    """Seed-matched grid: row c holds the first `columns` samples of class c, in the order of their seeds.

    Args:
        images: (n, H, W, C) uint8, C 1 or 3; small ones are enlarged by a whole factor, without smoothing.
        labels: (n,) class of each image.
    """
    _, height, width, channels = images.shape
    factor = max(1, -(-TILE_PIXELS // min(height, width)))
    high, wide = height * factor + GAP, width * factor + GAP
    canvas = np.full((classes * high - GAP, columns * wide - GAP, channels), GAP_GREY, np.uint8)
    for c in range(classes):
        for i, index in enumerate(np.flatnonzero(labels == c)[:columns]):
            tile = images[index].repeat(factor, axis=0).repeat(factor, axis=1)
            canvas[c * high : (c + 1) * high - GAP, i * wide : (i + 1) * wide - GAP] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


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


def _space(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    used = _looked_through(plan)
    about = reader.described(plan.encoders[name])
    return {
        "name": name,
        "kind": plan.spec.encoders[name].kind,
        "dim": about.get("dim"),
        "signature": about.get("signature", ""),
        "held_out": name not in used,
        "kin": _kin(plan, reader, name, used),
    }


def _kin(plan: Plan, reader: Reader, name: str, used: set[str]) -> str:
    """What a held-out space shares with the spaces that rewards look through; empty when nothing is known."""

    def taught(encoder: str) -> str:
        return str(reader.described(plan.encoders[encoder]).get("learned_from", ""))

    others = [other for other in sorted(used - {name}) if taught(other) == taught(name)]
    return f"{taught(name)}, as {', '.join(others)}" if taught(name) and others and name not in used else ""


def _looked_through(plan: Plan) -> set[str]:
    """Spaces that a maximised reward or an algorithm looks through."""
    spec = plan.spec
    own = {e for run in spec.runs.values() if run.algorithm for e in spec.algorithms[run.algorithm].encoders}
    return own | {e for r in _optimised(plan) for e in spec.rewards[r].encoders}


def _optimised(plan: Plan) -> set[str]:
    """Rewards that some run of the suite maximises."""
    return {r for run in plan.spec.runs.values() for r in [*run.with_, *([run.reward] if run.reward else [])]}


def _reward(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    about = reader.described(plan.rewards[name]) if name in plan.rewards else {}
    settings = plan.spec.rewards[name].settings
    trained = {"scratch": "from scratch"}.get(settings.get("encoder_weights", ""), "fine-tuned")
    return {
        **({"encoder_training": trained} if settings.get("encoder_learning_rate") else {}),
        "name": name,
        "kind": plan.spec.rewards[name].kind,
        "held_out": name not in _optimised(plan),
        "description": plan.spec.rewards[name].description,
        "encoders": plan.spec.rewards[name].encoders,
        "signature": about.get("signature", ""),
        "report": {**about.get("report", {}), **{k: v for k, v in settings.items() if k == "r1"}},
    }


def _weights_taken(plan: Plan, reader: Reader) -> dict[str, None]:
    """Per base from a checkpoint, which copy of its weights was taken, where there was anything to choose."""
    found: dict[str, None] = {}
    for node in plan.nodes.values():
        if node.kind == "base" and (note := reader.described(node).get("weights")):
            found[f"{node.label}: {note}"] = None
    return found


def _backbone(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    spec = plan.spec.backbones[name]
    base = next((c.model for c in plan.cells if c.cell.backbone == name and not c.training), None)
    about = reader.described(base) if base else {}
    return {"name": name, "family": spec.family, "parameters": about.get("parameters"), "description": spec.description}
