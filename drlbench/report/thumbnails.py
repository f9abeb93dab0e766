"""The sample grids the page carries: as they are where they fit, smaller or fewer where they do not."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from drlbench.report.rundata import CellKey, RunData

DENSITY = 0.25  # bytes of WebP a pixel of samples takes at most, as a first guess
LEAST_SHARE = 12_000  # bytes below which a grid of samples shows nothing


def thumbnails(
    run: RunData, cells: Sequence[CellKey], plain: str, budget: int
) -> tuple[list[str], dict[CellKey, dict[str, int]], list[str]]:
    """Sample grids as data URIs, each picture once; which belongs to which cell and guidance; and warnings.

    Args:
        cells: whose grids to show.
        plain: the guidance whose grids are kept when there is no room for every guidance's.
        budget: bytes of all pictures together, before base64.
    """
    wanted = {(c, g): run.path / path for c in cells for g, path in run.cell_record(c).grids.items()}
    inside = {k: p for k, p in wanted.items() if p.resolve().is_relative_to(run.path.resolve()) and p.is_file()}
    broken, crowded = len(wanted) - len(inside), 0
    if len(inside) * LEAST_SHARE > budget:
        kept = {key: path for key, path in inside.items() if key[1] == plain}
        inside, crowded = kept, len(inside) - len(kept)
    share = budget // max(1, len(inside))
    pictures: dict[str, int] = {}
    grids: dict[CellKey, dict[str, int]] = {}
    for (cell, guidance), path in inside.items():
        uri = _data_uri(path, share)
        if uri is None:
            broken += 1
            continue
        grids.setdefault(cell, {})[guidance] = pictures.setdefault(uri, len(pictures))
    warnings = [f"{broken} sample grids named in run.json are missing or are not pictures."] if broken else []
    if crowded:
        warnings.append(f"{crowded} sample grids under guidance are left out of the page, which has no room for them.")
    return list(pictures), grids, warnings


def _data_uri(path: Path, share: int) -> str | None:
    """A picture as it is where it fits its share of the page, as WebP of falling size otherwise."""
    content, kind = path.read_bytes(), "png"
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.format != "PNG":
                return None
            picture = opened.convert("RGB") if opened.mode not in ("L", "RGB") else opened.copy()
    except (UnidentifiedImageError, OSError):
        return None
    scale = min(1.0, (share / (DENSITY * picture.width * picture.height)) ** 0.5)
    while len(content) > share and scale > 0.05:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        out = io.BytesIO()
        smaller = picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        smaller.save(out, "WEBP", quality=75, method=2)
        content, kind = out.getvalue(), "webp"
        scale *= min(0.8, 0.95 * (share / len(content)) ** 0.5)  # bytes go with the area
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
