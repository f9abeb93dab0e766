"""Colours and markers of the cell families, the same in figures and page, told apart without colour vision.

Hues near Okabe and Ito's palette, darkened (light background) or lightened (dark background) until text in the same
colour keeps a contrast of at least 4.5:1. Families also differ by marker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How one family is drawn: hex colours for light and dark backgrounds, a matplotlib and a Chart.js marker."""

    light: str
    dark: str
    marker: str
    chart_marker: str


# Chosen by search: least distance between two of them under protanopia 28 (light) and 40 (dark) in CIE76.
KNOWN = {
    "base": Style("#595959", "#f0f0f0", "o", "circle"),
    "sft": Style("#542400", "#fffc05", "s", "rect"),
    "drl": Style("#0073d6", "#3e77ff", "^", "triangle"),
    "base+prl": Style("#b46108", "#da7f18", "D", "rectRot"),
    "drl+prl": Style("#008856", "#009169", "P", "rectRounded"),
    "combined": Style("#882f74", "#ff7cc5", "v", "star"),
}
SPARE = (
    Style("#5a3ea6", "#b8a4f2", "X", "crossRot"),
    Style("#7d4a17", "#d9a066", "<", "triangle"),
    Style("#2d6470", "#7fc4d1", ">", "rect"),
    Style("#8c2d2d", "#f09a9a", "h", "circle"),
    Style("#476400", "#a9cc55", "p", "rectRounded"),
    Style("#a8006e", "#ff8fd0", "*", "star"),
    Style("#1d3fa0", "#9fb6ff", "d", "rectRot"),
    Style("#5f5a3c", "#cfc79a", "8", "cross"),
)


def styles(runs: Iterable[str]) -> dict[str, Style]:
    """A style for every family: fixed for the names the suites use, the spares in turn for others."""
    names = list(dict.fromkeys(runs))
    others = [n for n in names if n not in KNOWN]
    return {n: KNOWN[n] if n in KNOWN else SPARE[others.index(n) % len(SPARE)] for n in names}
