import itertools
import math

import numpy as np
import pytest

from drlbench.report.palette import CHART, KNOWN, SPARE, styles

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
BACKGROUND = {"light": "#ffffff", "dark": "#14171a"}


def linear(colour: str) -> np.ndarray:
    """Linear RGB (3,) of `#rrggbb`."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (3,) under D65."""
    t = XYZ @ rgb / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(a: str, b: str, seen: np.ndarray) -> float:
    return math.dist(*(lab(np.clip(seen @ linear(c), 0, 1)) for c in (a, b)))


def test_the_colour_mathematics_on_known_values():
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_families_are_told_apart_under_protanopia(theme):
    colours = [getattr(s, theme) for s in KNOWN.values()]
    for a, b in itertools.combinations(colours, 2):
        assert apart(a, b, PROTANOPIA) > 25 and apart(a, b, np.eye(3)) > 25, (a, b)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_in_a_family_s_colour_can_be_read(theme):
    behind = XYZ[1] @ linear(BACKGROUND[theme])
    for style in (*KNOWN.values(), *SPARE):
        front = XYZ[1] @ linear(getattr(style, theme))
        low, high = sorted((front, behind))
        assert (high + 0.05) / (low + 0.05) >= 4.5, style


def test_no_two_families_share_a_marker():
    used = styles([*KNOWN, "a", "b", "c", "d"])
    assert len({s.marker for s in used.values()}) == len(used)


def test_no_two_marks_of_the_page_are_alike():
    assert {s.marker for s in (*KNOWN.values(), *SPARE)} <= set(CHART)
    assert len(set(CHART.values())) == len(CHART)
