"""Pages of several runs: two of them compared, or a leaderboard of many."""

from __future__ import annotations

from markupsafe import Markup

from drlbench.report.compare import Comparison
from drlbench.report.compare_text import table, verdict
from drlbench.report.html import STYLE, asset, content_policy, hash_of, island, templates
from drlbench.report.leaderboard import Ranking
from drlbench.report.load import Results
from drlbench.report.summary import plain_guidance
from drlbench.report.thumbnails import thumbnails

MOST_PAIRS = 24  # cells whose pictures a comparison shows
PAIRS_BUDGET = 2_000_000  # bytes of one side's pictures


def render_comparison(comparison: Comparison) -> str:
    """A comparison as one page without scripts: what differs, what moved, and both runs' pictures at the same seeds."""
    style = asset(STYLE)
    policy = f"default-src 'none'; img-src data:; style-src {hash_of(style)}; base-uri 'none'; form-action 'none'"
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            table=table(comparison),
            verdict=verdict(comparison),
            pictures=_side_by_side(comparison),
            rows=comparison.new_run.record.row_names,
            style=Markup(style),
            policy=policy,
        )
    )


def render_leaderboard(results: Results, found: list[Ranking]) -> str:
    """Rankings of many runs as one page; its tables sort, filter and leave as CSV like a report's."""
    scripts = [asset(name) for name in ("page.js", "svg.js", "tables.js")]
    style = asset(STYLE)
    environment = templates()
    environment.filters["zip"] = zip
    return environment.get_template("leaderboard.html.j2").render(
        results=results,
        rankings=[(r, r.to_table()) for r in found],
        data=island({"classes": []}),
        style=Markup(style),
        scripts=[Markup(s) for s in scripts],
        policy=content_policy(style, scripts),
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
