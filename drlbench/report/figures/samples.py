"""Sample grids side by side: the same tile is the same class and noise in every cell (Figures 1, 8, 14, 26-37)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from drlbench.report.figures.style import Picture, footnote, new_figure
from drlbench.report.rundata import CellKey, RunData

MOST = 8  # columns of tiles taken from each grid
WIDE = 5  # grids in a row
MOST_NAMES = 24  # rows of tiles that are named; the page has the same rule
NAME_WIDTH = 20  # characters of a class's name


def sample_grids(run: RunData, guidance: str) -> list[Picture]:
    """Per backbone: one grid per family and lambda, first seed."""
    pictures = []
    for backbone in run.backbones:
        cells = [run.seeds(backbone, name, lambda_)[0] for name in run.runs for lambda_ in run.lambdas(backbone, name)]
        shown = [(c, grid) for c in cells if (grid := read_grid(run, c, guidance)) is not None]
        if not shown:
            continue
        columns = min(WIDE, len(shown))
        rows = -(-len(shown) // columns)
        height, width = shown[0][1].shape[:2]
        figure, axes = new_figure(2.1 * columns, (2.1 * height / width + 0.3) * rows + 0.3, rows, columns)
        flat = [a for line in axes for a in line]
        for panel, (cell, grid) in zip(flat, shown, strict=False):
            panel.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            title = cell.run if cell.lambda_ is None else f"{cell.run} λ={cell.lambda_:g}"
            panel.set_title(title, loc="left", fontsize=8)
        for panel in flat:
            panel.set_axis_off()
        for line in axes:
            _name_rows(line[0], run.record.row_names)
        footnote(
            figure,
            f"{backbone}, first seed, guidance {guidance}. The same tile is the same class and noise everywhere.",
        )
        safe = "".join(c if c.isalnum() or c in "-._+" else "_" for c in backbone)
        caption = f"Samples of {backbone} for every run and lambda, same noise"
        pictures.append(Picture(f"samples_{safe}", caption, figure))
    return pictures


def _name_rows(panel: Axes, names: list[str]) -> None:
    """The class of each row of tiles, left of a grid."""
    if len(names) > MOST_NAMES:
        return
    for i, name in enumerate(names):
        short = name if len(name) <= NAME_WIDTH else f"{name[:NAME_WIDTH]}…"
        panel.text(
            -0.02, 1 - (i + 0.5) / len(names), short, transform=panel.transAxes, ha="right", va="center", fontsize=6
        )


def read_grid(run: RunData, cell: CellKey, guidance: str) -> np.ndarray | None:
    """The first columns of a cell's sample grid as (H, W) or (H, W, 3) uint8, or None when there is none."""
    name = run.cell_record(cell).grids.get(guidance)
    path = run.path / name if name else None
    if path is None or not path.is_file() or not path.resolve().is_relative_to(run.path.resolve()):
        return None
    with Image.open(path) as picture:
        pixels = np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
    columns = run.record.grid.columns or 0
    return pixels[:, : pixels.shape[1] * MOST // columns] if columns > MOST else pixels
