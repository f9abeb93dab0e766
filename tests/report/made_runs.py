"""A made-up run's folder that follows docs/design/run-folder.md: 2 backbones, 6 families, 2 RL seeds, 3 spaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from drlbench.report.results import Row, write_results

RUNS = {
    "base": (None, [None], []),
    "sft": (None, [None], []),
    "drl": ("disc", [0.5, 1.0, 2.0], ["disc"]),
    "base+prl": ("taste", [0.25, 1.0, 4.0], ["taste"]),
    "drl+prl": ("taste", [0.25, 1.0, 4.0], ["taste", "disc"]),
    "combined": ("taste", [0.25, 1.0, 4.0], ["taste", "disc"]),
}
FD = {"classifier": 2.5, "contrastive": 2.1, "pixels": 4.3}
STATS = {"brightness": 0.30, "contrast": 0.33}
HOSTILE = {"suite": "=cmd()", "classes": ["<script>alert(1)</script>"], "drl": "<script>alert(1)</script>"}


def truth(backbone: str, run: str, lam: float | None, cfg: float) -> dict[tuple[str, str], tuple[float, float, str]]:
    """(space, metric) -> (value, sampling sd, better) with the digits suite's orders of magnitude."""
    drl = run in ("drl", "drl+prl", "combined")
    pref = lam if run in ("base+prl", "drl+prl", "combined") else 0.0
    strength = min(lam, 1.0) if run == "drl" and lam else 0.9 if drl else 0.05 if run == "sft" else 0.0
    hurt = max(0.0, (lam or 0) - 1.0) if run == "drl" else 0.0
    scale = 1.0 if backbone == "small" else 0.8
    found = {}
    for space, fd in FD.items():
        gain = {"classifier": 2.8, "contrastive": 1.6, "pixels": 1.1}[space]
        value = scale * fd * (1 / gain) ** strength * (1 + 0.25 * hurt) + 0.55 * fd * (pref or 0) ** 1.3 / 4
        value *= 1 + 0.15 * (cfg - 1) * (1 if space != "classifier" else -1)
        found[space, "fd"] = (value, 0.04 * value, "lower")
        found[space, "fd_val"] = (value + 0.3, 0.05 * value, "lower")
        found[space, "kd_x1000"] = (value * 0.4, 0.03 * value, "lower")
        for metric, level in (("precision", 0.70), ("recall", 0.84), ("density", 0.42), ("coverage", 0.72)):
            found[space, metric] = (level + 0.03 * strength - 0.02 * (pref or 0), 0.008, "higher")
    found["", "taste"] = (-9.6 + 0.3 * strength + 0.9 * (pref or 0), 0.02, "higher")
    found["", "judge"] = (
        -8.0 + 0.2 * strength + 0.8 * min(pref or 0, 1.5) - 0.3 * max(0, (pref or 0) - 1.5),
        0.03,
        "higher",
    )
    found["", "disc"] = (-1.5 + 2.0 * strength + hurt, 0.05, "higher")
    for metric, level in STATS.items():
        found["", metric] = (level + 0.02 * (pref or 0), 0.002, "closer")
    if run not in ("base",):
        found["", "kl_nats"] = (3.0 * strength + 6.0 * (pref or 0), 0.2, "lower")
        found["", "velocity_norm_ratio"] = (1.0 - 0.02 * strength + 0.05 * (pref or 0), 0.001, "closer")
    return found


def make_run(path: Path, seed: int = 0, names: dict | None = None, replicates: int = 200, shift: float = 0.0) -> Path:
    """Write a run's folder; `shift` multiplies every FD by 1 + shift, `names` replaces names by hostile ones."""
    names = names or {}
    rng = np.random.default_rng(seed)
    rename = names.get("drl", "drl")
    rows, cells, draws, curves = [], [], {}, {}
    (path / "samples").mkdir(parents=True)
    for backbone in ("small", "large"):
        for run, (reward, lambdas, optimised) in RUNS.items():
            run_name = rename if run == "drl" else run
            for lam in lambdas:
                for rl in (0,) if run == "base" else (0, 1):
                    add_cell(
                        path,
                        rng,
                        backbone,
                        run,
                        run_name,
                        reward,
                        optimised,
                        lam,
                        rl,
                        names,
                        rows,
                        cells,
                        draws,
                        curves,
                        replicates,
                        shift,
                    )
    for (space, metric), (value, sd, better) in truth("small", "drl", 1.0, 1.0).items():
        level = {"fd": 0.4, "fd_val": 0.0, "taste": -9.4, "judge": -7.9, "disc": 1.6}.get(metric, value)
        if metric not in ("kl_nats", "velocity_norm_ratio"):
            rows.append(
                Row(
                    names.get("suite", "made-up"),
                    "",
                    "data",
                    "",
                    "",
                    None,
                    "",
                    "none",
                    1.0,
                    0.0,
                    1.0,
                    space,
                    metric,
                    level,
                    level - sd,
                    level + sd,
                    360,
                    better,
                    "sig-data",
                )
            )
    write_results(path / "results.csv", rows)
    np.savez(path / "replicates.npz", **draws)
    (path / "curves.json").write_text(json.dumps(curves))
    (path / "run.json").write_text(json.dumps(run_json(cells, names)))
    (path / "events.jsonl").write_text("")
    return path


def add_cell(
    path, rng, backbone, run, run_name, reward, optimised, lam, rl, names, rows, cells, draws, curves, replicates, shift
):
    seed = f"0.{rl}"
    weight = "" if lam is None else f"/lambda={lam:g}"
    cell = f"{backbone}/{run_name}{weight}/seed={seed}"
    grids = {}
    common = np.random.default_rng(99).normal(size=replicates)
    for guidance, cfg in (("none", 1.0), ("cfg1.5", 1.5)):
        for (space, metric), (value, sd, better) in truth(backbone, run, lam, cfg).items():
            if metric.startswith("fd"):
                value *= 1 + shift
            value += 0.0 if run == "base" else 1.2 * sd * rng.normal()
            sample = value + sd * (0.6 * common + 0.8 * rng.normal(size=replicates))
            low, high = np.percentile(sample, [2.5, 97.5])
            algorithm = {"sft": "sft", "base": ""}.get(run, "adjoint-matching")
            rows.append(
                Row(
                    names.get("suite", "made-up"),
                    backbone,
                    run_name,
                    reward or "",
                    algorithm,
                    lam,
                    seed,
                    guidance,
                    cfg,
                    0.0,
                    1.0,
                    space,
                    metric,
                    value,
                    low,
                    high,
                    2000,
                    better,
                    f"sig-{metric}-{space}",
                )
            )
            draws[f"{cell}|{guidance}|{space}|{metric}"] = sample
        name = f"samples/{len(cells):03d}-{guidance}.png"
        picture = np.kron(np.random.default_rng(7).integers(0, 200, (30, 40)), np.ones((3, 3))) + 10 * len(optimised)
        Image.fromarray(picture.astype(np.uint8)).save(path / name)
        grids[guidance] = name
    cells.append(
        {
            "id": cell,
            "backbone": backbone,
            "run": run_name,
            "reward": reward,
            "algorithm": None if run == "base" else "adjoint-matching",
            "lambda": lam,
            "seed": seed,
            "status": "ok",
            "error": "",
            "optimised": optimised,
            "seconds": 0.0 if run == "base" else 58.2,
            "kl_nats": None if run == "base" else 2.0,
            "grids": grids,
        }
    )
    steps = list(range(0, 100, 5))
    if run != "base":
        curves[cell] = [
            {
                "round": 0,
                "kind": "discriminator",
                "step": steps,
                "series": {"loss": [0.7 * 0.98**s for s in steps], "val_loss": [0.7 * 0.985**s for s in steps]},
                "summary": {"auc": 0.89},
            },
            {
                "round": 0,
                "kind": "finetune",
                "step": steps,
                "series": {"reward": [-1.5 + 0.02 * s + 0.1 * rl for s in steps], "loss": [3 * 0.97**s for s in steps]},
                "summary": {"updates": 330},
            },
        ]


def run_json(cells: list, names: dict) -> dict:
    classes = names.get("classes", [str(d) for d in range(10)])
    return {
        "schema": 1,
        "suite": names.get("suite", "made-up"),
        "title": names.get("title", "A made-up run"),
        "command": "drlbench run suites/made-up.yaml",
        "status": "complete",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:09:05+00:00",
        "wall_seconds": 300.0,
        "hardware": {"cpu": "a processor", "gpu": None},
        "versions": {"drlbench": "0.1.0", "python": "3.12"},
        "git": {"commit": "0" * 40, "dirty": False},
        "suite_text": "suite: made-up\n",
        "suite_sha256": "ab" * 32,
        "resamples": 200,
        "spaces": [
            {"name": "classifier", "kind": "small-classifier", "dim": 64, "signature": "sig-a", "held_out": True},
            {"name": "contrastive", "kind": "small-contrastive", "dim": 64, "signature": "sig-b", "held_out": True},
            {"name": "pixels", "kind": "pixels", "dim": 64, "signature": "sig-c", "held_out": False},
        ],
        "rewards": [
            {
                "name": "disc",
                "kind": "discriminator",
                "held_out": False,
                "description": "likeness to the data",
                "encoders": ["pixels"],
                "signature": "sig-d",
                "report": {"auc": 0.89},
            },
            {
                "name": "taste",
                "kind": "bradley-terry",
                "held_out": False,
                "description": "learned from pairs",
                "signature": "sig-t",
                "report": {"pair_accuracy": 0.92},
            },
            {
                "name": "judge",
                "kind": "bradley-terry",
                "held_out": True,
                "description": "the same, another seed",
                "signature": "sig-j",
                "report": {},
            },
        ],
        "backbones": [
            {"name": b, "family": "sit", "parameters": p, "description": names.get("title", "")}
            for b, p in (("small", 6800), ("large", 43000))
        ],
        "classes": classes,
        "guidances": [
            {"name": "none", "cfg": 1.0, "cfg_low": 0.0, "cfg_high": 1.0},
            {"name": "cfg1.5", "cfg": 1.5, "cfg_low": 0.0, "cfg_high": 1.0},
        ],
        "cells": cells,
        "grid": {"rows": 10, "columns": 10, "tile": 12, "classes": list(range(10)), "seeds": list(range(10))},
        "warnings": ["fd in pixels: rank deficient"],
    }
