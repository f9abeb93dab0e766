"""The run's folder vouches for itself: each changed, cut, missing or stale file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.errors import IntegrityError
from drlbench.store import manifest

FILES = ("results.csv", "run.json", "samples/a.png", "report.html", "events.jsonl")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "samples").mkdir()
    for name in FILES:
        (tmp_path / name).write_text(f"content of {name}\n")
    manifest.seal(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [*FILES, manifest.NAME])
def test_one_changed_byte_is_named(run: Path, name: str) -> None:
    assert manifest.check(run) == []
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        manifest.check(run)


def test_a_log_may_grow_and_a_reader_may_keep_notes(run: Path) -> None:
    with (run / "events.jsonl").open("a") as log:
        log.write("more\n")
    (run / "notes.md").write_text("mine")
    assert manifest.check(run) == ["notes.md"]


@pytest.mark.parametrize(("name", "message"), [("frontier.csv", "other results"), ("samples/b.png", "not part of")])
def test_a_stale_file_is_no_part_of_the_run(run: Path, name: str, message: str) -> None:
    (run / name).write_text("of an earlier run")
    with pytest.raises(IntegrityError, match=message):
        manifest.check(run)


def test_a_missing_file_is_named_and_an_old_run_has_nothing_to_compare(run: Path) -> None:
    (run / "results.csv").unlink()
    with pytest.raises(IntegrityError, match=r"results\.csv: missing"):
        manifest.check(run)
    (run / manifest.NAME).unlink()
    assert manifest.check(run) is None


def test_sealing_a_part_does_not_vouch_for_the_rest(run: Path) -> None:
    (run / "results.csv").write_text("changed")
    manifest.seal(run, manifest.made)
    with pytest.raises(IntegrityError, match=r"results\.csv"):
        manifest.check(run)
