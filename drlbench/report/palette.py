"""Colours and markers of the cell families, the same in figures and page, told apart without colour vision.

Hues near Okabe and Ito's palette, darkened (light background) or lightened (dark background) until text in the same
colour keeps a contrast of at least 4.5:1. Families also differ by marker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ChartMark:
    """A mark of the page's charts: Chart.js' name of a shape, degrees that it is turned by, pixels of its outline."""

    style: str
    turned: int = 0
    rim: int = 1


@dataclass(frozen=True)
class Style:
    """How one family is drawn: hex colours for light and dark backgrounds, and its matplotlib marker."""

    light: str
    dark: str
    marker: str

    @property
    def chart(self) -> ChartMark:
        """The same mark, or the nearest one, on the page."""
        return CHART[self.marker]


# Chart.js has no filled plus, filled cross, polygons or thin diamond: thick lines are the first two, the rest are near.
CHART = {
    "o": ChartMark("circle"),
    "s": ChartMark("rect"),
    "^": ChartMark("triangle"),
    "D": ChartMark("rectRot"),
    "P": ChartMark("cross", rim=5),
    "v": ChartMark("triangle", 180),
    "X": ChartMark("crossRot", rim=5),
    "<": ChartMark("triangle", 270),
    ">": ChartMark("triangle", 90),
    "h": ChartMark("rectRounded", 45),
    "p": ChartMark("rectRounded"),
    "*": ChartMark("star", rim=2),
    "d": ChartMark("line", 90, 5),
    "8": ChartMark("line", 0, 5),
}


# Chosen by search: least distance between two of them under protanopia 28 (light) and 40 (dark) in CIE76.
KNOWN = {
    "base": Style("#595959", "#f0f0f0", "o"),
    "sft": Style("#542400", "#fffc05", "s"),
    "drl": Style("#0073d6", "#3e77ff", "^"),
    "base+prl": Style("#b46108", "#da7f18", "D"),
    "drl+prl": Style("#008856", "#009169", "P"),
    "combined": Style("#882f74", "#ff7cc5", "v"),
}
SPARE = (
    Style("#5a3ea6", "#b8a4f2", "X"),
    Style("#7d4a17", "#d9a066", "<"),
    Style("#2d6470", "#7fc4d1", ">"),
    Style("#8c2d2d", "#f09a9a", "h"),
    Style("#476400", "#a9cc55", "p"),
    Style("#a8006e", "#ff8fd0", "*"),
    Style("#1d3fa0", "#9fb6ff", "d"),
    Style("#5f5a3c", "#cfc79a", "8"),
)


def styles(runs: Iterable[str]) -> dict[str, Style]:
    """A style for every family: fixed for the names the suites use, the spares in turn for others."""
    names = list(dict.fromkeys(runs))
    others = [n for n in names if n not in KNOWN]
    return {n: KNOWN[n] if n in KNOWN else SPARE[others.index(n) % len(SPARE)] for n in names}
