"""`make faults`: attack drlbench, count what was lost, and write the table of docs/reliability.md.

    python tests/fault/campaign.py                       every row at full length
    python tests/fault/campaign.py --rows kill-gc,status  these rows; the table keeps the others' last results
    python tests/fault/campaign.py --short               a few trials of every row, no table: what the tests run

A row is a function that makes its fault happen, proves that it happened, and says what was lost. Exit code 1 when
anything was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rows_damage
import rows_input
import rows_kill
import rows_machine
import rows_sharing
from lab import Found, Lab

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
OWN = [f"drlbench.{name}" for name in ("cli.main", "report.build", "run.perform", "stages", "suite.load")]
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
MARK = "<!-- made by `make faults`; what follows is not written by hand -->\n"
Row = tuple[Callable[[Lab], Found], str]
ROWS: dict[str, Row] = {
    **rows_kill.ROWS,
    **rows_sharing.ROWS,
    **rows_damage.ROWS,
    **rows_machine.ROWS,
    **rows_input.ROWS,
}


def run(names: list[str], full: bool, kept: Path | None, share: float = 1.0, jobs: int = 1) -> bool:
    """Run rows, `jobs` at a time, tell each on stderr, keep its result in the folder `kept`; True: nothing was lost."""
    _imports()
    about = _circumstances()  # as they are now: the code is loaded, whatever becomes of its files
    forked = multiprocessing.get_context("fork")  # after the imports; what rows share is made in each process once
    left = forked.SimpleQueue()
    for name in [*names, *[None] * jobs]:
        left.put(name)
    workers = [forked.Process(target=_rows, args=(left, full, kept, share, about)) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return not any(worker.exitcode for worker in workers)


def _rows(left: Any, full: bool, kept: Path | None, share: float, about: dict[str, str]) -> None:
    """Rows until none is left, in a process of its own, which ends with 1 where something was lost."""
    lost = False
    with tempfile.TemporaryDirectory(prefix="faults", ignore_cleanup_errors=True) as folder:
        lab = Lab(Path(folder), full, share)
        while (name := left.get()) is not None:
            begun = time.monotonic()
            try:
                found = ROWS[name][0](lab)
            except Exception:  # a row that breaks counts as lost, and the others go on
                found = Found(lost=[f"the row broke: {traceback.format_exc()}"])
            seconds = time.monotonic() - begun
            if not found.happened:
                found.lost.append("the fault never happened")
            told = f"{name}: {found.happened} of {found.trials} happened, {len(found.lost)} lost, {seconds:.0f} s\n"
            sys.stderr.write(told + "".join(f"  LOST {line}\n" for line in found.lost))
            lost |= bool(found.lost)
            if kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                result = {**asdict(found), "seconds": round(seconds), **about}
                (kept / f"{name}.json").write_text(json.dumps(result, indent=1))
    sys.exit(lost)


def table(kept: Path) -> str:
    """The rows that have results, as Markdown, with the commits and machines they were made with."""
    found = {name: json.loads(path.read_text()) for name in ROWS if (path := kept / f"{name}.json").is_file()}
    made = list(dict.fromkeys(about["made"] for about in found.values()))
    lines = ["| fault | trials | happened | must hold | lost | s | with |", "|---|--:|--:|---|---|--:|---|"]
    for name, about in found.items():
        what = (ROWS[name][0].__doc__ or "").split("\n")[0].rstrip(".")
        what += f" ({about['note']})" if about["note"] else ""
        lost = "nothing" if not about["lost"] else f"**{len(about['lost'])}**: {about['lost'][0][:160]}"
        cells = [what, about["trials"], about["happened"], ROWS[name][1], lost, about["seconds"]]
        cells.append(str(made.index(about["made"]) + 1))
        lines.append(f"| `{name}`: " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    missing = [f"`{name}`" for name in ROWS if name not in found]
    lines += ["", f"Rows without a result here: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, "", "Made with:", "", *(f"{i + 1}. {text}" for i, text in enumerate(made))]) + "\n"


def _circumstances() -> dict[str, str]:
    from drlbench.store import provenance

    git, versions, hardware = provenance.git(), provenance.versions(), provenance.hardware()
    commit = f"commit {str(git['commit'])[:9]}{' and changes that were not committed' if git['dirty'] else ''}"
    named = ", ".join(f"{k} {versions[k]}" for k in ("python", "torch", "numpy") if k in versions)
    machine = ", ".join(str(v) for k, v in hardware.items() if v and not isinstance(v, dict | list) and k != "hostname")
    return {"made": f"{commit}; {named}; {machine}; {time.strftime('%Y-%m-%d', time.gmtime())}"}


def _imports() -> None:
    """Everything a run imports, so that a forked process starts at its own first line."""
    for name in ("matplotlib.backends.backend_svg", "sklearn.datasets", "torch._dynamo", *OWN):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    torch.optim.AdamW([weight]).step()  # torch imports as much again at the first step of an optimiser


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="names, with commas between them (default: all)")
    parser.add_argument("--short", action="store_true", help="a few trials of every row; no table is written")
    parser.add_argument("--share", type=float, default=1.0, help="of the trials of a row's full length, e.g. 0.3")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "faults", help="where rows keep results")
    given = parser.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # a process with threads of its own is not to be forked
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    if given.list:
        print("\n".join(f"{name}: {(row[0].__doc__ or '').splitlines()[0]}" for name, row in ROWS.items()))
        return 0
    names = [name for name in given.rows.split(",") if name] or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; --list names them")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # started by nohup, this and all that it starts would ignore it
    whole = run(names, not given.short, None if given.short else given.results, given.share, 1 if given.short else 2)
    if not given.short:
        head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(f"{head}{MARK}\n{table(given.results)}", encoding="utf-8")
        print(f"{PAGE.relative_to(ROOT)} written", file=sys.stderr)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
