import re
from pathlib import Path

from drlbench.report.glossary import DOCUMENT, MEANING, METRICS, document
from drlbench.report.results import COLUMNS, read_results

ROOT = Path(__file__).parents[2]


def test_the_document_is_current():
    assert (ROOT / DOCUMENT).read_text(encoding="utf-8") == document(), "python -m drlbench.report.glossary"


def test_every_column_and_every_measured_metric_is_explained():
    assert list(MEANING) == COLUMNS
    rows = read_results(Path(__file__).parent / "fixtures" / "schema-1" / "results.csv")
    rewards = {"drl", "bold", "bold-held-out"}
    assert {r.metric for r in rows} - rewards <= METRICS.keys()


def test_metrics_that_the_code_names_are_explained():
    """Names given to what makes measurements, and to the rows of a run's bound."""
    named = set()
    for folder in ("metrics", "stages", "run"):
        for path in (ROOT / "drlbench" / folder).rglob("*.py"):
            named |= set(
                re.findall(
                    r'(?:first_order|of_mean|mean_ratio|measured|Measurement|about|_row)\(\s*"([a-z_0-9]+)"',
                    path.read_text(encoding="utf-8"),
                )
            )
    named = {name for name in named if not name.startswith("tilt_") or name == "tilt_gap_nats"}  # under tilt_*
    assert len(named) > 5 and named <= METRICS.keys(), named - METRICS.keys()
