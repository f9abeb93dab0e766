"""Training curves: the reward (or loss) of every cell over its steps, one panel per backbone and family."""

from __future__ import annotations

from typing import Any

import numpy as np

from drlbench.report.figures.style import Picture, footnote, label_ends, new_figure, run_styles, widen
from drlbench.report.rundata import RunData

DASHES = ("-", "--", ":", "-.")


def training_curves(run: RunData) -> list[Picture]:
    """The reward while it is being optimised; families without one show their loss, or what they have."""
    panels = [(b, n) for b in run.backbones for n in run.runs if _parts(run, b, n)]
    if not panels:
        return []
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = new_figure(0.6 + 3.0 * columns, 0.5 + 2.3 * rows, rows, columns)
    cells = [a for line in grid for a in line]
    look = run_styles(run)
    for axes, (backbone, name) in zip(cells, panels, strict=False):
        series = _series(run, backbone, name)
        ends = []
        for lambda_ in run.lambdas(backbone, name):
            for s, cell in enumerate(run.seeds(backbone, name, lambda_)):
                x, y = _joined(run.parts.get(cell.id, []), series)
                if not len(x):
                    continue
                axes.plot(x, y, DASHES[s % 4], color=look[name].light, lw=1.1, alpha=0.9)
                if s == 0 and lambda_ is not None:
                    ends.append((float(x[-1]), float(y[-1]), f"λ={lambda_:g}", look[name].light))
        axes.set_title(f"{backbone}: {name}" if len(run.backbones) > 1 else name, loc="left")
        axes.set_ylabel(series)
        axes.set_xlabel("step")
        widen(axes, 0.22 if ends else 0.0)
        label_ends(axes, ends)
    for axes in cells[len(panels) :]:
        axes.set_axis_off()
    footnote(figure, "One line per cell; seeds differ by dash. Rounds follow one another.")
    return [Picture("training", "Training curves of every cell", figure)]


def _parts(run: RunData, backbone: str, name: str) -> list[dict[str, Any]]:
    cells = [c for c in run.cells if (c.backbone, c.run) == (backbone, name)]
    return [p for c in cells for p in run.parts.get(c.id, []) if p.get("kind") == "finetune"]


def _series(run: RunData, backbone: str, name: str) -> str:
    names = list(dict.fromkeys(k for p in _parts(run, backbone, name) for k in p["series"]))
    return next((n for word in ("reward", "loss", "") for n in names if word in n), "")


def _joined(parts: list[dict[str, Any]], series: str) -> tuple[Any, Any]:
    """A series over all fine-tuning rounds, each round's steps after the last one's."""
    xs, ys, offset = [], [], 0.0
    for part in sorted((p for p in parts if p.get("kind") == "finetune"), key=lambda p: p.get("round", 0)):
        values = part["series"].get(series)
        if values:
            steps = np.array(part["step"][: len(values)], float)
            xs.append(steps + offset)
            ys.append(np.array([np.nan if v is None else v for v in values[: len(steps)]], float))
            offset += float(steps[-1])
    return (np.concatenate(xs), np.concatenate(ys)) if xs else (np.empty(0), np.empty(0))
