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
from drlbench.report.compare import Comparison
from drlbench.report.compare_text import table
from drlbench.report.headline import axis_words
from drlbench.report.leaderboard import Ranking
from drlbench.report.load import Results
from drlbench.report.page_data import page_data
from drlbench.report.record import RunRecord
from drlbench.report.rundata import RunData
from drlbench.report.scorecard import RULE, bounds, minutes
from drlbench.report.summary import INTERVAL_RULE, REFERENCE_RULE, Summary, best_guidance, plain_guidance
from drlbench.report.tables import checkpoint_rows, printed_table
from drlbench.report.thumbnails import thumbnails
from drlbench.report.words import digits, family, interval, lambda_text, percent, seeds

SCRIPTS = ("chart.umd.min.js", "page.js", "svg.js", "tables.js", "frontier.js", "panels.js")
STYLE = "page.css"
MOST_PAIRS = 24  # cells whose pictures a comparison shows
PAIRS_BUDGET = 2_000_000  # bytes of one side's pictures
MOST_TABLES = 4  # guidances; a longer sweep is in table.csv
WIDE = 600  # points
TOPICS = {"distance": "Distance to the data", "front": "Frontiers", "hacking": "Reward hacking"}


def render(run: RunData, summary: Summary, pictures: dict[str, tuple[str, str]]) -> str:
    """The whole page.

    Args:
        run, summary: what to show.
        pictures: (caption, SVG text) by name, drawn by `report.figures`.
    """
    environment = _environment()
    scripts = [_asset(name) for name in SCRIPTS]
    style = _asset(STYLE)
    data, warnings = page_data(run, summary)
    return environment.get_template("report.html.j2").render(
        meta=run.record,
        run=run,
        summary=summary,
        leads=[s for s in summary.headline if s.topic in ("status", "verdict", "caution")],
        topics=[(title, [s for s in summary.headline if s.topic == topic]) for topic, title in TOPICS.items()],
        card=summary.scorecard,
        card_note=summary.scorecard.to_table().note,
        card_rule=RULE,
        counts=_counts(run),
        tables=[(g, printed_table(run, g)) for g in _tabled(run, summary.plain_guidance)],
        untabled=len(run.guidances) > MOST_TABLES,
        contests=[c for c in summary.contests if c.guidance == summary.plain_guidance],
        axis=lambda a: axis_words(run, a),
        warnings=[*run.record.warnings, *warnings],
        failed=[c for c in run.record.cells if c.status != "ok"],
        provenance=_provenance(run.record),
        rules=(INTERVAL_RULE, REFERENCE_RULE),
        pictures=pictures,
        data=_island(data),
        style=Markup(style),
        scripts=[Markup(s) for s in scripts],
        policy=_policy(style, scripts),
    )


def _tabled(run: RunData, plain: str) -> list[str]:
    """The guidances whose table the page shows: all, or none and the best of a sweep too long to print."""
    measured = {row[3] for row in checkpoint_rows(run)}
    wanted = run.guidances if len(run.guidances) <= MOST_TABLES else (plain, best_guidance(run))
    return [g for g in wanted if g in measured]


def _environment() -> Environment:
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


def render_comparison(comparison: Comparison) -> str:
    """A comparison as one page without scripts: what differs, what moved, and both runs' pictures at the same seeds."""
    style = _asset(STYLE)
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            table=table(comparison),
            pictures=_side_by_side(comparison),
            style=Markup(style),
            policy=policy,
        )
    )


def render_leaderboard(results: Results, found: list[Ranking]) -> str:
    """Rankings of many runs as one page; its tables sort, filter and leave as CSV like a report's."""
    scripts = [_asset(name) for name in ("page.js", "svg.js", "tables.js")]
    style = _asset(STYLE)
    environment = _environment()
    environment.filters["zip"] = zip
    return environment.get_template("leaderboard.html.j2").render(
        results=results,
        rankings=[(r, r.to_table()) for r in found],
        data=_island({"classes": []}),
        style=Markup(style),
        scripts=[Markup(s) for s in scripts],
        policy=_policy(style, scripts),
    )


def _policy(style: str, scripts: list[str]) -> str:
    """A content policy that allows exactly the inlined style and scripts."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(map(_hash, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _side_by_side(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(cell, old grid, new grid) of the cells both runs have, those with the worst number first."""
    old, new = comparison.old_run, comparison.new_run
    if not old.guidances or not new.guidances:
        return []
    plain = plain_guidance(old)
    ranked = dict.fromkeys((c.backbone, c.run, c.lambda_) for c in comparison.ranked(every=True))
    cells = [c for family in ranked for c in old.seeds(*family) if c in new.cells][:MOST_PAIRS]
    pairs = []
    sides = [thumbnails(run, cells, plain, PAIRS_BUDGET)[:2] for run in (old, new)]
    for cell in cells:
        uris = [pictures[grids[cell][plain]] for pictures, grids in sides if plain in grids.get(cell, {})]
        pairs += [(cell.id, uris[0], uris[1])] if len(uris) == 2 else []
    return pairs


def _asset(name: str) -> str:
    text = (resources.files("drlbench.report") / "assets" / name).read_text(encoding="utf-8")
    return "\n" + re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text).strip() + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _island(data: dict[str, Any]) -> Markup:
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
    return f"[{text}]" if text else ""


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


def _provenance(record: RunRecord) -> list[tuple[str, str]]:
    """Started, finished, versions, git and hashes as rows of text."""
    rows = [(k, str(v)) for k in ("started", "finished", "suite_sha256", "resamples") if (v := getattr(record, k))]
    for group, found in (("hardware", record.hardware), ("versions", record.versions), ("git", dict(record.git))):
        rows += [(f"{group}: {k}", str(v)) for k, v in sorted(found.items()) if v not in (None, "")]
    return rows
