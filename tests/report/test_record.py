import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import drlbench
from drlbench.errors import IntegrityError, MissingPrerequisite
from drlbench.report.record import SCHEMA, RunRecord, read_record
from drlbench.report.results import COLUMNS
from drlbench.report.rundata import read_run

PAST = Path(__file__).parent / "fixtures" / "schema-1"


def test_the_past_schema_is_read_and_holds_no_unknown_key():
    record = read_record(PAST / "run.json")
    assert (record.schema_, record.suite, record.status, record.results) == (1, "digits", "complete", None)
    cell = next(c for c in record.cells if c.id == "sit/drl/lambda=1/seed=0.0")
    assert cell.lambda_ == 1.0 and cell.optimised == ("drl",) and cell.kl_nats == pytest.approx(1.1512, abs=1e-4)
    assert unknown(record) == []
    run = read_run(PAST)
    assert len(run.rows) == 910 and run.spaces == ("classifier", "contrastive", "pixels", "dae")


def test_every_version_of_a_runs_folder_is_kept_and_read():
    kept = {path.name: path for path in PAST.parent.glob("schema-*")}
    assert sorted(kept) == [f"schema-{number}" for number in range(1, SCHEMA + 1)]
    for name in ("schema-2", f"schema-{SCHEMA}"):
        run = read_run(kept[name])
        assert len(run.cells) == 3 and len(run.rows) == run.record.results.rows and run.replicates
        assert unknown(run.record) == []
    said = {c.run: (c.policy and (c.policy.widen, c.policy.depth), c.updates, c.matched) for c in run.record.cells}
    assert said == {"base": (None,) * 3, "drl": ((8, 1), 3, None), "sft": (None, 39, "sit/drl/lambda=1/seed=0.0")}
    assert {r.run: r.policy for r in run.rows} == {"base": "", "drl": "widen=8 depth=1", "sft": "", "data": ""}


def unknown(model: BaseModel, at: str = "") -> list[str]:
    """Every key of a record that its model does not name."""
    found = [f"{at}{k}" for k in model.model_extra or {}]
    for name in type(model).model_fields:
        value = getattr(model, name)
        for one in value if isinstance(value, tuple) else (value,):
            found += unknown(one, f"{at}{name}.") if isinstance(one, BaseModel) else []
    return found


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (0, "schema 0; a run's record has 1 to"),
        (-1, "schema -1"),
        (True, "schema true; .* an integer"),
        (1.0, "schema 1.0"),
        ("1", 'schema "1"'),
        (None, "schema null"),
        (SCHEMA + 1, rf"schema {SCHEMA + 1} needs drlbench >= 9\.9; this one reads 1 to {SCHEMA}"),
    ],
)
def test_other_schemas_are_refused_by_name(schema, said, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": schema, "versions": {"drlbench": "9.9"}}))
    with pytest.raises(IntegrityError, match=said) as caught:
        read_run(tmp_path)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": 3}, "cells: "),
        ({"cells": [{"run": "drl"}]}, r"cells\.0\.id: Field required"),
        ({"spaces": [{"name": "x", "held_out": "maybe"}]}, r"spaces\.0\.held_out"),
        ({"status": "done"}, "status: "),
    ],
)
def test_what_no_run_writes_is_named_by_its_place(change, said, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": SCHEMA, **change}))
    with pytest.raises(IntegrityError, match=said):
        read_record(tmp_path / "run.json")


def test_the_schema_verb_prints_the_model():
    done = subprocess.run(
        [sys.executable, "-m", "drlbench", "schema", "run"], capture_output=True, text=True, check=True
    )
    schema = json.loads(done.stdout)
    assert schema == RunRecord.model_json_schema()
    assert {"cells", "results", "schema"} <= schema["properties"].keys() and "CellRecord" in schema["$defs"]


def test_one_run_as_frames(run_dir):
    found = drlbench.load_run(run_dir)
    assert list(found.results.columns) == COLUMNS and len(found.results) == len(found.runs[0].rows)
    one = found.results.query("backbone == 'small' and run == 'drl' and `lambda` == 1 and seed == '0.1'")
    row = found.runs[0].rows[one.index[0]]
    assert (one.iloc[0]["metric"], one.iloc[0]["value"]) == (row.metric, row.value)
    assert math.isnan(found.results.query("run == 'base'").iloc[0]["lambda"])
    assert found.frontier["on_front"].dtype == bool and found.frontier["on_front"].any()
    curve = found.curves.query("cell == 'small/drl/lambda=1/seed=0.1' and series == 'reward'")
    assert len(curve) == 20 and curve["value"].iloc[-1] == pytest.approx(-1.5 + 0.02 * 95 + 0.1)
    assert set(found.cells["status"]) == {"ok"} and len(found.cells) == len(found.runs[0].cells)
    assert len(repr(found)) < 100 and "cells" in repr(found) and len(repr(found.runs[0])) < 100


def test_several_runs_and_folders_of_runs(run_dir, tmp_path):
    for name in ("a/same", "b/same", "b/other"):
        shutil.copytree(run_dir, tmp_path / name)
    found = drlbench.load_run(tmp_path)
    assert found.names == ("a/same", "other", "b/same")
    assert found.results.columns[0] == "folder" and set(found.results["folder"]) == set(found.names)
    assert len(found.results) == 3 * len(found.runs[0].rows)
    assert len(drlbench.load_run(tmp_path / "a", tmp_path / "b" / "same").runs) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingPrerequisite, match=r"holds neither run\.json"):
        drlbench.load_run(tmp_path / "empty")
