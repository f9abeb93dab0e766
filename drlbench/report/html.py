"""report.html: one self-contained page, without network, whose every given text is escaped.

Jinja2 escapes what it prints; the script's data is JSON whose angle brackets and ampersands are \\u escapes; the page's
own script only ever sets text, never markup. A content policy allows exactly the inlined script and style, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import bounds
from drlbench.report.headline import Contest, axis_words
from drlbench.report.page_data import page_axes, page_data
from drlbench.report.record import RunRecord
from drlbench.report.rundata import RunData
from drlbench.report.scorecard import RULE, minutes
from drlbench.report.summary import INTERVAL_RULE, REFERENCE_RULE, Summary, told_guidances
from drlbench.report.tables import checkpoint_rows, printed_keys, printed_table
from drlbench.report.tilt_path import SPARSE
from drlbench.report.words import digits, family, interval, lambda_text, percent, seeds

SCRIPTS = (
    "chart.umd.min.js",
    "page.js",
    "svg.js",
    "seeds.js",
    "tables.js",
    "pins.js",
    "labels.js",
    "frontier.js",
    "panels.js",
    "filters.js",
)
STYLE = "page.css"
WIDE = 600  # points
TOPICS = {"distance": "Distance to the data", "front": "Frontiers", "hacking": "Reward hacking"}


def render(run: RunData, summary: Summary, pictures: dict[str, tuple[str, str]]) -> str:
    """The whole page.

    Args:
        run, summary: what to show.
        pictures: (caption, SVG text) by name, drawn by `report.figures`.
    """
    scripts = [asset(name) for name in SCRIPTS]
    style = asset(STYLE)
    data, warnings = page_data(run, summary)
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            meta=run.record,
            run=run,
            summary=summary,
            leads=summary.leads(),
            topics=[(title, [s for s in summary.headline if s.topic == topic]) for topic, title in TOPICS.items()],
            card=summary.scorecard,
            one_seed=all(x.seeds <= 1 for x in summary.scorecard.lines),
            card_rule=RULE,
            sparse=SPARSE,
            counts=_counts(run),
            tables=[(g, printed_table(run, g)) for g in _tabled(run)],
            table_spaces=["", "", "", "", *(s for s, _ in printed_keys(run))],
            untabled=len(told_guidances(run)) < len(run.guidances),
            contests=_contests(run, summary),
            axis=lambda a: axis_words(run, a),
            warnings=_together(run, [*run.record.warnings, *warnings]),
            failed=[c for c in run.record.cells if c.status != "ok"],
            provenance=_provenance(run.record),
            trainings=_trainings(run.record),
            rules=(INTERVAL_RULE, REFERENCE_RULE),
            pictures=pictures,
            data=island(data),
            style=Markup(style),
            scripts=[Markup(s) for s in scripts],
            policy=content_policy(style, scripts),
        )
    )


def _tabled(run: RunData) -> list[str]:
    """The guidances whose table the page shows."""
    measured = {row[3] for row in checkpoint_rows(run)}
    return [g for g in told_guidances(run) if g in measured]


def templates() -> Environment:
    """The templates, which escape whatever they print, with the report's words as filters."""
    environment = Environment(
        loader=PackageLoader("drlbench.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": digits, "percent": percent, "duration": duration, "bytes_uri": _svg_uri}
    environment.tests["wide"] = _wide
    environment.globals |= {"interval": interval, "family": family, "seeds": seeds, "lambda_text": lambda_text}
    environment.globals |= {"ends": _ends, "minutes": minutes}
    return environment


def content_policy(style: str, scripts: list[str]) -> str:
    """A content policy that allows exactly the inlined style and scripts."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {hash_of(style)}",
            f"script-src {' '.join(map(hash_of, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def asset(name: str) -> str:
    """A script or style of the page, without its source map."""
    text = (resources.files("drlbench.report") / "assets" / name).read_text(encoding="utf-8")
    return "\n" + re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text).strip() + "\n"


def hash_of(text: str) -> str:
    """What a content policy calls an inlined text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def island(data: dict[str, Any]) -> Markup:
    """JSON that cannot end its script element, whatever the names in it are."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _wide(svg: str) -> bool:
    """Whether a picture has panels side by side that half a page would make too small to read."""
    box = re.search(r'viewBox="0 0 ([0-9.]+) ', svg)
    return box is not None and float(box[1]) > WIDE


def _ends(e: Estimate) -> str:
    """An estimate's interval in brackets, or nothing."""
    text = interval(*bounds(e))
    return f"[{text.replace(' to ', ', ')}]" if text else ""


def _svg_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def duration(value: float | None) -> str:
    """Seconds as `1 h 12 min`, `4 min 8 s` or `12 s`."""
    if value is None:
        return "–"
    minutes, rest = divmod(round(float(value)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _counts(run: RunData) -> list[tuple[str, str]]:
    """What ran, in a few words each."""
    cells = run.record.cells
    done = sum(c.status == "ok" for c in cells)
    rl_seeds = {c.seed for c in run.cells if c.run != "base"}
    hardware = run.record.hardware.values()
    return [
        ("Status", run.record.status),
        ("Cells", f"{done} of {len(cells)}"),
        ("Backbones", ", ".join(run.backbones)),
        ("Runs", ", ".join(run.runs)),
        ("Seeds", str(len(rl_seeds))),
        ("Wall time", duration(run.record.wall_seconds)),
        ("Training time", duration(sum(c.seconds or 0 for c in cells))),
        ("Hardware", ", ".join(str(v) for v in hardware if v not in (None, "")) or "–"),
    ]


def _contests(run: RunData, summary: Summary) -> list[Contest]:
    """Without guidance, backbone by backbone; on what nothing was trained on first."""
    found = [c for c in summary.contests if c.guidance == summary.plain_guidance]
    rank = {a.key: i for i, a in enumerate(page_axes(run))}
    return sorted(found, key=lambda c: (run.backbones.index(c.backbone), rank[c.y.key], rank[c.x.key]))


def _together(run: RunData, warnings: list[str]) -> list[tuple[str, list[str]]]:
    """Warnings with the cells they are about: what is said of several cells or metrics in the same words, once."""
    cells, metrics = {c.id for c in run.cells}, {r.metric for r in run.rows}
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for warning in warnings:
        cell, text = _said_of(warning, cells)
        metric, text = _said_of(text, metrics)
        for told, name in zip(found.setdefault(text, ({}, {})), (cell, metric), strict=True):
            if name:
                told[name] = None
    return [(": ".join([*([", ".join(of)] if of else []), text]), list(by)) for text, (by, of) in found.items()]


def _said_of(warning: str, known: set[str]) -> tuple[str, str]:
    """Which of the known names a warning begins with, and the rest."""
    name, colon, text = warning.partition(": ")
    return (name, text) if colon and name in known else ("", warning)


def _trainings(record: RunRecord) -> list[tuple[str, ...]]:
    """Backbone, run, algorithm, updates, policy, cell of equal cost and training time of every trained run, once."""
    first = {(c.backbone, c.run): c for c in reversed(record.cells) if c.algorithm}
    return [
        (
            *(c.backbone, c.run, c.algorithm or "", "–" if c.updates is None else f"{c.updates:,}"),
            *("as its start" if c.policy is None else str(c.policy), c.matched or "", duration(c.seconds)),
        )
        for c in reversed(first.values())
    ]


def _provenance(record: RunRecord) -> list[tuple[str, str]]:
    """Started, finished, versions, git and hashes as rows of text."""
    rows = [(k, str(v)) for k in ("started", "finished", "suite_sha256", "resamples") if (v := getattr(record, k))]
    for group, found in (("hardware", record.hardware), ("versions", record.versions), ("git", dict(record.git))):
        rows += [(f"{group}: {k}", str(v)) for k, v in sorted(found.items()) if v not in (None, "")]
    return rows
