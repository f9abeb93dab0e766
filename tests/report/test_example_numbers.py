"""The committed example's page against its results.csv, by arithmetic of this file's own."""

from __future__ import annotations

import csv
import html
import re
from collections import defaultdict
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
PAGE = html.unescape((EXAMPLE / "report.html").read_text())
BODY = PAGE[: PAGE.index('<script type="application/json"')]
Key = tuple[str, str, str, str, str]  # backbone, run, lambda, space, metric


def table() -> dict[Key, list[float]]:
    """Values without guidance, one per seed."""
    found: dict[Key, list[float]] = defaultdict(list)
    with (EXAMPLE / "results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["guidance"] == "none" and row["value"]:
                key = (row["backbone"], row["run"], row["lambda"], row["space"], row["metric"])
                found[key].append(float(row["value"]))
    return found


VALUES = table()


def mean(*key: str) -> float:
    values = VALUES[key]  # type: ignore[index] # five strings
    return sum(values) / len(values)


def ratio(backbone: str, run: str, weight: str, space: str) -> float:
    """FD of the base over FD of the run, geometric over seeds."""
    base, own = VALUES[backbone, "base", "", space, "fd"], VALUES[backbone, run, weight, space, "fd"]
    product = 1.0
    for value in own:
        product *= base[0] / value
    return float(product ** (1 / len(own)))


def printed(text: str) -> tuple[float, float]:
    """A printed number, and half a unit of its last digit."""
    text = text.replace("−", "-")
    return float(text), 0.5 * 10 ** -len(text.partition(".")[2]) * 1.0001


def agrees(text: str, value: float) -> bool:
    number, half = printed(text)
    return abs(number - value) <= half


def rows(table: str) -> list[tuple[str, str, list[str]]]:
    """(backbone, run, cells) of a table's rows."""
    start = BODY.index(f'aria-label="{table}"')
    body = BODY[start : BODY.index("</table>", start)]
    found = re.findall(r'<tr data-backbone="(.*?)" data-run="(.*?)"[^>]*>(.*?)</tr>', body, re.S)
    return [(b, r, [c.strip() for c in re.findall(r"<td[^>]*>(.*?)</td>", cells, re.S)]) for b, r, cells in found]


def test_every_ratio_of_a_sentence_is_that_of_the_table() -> None:
    sentence = re.compile(
        r'class="tag">(\w+)</span> (\S+) \(lambda (\S+)\).*?( RAISES)? FD in the (\S+) space'
        r".*?([\d.]+)x( HIGHER)?.*?sft control ([\d.]+)x, over which it is ([\d.]+)x"
    )
    found = [m.groups() for line in BODY.splitlines() if (m := sentence.search(line))]
    assert len(found) == 8, "two backbones, four spaces"
    for backbone, run, weight, raises, space, told, higher, control, over in found:
        truth = ratio(backbone, run, weight, space)
        assert agrees(told, 1 / truth if raises or higher else truth), (backbone, space, told, truth)
        assert agrees(control, ratio(backbone, "sft", "", space)), (backbone, space, control)
        # Of the control there is the first seed only, and it is paired with that seed's cell.
        first, own = (VALUES[backbone, *of, space, "fd"][0] for of in (("sft", ""), (run, weight)))
        assert agrees(over, first / own), (backbone, space, over)


def test_the_verdict_s_range_is_that_of_the_held_out_spaces() -> None:
    found = re.findall(r"[Oo]n (\w+), drl \(lambda (\S+)\) divides held-out FD by ([\d.]+)x to ([\d.]+)x", BODY)
    assert [f[0] for f in found] == ["sit", "jit"]
    for backbone, weight, low, high in found:
        ratios = [ratio(backbone, "drl", weight, s) for s in ("classifier", "contrastive", "pixels")]
        assert agrees(low, min(ratios)) and agrees(high, max(ratios))


def test_every_number_of_the_scorecard() -> None:
    start = BODY.index('aria-label="Scorecard"')
    head = BODY[start : BODY.index("</thead>", start)]
    titles = re.findall(r'<th scope="col"(?: data-space="(.*?)")?>(.*?)</th>', head)
    found = rows("Scorecard")
    assert len(found) == 11
    for backbone, run, cells in found:
        weight = re.search(r"λ ([\d.]+)", cells[0])
        for (space, title), cell in list(zip(titles, cells, strict=True))[1:]:
            if title in ("training", "seeds"):
                continue
            metric = {"FD": "fd", "re": "recall", "KL": "kl_nats"}.get(title[:2], title.removesuffix(" †"))
            told, key = cell.split(" ")[0], (backbone, run, weight[1] if weight else "", space, metric)
            assert agrees(told, 0.0 if (run, metric) == ("base", "kl_nats") else mean(*key)), (key, told)


@pytest.mark.parametrize("kind", ["distance", "reward"])
def test_every_number_of_the_table_of_reward_hacking(kind: str) -> None:
    found = rows("Signs of reward hacking")
    assert len(found) == 14
    for backbone, run, cells in found:
        if kind == "distance":
            for space, told in re.findall(r'class="line">([^\s†]+)†? ([\d.]+)x', cells[5]):
                assert agrees(told, ratio(backbone, run, cells[2], space)), (backbone, run, cells[2], space)
        else:
            gains = re.findall(r'class="line">(\S+) (\S+)</span>', cells[3] + cells[4])
            assert len(gains) >= 2
            for name, told in gains:
                rise = mean(backbone, run, cells[2], "", name) - mean(backbone, "base", "", "", name)
                assert (rise > 0) == (not told.startswith("−")), (backbone, run, name)
