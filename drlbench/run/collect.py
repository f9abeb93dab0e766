"""Finished stages to the run's folder: results.csv, run.json, curves.json, replicates.npz and the sample grids.

Only this file and the store know where numbers lie; `drlbench.report` reads the run's folder alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from drlbench.report.results import COLUMNS, Row, write_results
from drlbench.run.bound import bound_rows
from drlbench.run.signatures import described, signature
from drlbench.store import atomic
from drlbench.store.layout import Store
from drlbench.suite.cells import origin, teacher

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Measured, Plan
    from drlbench.plan.node import Node

GAP, GAP_GREY = 2, 96  # pixels between tiles, so that neighbouring digits do not run into each other
TILE_PIXELS = 24  # the smallest side a digit is recognised at on a phone


def collect(plan: Plan, store: Store, run: Path) -> dict[str, Any]:
    """Write everything a run measured; a cell with a missing stage keeps the numbers it has.

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
        for node, space in _numbers(measured):
            for row, draws in _read_scores(store, node):
                if cell is None and space and row["metric"] != "fd":
                    continue  # the other distances are taken to the held-out images, which these are
                row["signature"] = signature(plan, store, node, row)
                rows.append(_row(plan, cell, guidance, space, row))
                key = f"{cell.cell.id if cell else 'data'}|{guidance}|{space}|{row['metric']}"
                if draws is not None:
                    replicates[key] = draws
                if row.get("details"):
                    details[key] = row["details"]
                notes |= dict.fromkeys(row["notes"])
    for cell in plan.cells:
        if cell.kl is not None and store.has(cell.kl.kind, cell.kl.key):
            row = _json(store, cell.kl, "rows.json")[0]
            row["signature"] = signature(plan, store, cell.kl, row)
            rows += [_row(plan, cell, guidance, "", row) for guidance in cell.measured]
        rows += [_row(plan, cell, "none", row["space"], row) for row in bound_rows(plan, store, cell)]
        cells.append(_cell(plan, store, cell, run))
    written = write_results(run / "results.csv", rows)
    if plan.spec.data.kind == "toy":
        _write_points(plan, store, run)
    buffer = io.BytesIO()
    # numpy's stub reads any ** as the flag allow_pickle.
    np.savez_compressed(buffer, **replicates)  # type: ignore[arg-type] # its stub takes the keywords for options
    atomic.write_bytes(run / "replicates.npz", buffer.getvalue())
    atomic.write_json(run / "curves.json", {c.cell.id: list(_curves(store, c)) for c in plan.cells})
    return {
        "cells": cells,
        "spaces": [_space(plan, store, name) for name in plan.spec.spaces],
        "rewards": [_reward(plan, store, name) for name in plan.spec.rewards],
        "backbones": [_backbone(plan, store, name) for name in plan.spec.backbones],
        "guidances": [{"name": g.name, "cfg": g.cfg, "cfg_low": g.low, "cfg_high": g.high} for g in plan.spec.guidance],
        "sampling": plan.spec.sampling.model_dump(mode="json", include={"sampler", "steps", "precision"}),
        "warnings": sorted(notes | _weights_taken(plan, store)),
        "teacher": plan.spec.data.teacher,
        "details": details,
        "results": written.model_dump(),
    }


def _numbers(measured: Measured) -> Iterator[tuple[Node, str]]:
    for space, node in measured.scores.items():
        yield node, space
    for node in measured.preference.values():
        yield node, ""


def _json(store: Store, node: Node, name: str) -> Any:
    return json.loads((store.folder(node.kind, node.key) / name).read_text())


def _read_scores(store: Store, node: Node) -> Iterator[tuple[dict[str, Any], np.ndarray | None]]:
    if not store.has(node.kind, node.key):
        return
    with np.load(store.folder(node.kind, node.key) / "replicates.npz", allow_pickle=False) as draws:
        for row in _json(store, node, "rows.json"):
            yield row, draws.get(row["metric"])


def _row(plan: Plan, cell: CellPlan | None, guidance: str, space: str, row: dict[str, Any]) -> Row:
    spec = plan.spec
    g = next((g for g in spec.guidance if g.name == guidance), spec.guidance[0])
    run = spec.runs[cell.cell.run] if cell else None
    algorithm = spec.algorithms[run.algorithm].kind if run and run.algorithm else ""
    reward = "+".join([*run.with_, *([run.reward] if run.reward else [])]) if run else ""
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
        **{k: row[k] for k in ("metric", "value", "low", "high", "n", "better", "signature")},
    }
    return Row(**{("lambda_" if c == "lambda" else c): values[c] for c in COLUMNS})


def _cell(plan: Plan, store: Store, cell: CellPlan, run: Path) -> dict[str, Any]:
    spec = plan.spec.runs[cell.cell.run]
    needed = [cell.model, *(n for m in cell.measured.values() for n, _ in _numbers(m)), *([cell.kl] if cell.kl else [])]
    made = [store.has(n.kind, n.key) for n in needed]
    trained = [n for _, n in cell.training if store.has(n.kind, n.key)]
    kl = _json(store, cell.kl, "rows.json")[0]["value"] if cell.kl and store.has(cell.kl.kind, cell.kl.key) else None
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
        "status": "ok" if all(made) else "missing",
        "error": "",
        "optimised": terms,
        "start": None if start is None else start.id,
        "teacher": None if (source := teacher(plan.spec, cell.cell)) is None else source.id,
        "settings": {k: settings[k] for k in ("integrator", "steps") if k in settings},
        "seconds": round(sum(_json(store, n, "seconds.json") for n in trained), 1),
        "training_seconds": round(
            sum(described(store, n).get("training_seconds", 0.0) for n in trained if n.kind == "finetune"), 1
        ),
        "kl_nats": kl,
        "grids": _grids(plan, store, cell, run),
    }


def _write_points(plan: Plan, store: Store, run: Path) -> None:
    """points.npz of a toy run: `{cell id}|{guidance}` and `data|none` -> (n, 2) uint8, x and y on the plane's grid."""
    measured = {f"{c.cell.id}|{g}": m.samples for c in plan.cells for g, m in c.measured.items()}
    if plan.data is not None:
        measured["data|none"] = plan.data.samples
    points = {}
    for name, node in measured.items():
        folder = store.folder(node.kind, node.key)
        if atomic.is_complete(folder):
            with np.load(folder / "samples.npz", allow_pickle=False) as kept:
                points[name] = kept["images"].reshape(-1, 2)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **points)
    atomic.write_bytes(run / "points.npz", buffer.getvalue())


def _grids(plan: Plan, store: Store, cell: CellPlan, run: Path) -> dict[str, str]:
    if plan.spec.data.kind == "toy":
        return {}  # two grey pixels are no picture
    grids = {}
    for guidance, measured in cell.measured.items():
        folder = store.folder(measured.samples.kind, measured.samples.key)
        if not atomic.is_complete(folder):
            continue
        with np.load(folder / "samples.npz", allow_pickle=False) as data:
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


def _curves(store: Store, cell: CellPlan) -> Iterator[dict[str, Any]]:
    for number, node in cell.training:
        if store.has(node.kind, node.key):
            kind = "discriminator" if node.kind == "reward" else "finetune"
            yield {"round": number, "kind": kind, **_json(store, node, "curve.json")}
    if (norms := cell.trajectory) is not None and store.has(norms.kind, norms.key):
        yield {"round": 0, "kind": "trajectory", **_json(store, norms, "curve.json")}


def _space(plan: Plan, store: Store, name: str) -> dict[str, Any]:
    used = {e for r in _optimised(plan) for e in plan.spec.rewards[r].encoders}
    about = described(store, plan.encoders[name])
    return {
        "name": name,
        "kind": plan.spec.encoders[name].kind,
        "dim": about.get("dim"),
        "signature": about.get("signature", ""),
        "held_out": name not in used,
        "kin": _kin(plan, store, name, used),
    }


def _kin(plan: Plan, store: Store, name: str, used: set[str]) -> str:
    """What a held-out space shares with the spaces that rewards look through; empty when nothing is known."""

    def taught(encoder: str) -> str:
        return str(described(store, plan.encoders[encoder]).get("learned_from", ""))

    others = [other for other in sorted(used - {name}) if taught(other) == taught(name)]
    return f"{taught(name)}, as {', '.join(others)}" if taught(name) and others and name not in used else ""


def _optimised(plan: Plan) -> set[str]:
    """Rewards that some run of the suite maximises."""
    return {r for run in plan.spec.runs.values() for r in [*run.with_, *([run.reward] if run.reward else [])]}


def _reward(plan: Plan, store: Store, name: str) -> dict[str, Any]:
    about = described(store, plan.rewards[name]) if name in plan.rewards else {}
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


def _weights_taken(plan: Plan, store: Store) -> dict[str, None]:
    """Per base from a checkpoint, which copy of its weights was taken, where there was anything to choose."""
    found: dict[str, None] = {}
    for node in plan.nodes.values():
        if node.kind == "base" and (note := described(store, node).get("weights")):
            found[f"{node.label}: {note}"] = None
    return found


def _backbone(plan: Plan, store: Store, name: str) -> dict[str, Any]:
    spec = plan.spec.backbones[name]
    base = next((c.model for c in plan.cells if c.cell.backbone == name and not c.training), None)
    about = described(store, base) if base else {}
    return {"name": name, "family": spec.family, "parameters": about.get("parameters"), "description": spec.description}
