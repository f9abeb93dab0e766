"""The page's sample grids: kept whole where they fit, shrunk or left to no guidance where they do not."""

import base64
import io

import numpy as np
from made_runs import make_run
from PIL import Image

from drlbench.report.rundata import read_run
from drlbench.report.thumbnails import LEAST_SHARE, thumbnails


def test_grids_that_fit_are_the_files_themselves(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    uris, grids, warnings = thumbnails(run, run.cells, "none", 5_000_000)
    assert not warnings and all(u.startswith("data:image/png") for u in uris)
    cell = run.cells[0]
    content = base64.b64decode(uris[grids[cell]["cfg1.5"]].partition(",")[2])
    assert content == (run.path / run.cell_record(cell).grids["cfg1.5"]).read_bytes()


def test_a_crowded_page_keeps_the_grids_without_guidance_and_says_so(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    named = sum(len(run.cell_record(c).grids) for c in run.cells)
    _, grids, warnings = thumbnails(run, run.cells, "none", named * LEAST_SHARE - 1)
    assert {g for kept in grids.values() for g in kept} == {"none"} and len(grids) == len(run.cells)
    assert warnings == [
        f"{named // 2} sample grids under guidance are left out of the page, which has no room for them."
    ]


def test_a_large_grid_is_shrunk_to_its_share(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    path = run.path / run.cell_record(run.cells[0]).grids["none"]
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)).save(path)
    share = 40_000
    named = sum(len(run.cell_record(c).grids) for c in run.cells)
    uris, grids, _ = thumbnails(run, run.cells, "none", share * named)
    kind, _, content = uris[grids[run.cells[0]]["none"]].partition(",")
    assert kind == "data:image/webp;base64" and len(base64.b64decode(content)) <= share
    assert Image.open(io.BytesIO(base64.b64decode(content))).width > 100
