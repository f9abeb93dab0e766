"""Image statistics by the paper's protocol, beside those of all samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drlbench.data.sources import load_dataset
from drlbench.metrics import image_statistics
from drlbench.plan.pipeline import lay_out
from drlbench.report.rundata import read_run
from drlbench.run.perform import Options, perform
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_both_stand_beside_each_other_for_models_and_real_images(tmp_path: Path) -> None:
    suite = load_suite(TINY, ("stats_per_class=3",))
    plan, store = lay_out(suite, "*base*"), Store(tmp_path / "store")
    perform(suite, plan, store, tmp_path / "run", Options(1, "cpu", ""))
    run = read_run(tmp_path / "run")
    data = load_dataset({"kind": "digits"})
    first = np.concatenate([np.flatnonzero(data.heldout_labels == c)[:3] for c in range(10)])
    for metric, real in (("brightness_subset", data.heldout_images[first]), ("brightness", data.heldout_images)):
        row = run.data_row("", metric)
        assert row is not None and row.n == len(real)
        assert row.value == pytest.approx(image_statistics(real)["brightness"].mean(), rel=1e-12)
    (samples,) = (c.measured["none"].samples for c in plan.cells)
    with np.load(store.folder("samples", samples.key) / "samples.npz") as kept:
        images, labels = kept["images"], kept["labels"]
    first = np.concatenate([np.flatnonzero(labels == c)[:3] for c in range(10)])
    own = {r.metric: r for r in run.rows if r.run == "base" and not r.space}
    assert own["contrast_subset"].n == 30 and own["contrast"].n == 60
    assert own["contrast_subset"].value == pytest.approx(image_statistics(images[first])["contrast"].mean(), rel=1e-12)
    assert "|n:30|" in own["contrast_subset"].signature
    assert (tmp_path / "run" / "paper_statistics.csv").is_file()


def test_only_image_statistics_have_another_key() -> None:
    plain, asked = (lay_out(load_suite(TINY, more)) for more in ((), ("stats_per_class=3",)))
    gone = plain.nodes.keys() - asked.nodes.keys()
    assert {(plain.nodes[k].kind, plain.nodes[k].label.split(": ")[-1]) for k in gone} == {
        ("scores", "image statistics")
    }
