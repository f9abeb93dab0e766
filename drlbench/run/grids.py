"""What a run's folder shows of its samples: a grid of each cell, and the points of a toy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from drlbench.errors import IntegrityError
from drlbench.run.reading import Reader
from drlbench.store import atomic

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Plan
    from drlbench.plan.node import Node

GAP, GAP_GREY = 2, 96  # pixels between tiles, so that neighbouring digits do not run into each other
TILE_PIXELS = 24  # the smallest side a digit is recognised at on a phone


def write_grids(plan: Plan, reader: Reader, cell: CellPlan, run: Path) -> dict[str, str]:
    """Guidance -> path in the run's folder of the grid drawn of it; none of a toy, or of samples that are not there."""
    if plan.spec.data.kind == "toy":
        return {}  # two grey pixels are no picture
    grids: dict[str, str] = {}
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


def write_points(plan: Plan, reader: Reader, run: Path) -> None:
    """points.npz of a toy run: `{cell id}|{guidance}` and `data|none` -> (n, 2) uint8, x and y on the plane's grid."""
    measured = {f"{c.cell.id}|{g}": m.samples for c in plan.cells for g, m in c.measured.items()}
    if plan.data is not None:
        measured["data|none"] = plan.data.samples
    points = {}
    for name, node in measured.items():
        if (kept := _samples(reader, node)) is not None:
            points[name] = kept["images"].reshape(-1, 2)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **points)  # type: ignore[arg-type] # its stub takes the keywords for options
    atomic.write_bytes(run / "points.npz", buffer.getvalue())


def _samples(reader: Reader, node: Node) -> dict[str, np.ndarray] | None:
    """`images` and `labels`, or None: not made, or damaged (which is noted)."""
    try:
        return reader.arrays(node, "samples.npz") if reader.has(node) else None
    except IntegrityError:
        return None
