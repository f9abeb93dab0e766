"""Rows of the table: changed bits, cut and swapped files, records of another shape, numbers that are not numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from lab import SUITE, Found, Lab, digest, flipped

from drlbench.errors import UserError
from drlbench.report.compare import compare
from drlbench.report.load import load_run
from drlbench.store import manifest

VERSIONS = Path(__file__).resolve().parents[1] / "report" / "fixtures"


def flip_store(lab: Lab) -> Found:
    """A bit flipped in every file of the store, markers included, at its start, middle and end."""
    found, at = Found(), lab.copy()
    for path in _files(at / "store"):
        size = path.stat().st_size
        for place in {0, size // 2, size - 1} if lab.full else {size // 2}:
            whole = path.read_bytes()
            flipped(path, place, bit=place % 8)
            found.hold(f"{path.relative_to(at)} byte {place}", _named(lab.verified(at), path))
            path.write_bytes(whole)
    return found


def flip_then_run(lab: Lab) -> Found:
    """A bit flipped in one file of every kind in the store, then the run again, then `run --repair`."""
    found = Found()
    assert lab.wanted
    kinds = {(p.parent.parent.parent.name, p.name): p.relative_to(lab.clean) for p in _files(lab.clean / "store")}
    for (kind, name), where in sorted(kinds.items())[:: lab.count(1, 12)]:
        at = lab.copy()
        flipped(at / where)
        again = lab.run(at, *lab.suite_run(at))
        # Whatever the run had no need to read it may leave to `verify`; what it read it must refuse.
        unread = again.code == 0 and _named(lab.verified(at), at / where) is None and digest(at / "out") == lab.wanted
        wrong = None if unread else again.ends(5, says="--repair")
        served = None if (at / "out" / "results.csv").is_file() else "no results.csv"
        mended = lab.run(at, *lab.suite_run(at, "--repair")).ends(0)
        found.hold(f"{kind}/{name}", wrong, served, mended, lab.same(at))
        lab.drop(at)
    return found


def damaged_input(lab: Lab) -> Found:
    """A damaged file that a stage still to be made needs: weights, a reward, samples."""
    found = Found()
    assert lab.wanted
    for kind, gone in (("base", "samples"), ("reward", "finetune"), ("samples", "features"), ("encoder", "features")):
        at = lab.copy()
        lab.drop(at / "store" / gone, at / "out")
        path = next(p for p in _files(at / "store" / kind) if p.suffix in (".safetensors", ".npz") or kind == "encoder")
        flipped(path)
        run = lab.run(at, *lab.suite_run(at)).ends(5, says=path.name)
        page = None if (at / "out" / "report.html").is_file() else "no page"
        mended = lab.run(at, *lab.suite_run(at, "--repair")).ends(0)
        found.hold(kind, run, page, mended, lab.same(at))
        lab.drop(at)
    return found


def flip_folder(lab: Lab) -> Found:
    """A bit flipped in every file of the run's folder, the manifest included."""
    found, at = Found(), lab.copy()
    for path in _files(at / "out"):
        name = path.relative_to(at / "out").as_posix()
        whole = path.read_bytes()
        flipped(path)
        wrong = [_named(lab.verified(at), path)]
        if manifest.measured(name):
            wrong += [f"{door} served it" for door in _doors(at) if door]
        found.hold(name, *wrong)
        path.write_bytes(whole)
    return found


def edited_results(lab: Lab) -> Found:
    """results.csv with one digit changed, doubled rows, a row gone, cut at a line end and cut in a line."""
    found, at = Found(), lab.copy()
    path = at / "out" / "results.csv"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    middle = len(lines) // 2
    digit = next(c for c in lines[middle].split(",")[13] if c.isdigit())
    cells = lines[middle].split(",")
    cells[13] = cells[13].replace(digit, str((int(digit) + 1) % 10), 1)
    for name, text in {
        "digit": "".join([*lines[:middle], ",".join(cells), *lines[middle + 1 :]]),
        "doubled": "".join([*lines, lines[-1]]),
        "row gone": "".join(lines[:middle] + lines[middle + 1 :]),
        "cut at a line": "".join(lines[:-1]),
        "cut in a line": whole[:-9],
    }.items():
        path.write_text(text)
        wrong = [f"{door} served it" for door in _doors(at) if door]
        wrong += [w for verb in (("report", "out"), ("compare", lab.clean / "out", "out"))
                  if (w := lab.run(at, *verb).ends(5, says="results.csv"))]  # fmt: skip
        found.hold(name, None if text != whole else "was not changed", *wrong)
        path.write_text(whole)
    return found


def _doors(at: Path) -> Iterator[str | None]:
    """The ways to a run's numbers that serve them although a file was changed."""
    for name, door in {
        "load_run": lambda: load_run(at / "out"),
        "compare": lambda: compare(at / "out", at / "out"),
    }.items():
        try:
            door()
            yield name
        except UserError as error:
            yield None if error.exit_code == 5 else f"{name} with {error.exit_code}"


def cut_files(lab: Lab) -> Found:
    """Every file of store and folder cut by 1 byte, to a half and to nothing; one file too many; one gone."""
    found, at = Found(), lab.copy()
    for path in [*_files(at / "store"), *_files(at / "out")]:
        whole = path.read_bytes()
        for left in sorted({len(whole) - 1, len(whole) // 2, 0}) if lab.full else [len(whole) // 2]:
            path.write_bytes(whole[:left])
            found.hold(f"{path.relative_to(at)} cut to {left}", _named(lab.verified(at), path))
        path.unlink()
        found.hold(f"{path.relative_to(at)} gone", None if lab.verified(at) or path.name == manifest.NAME else "unseen")
        path.write_bytes(whole)
    for folder in {p.parent for p in _files(at / "store")}:
        (folder / "more.json").write_text("{}")
        found.hold(f"{folder.name} more", _named(lab.verified(at), folder / "more.json"))
        (folder / "more.json").unlink()
    return found


def swapped_folders(lab: Lab) -> Found:
    """The folders of two cells' stages exchanged, for every kind that has two."""
    found, at = Found(), lab.copy()
    for kind in sorted(p for p in (at / "store").iterdir() if p.is_dir()):
        folders = sorted(p for p in kind.glob("*/*") if (p / "COMPLETE.json").is_file())
        if len(folders) < 2:
            continue
        one, other, aside = folders[0], folders[1], at / "aside"
        for a, b in ((one, aside), (other, one), (aside, other)):
            os.rename(a, b)
        found.hold(kind.name, None if "holds the result of key" in str(lab.verified(at)) else "unseen")
        for a, b in ((one, aside), (other, one), (aside, other)):
            os.rename(a, b)
    return found


SHAPES = {
    "list": b"[]", "null": b"null", "number": b"1e999", "NaN": b'{"schema": NaN}', "deep": b"[" * 100_000,
    "another object": b'{"a": 1}', "empty": b"", "binary": bytes(range(256)),
    "UTF-16": '{"schema": 2}'.encode("utf-16"),
    "text": b"hello", "string": b'"x"', "true": b"true", "schema 0": b'{"schema": 0}', "schema -1": b'{"schema": -1}',
    "schema true": b'{"schema": true}', "schema 99": b'{"schema": 99}',
}  # fmt: skip


def other_shapes(lab: Lab) -> Found:
    """run.json, curves.json, events.jsonl, manifest and marker as JSON of another shape, or as no JSON."""
    found, at = Found(), lab.copy()
    marker = next((at / "store").glob("scores/*/*/COMPLETE.json"))
    for path in [at / "out" / n for n in ("run.json", "curves.json", "events.jsonl", "manifest.json")] + [marker]:
        whole = path.read_bytes()
        for name, content in SHAPES.items():
            path.write_bytes(content)
            seen = []
            for verb in ("verify", "status"):
                done = lab.run(at, verb, "out", *(["--store", "store"] if verb == "verify" else []))
                fine = (0, 5) if verb == "status" else (5,)
                seen.append(done.ends(*fine))
            seen += (
                [f"{door} served it" for door in _doors(at) if door]
                if path.name not in (marker.name, "events.jsonl")
                else []
            )
            found.hold(f"{path.name} {name}", *seen)
            path.write_bytes(whole)
            if not lab.full:
                break
    return found


def past_versions(lab: Lab) -> Found:
    """Folders that earlier versions wrote, schema by schema: read, not refused."""
    found = Found()
    for folder in sorted(VERSIONS.glob("schema-*")):
        try:
            count = len(load_run(folder).results)
            found.hold(folder.name, None if count else "no rows")
        except UserError as error:
            found.hold(folder.name, str(error))
    return found


def a_cell_diverges(lab: Lab) -> Found:
    """lambda 1e38 in one cell: it stops, the others finish, page and frontier show the gap, compare fails on it."""
    found = Found()
    assert lab.wanted
    at = lab.copy()
    suite = at / "least.yaml"
    suite.write_text(SUITE.read_text().replace("lambda: [1, 2]", "lambda: [1, 1e38]"))
    done = lab.run(at, "run", suite, "--store", "store", "--out", "out", "--workers", "2")
    cells = json.loads((at / "out" / "run.json").read_text())["cells"]
    failed = [c for c in cells if c["status"] == "failed"]
    told = None if len(failed) == 1 and "update 1: the" in failed[0]["error"] else f"failed: {failed}"
    others = None if sum(c["status"] == "ok" for c in cells) == len(cells) - 1 else "another cell did not finish"
    names = ("report.html", "table.csv", "frontier.csv", "summary.json")
    made = [None if (at / "out" / n).is_file() else f"no {n}" for n in names]
    gap = "lambda=1e+38" in (at / "out" / "frontier.csv").read_text()
    checked = lab.run(at, "verify", "out", "--store", "store").ends(0, says="were not made")
    found.hold(
        "lambda", done.ends(1, says="1 of 3 cells failed"), told, others, *made, "no gap" if gap else None, checked
    )
    # The same cell measured before: the gate must not pass because its numbers are gone.
    suite.write_text(SUITE.read_text())
    broken = ["--set", "algorithms.am.learning_rate=1e37", "--set", "algorithms.am.gradient_clip=1e30"]
    failing = lab.run(at, "run", suite, "--store", "store", "--out", "new", "--workers", "2", *broken)
    gate = lab.run(at, "compare", lab.clean / "out", at / "new", "--fail-on", "regress")
    found.hold("compare", failing.ends(1), gate.ends(3))
    lab.drop(at)
    return found


def all_cells_fail(lab: Lab) -> Found:
    """Every fine-tune and the base fail (learning rates of 1e30): exit 1 with a page, and a later run heals."""
    found = Found()
    assert lab.wanted
    at = lab.place()
    words = lab.suite_run(at, "--set", "backbones.sit.pretrain.lr=1e30")
    done = lab.run(at, *words)
    page = None if (at / "out" / "report.html").is_file() else "no page"
    found.hold("all", done.ends(1, says="3 of 3 cells failed"), page)
    found.hold("then well", lab.run(at, *lab.suite_run(at)).ends(0), lab.same(at))
    lab.drop(at)
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "mutex" and p.stat().st_size)


def _named(told: str | None, path: Path) -> str | None:
    """None where a message names the file."""
    return None if told and path.name in told else f"not named: {told}"


ROWS = {
    "flip-store": (flip_store, "`verify` names the file (5)"),
    "flip-then-run": (flip_then_run, "5 and the command that mends, no number served; --repair 0, results equal"),
    "damaged-input": (damaged_input, "5 with a page; --repair makes just that again; results equal"),
    "flip-folder": (flip_folder, "`verify` names the file; `load_run` and `compare` refuse what was measured (5)"),
    "edited-results": (edited_results, "`report`, `compare`, `load_run` 5, file named"),
    "cut-files": (cut_files, "`verify` names the file (5)"),
    "swapped-folders": (swapped_folders, "`verify` 5: the folder holds another key"),
    "other-shapes": (other_shapes, "5 (or 0 where it is not read), file named, no traceback"),
    "past-versions": (past_versions, "read"),
    "a-cell-diverges": (a_cell_diverges, "1; step and tensor named; page, tables, frontier with a gap"),
    "all-cells-fail": (all_cells_fail, "1 with a page; afterwards the run is as new"),
}
