"""What the page's own script needs, as plain JSON: cells, numbers, families, curves and the sample pictures."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from drlbench.report.effects import preference_gain
from drlbench.report.fronts import BASE, Axis, axes, family_points, lowest, shown
from drlbench.report.headline import CONTROL, axis_words, headline_lambda, preference_families
from drlbench.report.palette import styles
from drlbench.report.rundata import CellKey, RunData
from drlbench.report.summary import Summary, plain
from drlbench.report.thumbnails import thumbnails
from drlbench.report.tilt_path import PREFIX, tilt_points
from drlbench.report.words import metric_name

PICTURE_BUDGET = 5_000_000  # bytes of all sample grids together, before base64, as long as the numbers leave them
DATA_BUDGET = 6_000_000  # bytes of numbers and pictures together; the whole page stays under 8 MB
CURVE_POINTS = 80


def page_data(run: RunData, summary: Summary) -> tuple[dict[str, Any], list[str]]:
    """The script's data, and warnings about what had to be left out."""
    cells = [c for c in run.cells if c.backbone in run.backbones]
    index = {c: i for i, c in enumerate(cells)}
    known = page_axes(run)
    origins: dict[tuple[int, str], int] = {}
    rows = {
        f"{i}|{g}": numbers
        for i, c in enumerate(cells)
        for g in run.guidances
        if any(numbers := _numbers(run, c, g, known, origins))
    }
    left = (DATA_BUDGET - len(json.dumps(rows, separators=(",", ":")))) * 3 // 4
    pictures, grids, warnings = thumbnails(run, cells, summary.plain_guidance, max(0, min(PICTURE_BUDGET, left)))
    x, y = default_axes(run, known) if known else ("", "")
    data = {
        "classes": run.record.row_names,
        "backbones": list(run.backbones),
        "guidances": list(run.guidances),
        "guidance": summary.plain_guidance,
        "runs": {
            n: {"light": s.light, "dark": s.dark, "marker": s.chart.style, "turned": s.chart.turned, "rim": s.chart.rim}
            for n, s in styles(run.runs).items()
        },
        "order": list(run.runs),
        "axes": [{"key": a.key, "label": axis_label(run, a), "better": _better(a), "kind": a.kind} for a in known],
        "x": x,
        "y": y,
        "presets": _presets(run, known),
        "real": {a.key: _real(run, a) for a in known},
        "cells": [
            {
                "id": c.id,
                "backbone": c.backbone,
                "run": c.run,
                "lambda": c.lambda_,
                "seed": c.seed,
                "optimised": list(run.optimised(c)),
                "seconds": run.cell_record(c).seconds,
                "grids": grids.get(c, {}),
            }
            for c in cells
        ],
        "opening": [index[c] for c in _opening(run, summary.plain_guidance)],
        "rows": rows,
        "origins": list(origins),
        "families": [
            {
                "backbone": b,
                "run": n,
                "points": [[index[c] for c in p.values()] for p in family_points(run, b, n)],
                "tilt": [
                    {"lambda": lam, "at": {key: _short(v) for key, v in values.items()}}
                    for lam, values in tilt_points(run, b, n, known)
                ],
            }
            for b in run.backbones
            for n in run.runs
        ],
        "pictures": pictures,
        "curves": {str(index[c]): _curves(run.parts.get(c.id, [])) for c in cells if run.parts.get(c.id)},
        "hacking": _hacking(run, summary),
    }
    return plain(data), warnings


def _opening(run: RunData, guidance: str) -> list[CellKey]:
    """The two cells the page opens with, side by side: the first base, and DRL where the headline quotes it."""
    for backbone in run.backbones:
        name = next((n for n in run.runs if n not in (BASE, CONTROL, *preference_families(run, backbone))), None)
        if name and run.lambdas(backbone, BASE) and run.lambdas(backbone, name):
            pair = (BASE, None), (name, headline_lambda(run, backbone, name, guidance))
            return [run.seeds(backbone, *each)[0] for each in pair]
    return []


def page_axes(run: RunData) -> list[Axis]:
    """Every number the reader may put on an axis: distances and rewards first, the held-out ones before the others."""
    first = [a for pair in axes(run) for a in pair]
    rewards = [Axis(r, "", "higher", "reward") for r in run.rewards]
    rest = [
        Axis(r.metric, r.space, r.better, "other")
        for r in run.rows
        if r.run != "data"
        and r.metric not in run.rewards
        and r.metric not in run.drifts
        and not r.metric.startswith(PREFIX)  # drawn as a path of its own
    ]
    by_key = {a.key: a for a in [*rest, *rewards, *first]}
    order = [by_key[k] for k in dict.fromkeys(a.key for a in [*first, *rewards, *rest])]
    kinds = ("fd", "reward", "drift", "kl", "other")

    def rank(axis: Axis) -> tuple[bool, int]:
        if axis.kind == "fd":
            return not run.held_out_space(axis.space), 0
        return axis.kind != "reward" or not run.held_out_reward(axis.metric), kinds.index(axis.kind)

    return sorted(order, key=rank)


def default_axes(run: RunData, known: list[Axis]) -> tuple[str, str]:
    """FD in the first held-out space against the first preference reward, or what there is."""
    fds = [a for a in known if a.kind == "fd"]
    x = next((a for a in fds if run.held_out_space(a.space)), fds[0] if fds else known[0])
    ys = [a for a in known if a.kind == "reward" and run.is_preference(a.metric)]
    ys = [a for a in ys if run.held_out_reward(a.metric)] or ys
    other = [a for a in known if a.key != x.key]
    return x.key, (ys or other or [x])[0].key


def axis_label(run: RunData, axis: Axis) -> str:
    """An axis' name in the page's lists; held out and optimised are said."""
    if axis.kind in ("fd", "other") and axis.space:
        side = "held out" if run.held_out_space(axis.space) else "a reward looks through it"
        return f"{metric_name(axis.metric)}, {axis.space} ({side})"
    return axis_words(run, axis)


def _better(axis: Axis) -> str:
    return "lower" if axis.is_distance else axis.better


def _presets(run: RunData, known: list[Axis]) -> list[dict[str, str]]:
    """One button per question the frontier answers."""
    if not known:
        return []
    x, y = default_axes(run, known)
    found = [{"label": "Reward against FD", "x": x, "y": y}]
    drift = next((a for a in known if a.kind == "drift"), None)
    kl = next((a for a in known if a.kind == "kl"), None)
    found += [{"label": "Reward against drift", "x": drift.key, "y": y}] if drift else []
    found += [{"label": "Reward against KL", "x": kl.key, "y": y}] if kl else []
    hidden = [r for r in run.rewards if run.held_out_reward(r)]
    paid = [r for r in run.rewards if not run.held_out_reward(r) and run.is_preference(r)]
    if hidden and paid:
        found.append({"label": "Held-out against optimised reward", "x": paid[0], "y": hidden[0]})
    spaces = [a for a in known if a.kind == "fd"]
    found += [{"label": "FD in two spaces", "x": spaces[0].key, "y": spaces[1].key}] if len(spaces) > 1 else []
    return found


def _real(run: RunData, axis: Axis) -> float | None:
    row = run.data_row(axis.space, axis.metric)
    return 0.0 if axis.is_distance else row.value if row else None


def _numbers(
    run: RunData, cell: CellKey, guidance: str, known: list[Axis], origins: dict[tuple[int, str], int]
) -> list[list[Any] | None]:
    """Per axis [value, low, high, index of its n and signature], rounded to what a screen can show, or None."""
    found: list[list[Any] | None] = []
    for axis in known:
        row = run.row(cell, guidance, axis.space, axis.metric)
        if row is None:
            found.append([0, None, None, None] if axis.kind == "kl" and cell.run == BASE else None)
            continue
        value = shown(run, axis, lowest(run, cell, guidance, axis))
        ends = [None, None] if row.low is None or row.high is None else _ends(run, axis, row.low, row.high)
        origin = origins.setdefault((row.n, row.signature), len(origins))
        found.append([_short(value), *map(_short, ends), origin])
    return found


def _ends(run: RunData, axis: Axis, low: float, high: float) -> list[float | None]:
    if not axis.is_distance:
        return [low, high]
    ends = sorted((shown(run, axis, low), shown(run, axis, high)))
    return [0.0 if low <= run.best(axis.space, axis.metric) <= high else ends[0], ends[1]]


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _curves(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Curves thinned to what a screen resolves: evenly spaced points, the last one kept."""
    thin = []
    for part in parts:
        steps = part.get("step", [])
        picked = np.linspace(0, len(steps) - 1, min(CURVE_POINTS, len(steps)))
        keep = sorted({int(i) for i in picked.round()})
        series = {k: [_short(v[i]) for i in keep if i < len(v)] for k, v in part.get("series", {}).items()}
        entry = {"round": part.get("round", 0), "kind": part.get("kind", ""), "step": [steps[i] for i in keep]}
        thin.append({**entry, "series": series, "summary": part.get("summary", {})})
    return thin


def _hacking(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """Per family of the table: gains of every reward in sigma of the base, log2 of base / run of FD, over lambda."""
    rows = []
    told = {(h.backbone, h.run): None for h in summary.hacking}
    for backbone, name in told:
        lambdas = [v for v in run.lambdas(backbone, name) if v is not None]
        if lambdas:
            at = [(backbone, name, v, summary.plain_guidance) for v in lambdas]
            gains = {r: [_short(preference_gain(run, *a, r).estimate.value) for a in at] for r in run.rewards}
            ratios = {
                s: [_short(math.log2(e.estimate.value)) for e in summary.ratios if _is(e, backbone, name, s)]
                for s in run.spaces
            }
            paid = {r for c in run.cells if (c.backbone, c.run) == (backbone, name) for r in run.optimised(c)}
            rows.append(
                {
                    **{"backbone": backbone, "run": name, "lambda": lambdas, "gains": gains, "distances": ratios},
                    **{"optimised": [r for r in run.rewards if r in paid]},
                }
            )
    return rows


def _is(effect: Any, backbone: str, name: str, space: str) -> bool:
    here = (effect.backbone, effect.run, effect.space) == (backbone, name, space)
    return here and effect.estimate.value > 0 and effect.lambda_ is not None
