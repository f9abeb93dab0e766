"""The command line: verbs only, and each imports what it needs when it is called.

stdout carries results, stderr progress and logs. Exit codes: 0 ok, 1 a cell failed, 2 usage or validation,
3 a regression found by compare, 4 locked, 5 integrity, 6 a resource or prerequisite is missing, 130/143 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from drlbench import __version__
from drlbench.cli import complete
from drlbench.cli import node as cli_node
from drlbench.cli import store as cli_store
from drlbench.cli import tools as cli_tools
from drlbench.cli import weights as cli_weights
from drlbench.cli.complete import CellsOption, RunPath, SuitePath
from drlbench.cli.store import DEFAULT_STORE, StoreOption
from drlbench.cli.tools import offline_from_now
from drlbench.cli.verbs import Verbs
from drlbench.errors import UserError, did_you_mean, for_terminal, shown
from drlbench.store.disk import refusal

if TYPE_CHECKING:
    from drlbench.report.summary import Summary
    from drlbench.suite.load import Suite

app = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmark for RL post-training of flow-matching image models: from a checkpoint to an honest frontier.",
)
app.add_typer(cli_store.cache, name="cache")
app.command()(cli_tools.figures)
app.command()(cli_tools.compare)
app.command("eval")(cli_tools.evaluate)
app.command()(cli_tools.bench)
app.command()(cli_tools.new)
app.command()(cli_weights.sample)
app.command()(cli_weights.export)
app.command()(cli_store.verify)
app.command()(cli_node.doctor)
app.command()(cli_node.fetch)

SetOption = Annotated[list[str], typer.Option("--set", help="Override: key.path=value (repeatable).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]


def version(show: bool) -> None:
    if show:
        print(f"drlbench {__version__}")
        raise typer.Exit


@app.callback()
def root(show: Annotated[bool, typer.Option("--version", callback=version, is_eager=True)] = False) -> None:
    pass


def main() -> NoReturn:
    """Entry point: a user's mistake is one message and an exit code, ours is a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not end a run
    try:
        code = app(standalone_mode=False)  # an Exit comes back as its code
    except UserError as error:
        print(f"drlbench: {for_terminal(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            if told := error.format_message():  # none where no verb was given: the help has been printed
                print(f"drlbench: {told}", file=sys.stderr)
            sys.exit(2)
        if (known := refusal(error)) is None:
            raise
        print(f"drlbench: {known}", file=sys.stderr)
        sys.exit(known.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def announce(suite: Suite, pattern: str, folder: Path) -> None:
    """What a run will make, and where."""
    from fnmatch import fnmatchcase

    from drlbench.suite.cells import cells

    count = sum(fnmatchcase(c.id, pattern) for c in cells(suite.spec))
    what = f"{suite.spec.suite}: {count} cells to {folder}; laying out their stages and counting what they cost"
    print(what, file=sys.stderr, flush=True)


def tell(summary: Summary, folder: Path) -> None:
    """The verdict, the scorecard and where the page is."""
    from drlbench.report.terminal import show_scorecard

    print("\n".join(summary.in_short()))
    if summary.scorecard.lines:
        show_scorecard(summary.scorecard)
    print(f"report: {folder / 'report.html'}")


@app.command()
def run(
    suite: SuitePath = Path("digits"),
    out: Annotated[Path | None, typer.Option("--out", help="Run folder (default reports/<suite>).")] = None,
    store: StoreOption = DEFAULT_STORE,
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    cells: CellsOption = "*",
    executor: Annotated[str, typer.Option("--executor", help="local, or ray (drlbench[ray]).")] = "local",
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: here).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one per GPU, or per core on cpu).")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda (default: cuda with --gpus, else cpu).")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="Spread stages over so many GPUs (default: all, with cuda).")
    ] = None,
    ranks: Annotated[
        int, typer.Option("--ranks", min=1, help="Ranks of each fine-tune, one GPU each (processes on cpu).")
    ] = 1,
    tracker: Annotated[
        str | None, typer.Option("--tracker", help="Show fine-tunes live: tensorboard or wandb.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="First N cells only; marks the result partial.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First make again what is damaged, and what was made from it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a suite; running it again continues it."""
    if offline:
        offline_from_now()
    device = device or ("cuda" if gpus else "cpu")
    from drlbench.run.machine import check_device, check_executor

    check_executor(executor, address)
    if not device.startswith("cuda"):  # that check brings torch in, which would keep the first line waiting
        check_device(device, gpus)
    print(f"{suite}: reading the suite; store {store}, on {device}", file=sys.stderr, flush=True)
    from drlbench.suite.load import load_suite

    loaded = load_suite(suite, tuple(overrides))
    folder = out or Path("reports") / loaded.spec.suite
    announce(loaded, cells, folder)
    from drlbench.plan.pipeline import lay_out
    from drlbench.plan.prerequisites import check_ready
    from drlbench.run.executors import torchrun
    from drlbench.run.executors.local import default_workers
    from drlbench.run.perform import Options, perform
    from drlbench.store.bucket import open_store
    from drlbench.tracking import check_tracker

    if address is None:
        check_device(device, gpus, ranks)
    if tracker:
        check_tracker(tracker)
    check_ready(loaded, offline)
    partial = limit is not None or cells != "*"
    command = shlex.join(["drlbench", *sys.argv[1:]])
    count = workers or default_workers(device, ranks, gpus)
    if executor == "ray":
        from drlbench.run.executors.ray import connect

        count = connect(address, count, device, ranks, gpus)
    options = Options(count, device, command, partial, ranks, tracker, repair, executor, gpus)
    if torchrun.started():
        if gpus or ranks > 1:
            raise UserError("--gpus and --ranks start processes themselves; under torchrun leave them out")
        with torchrun.group(device) as rank:
            if rank > 0:
                return torchrun.serve(device)
            done = perform(
                loaded, lay_out(loaded, cells, limit), open_store(store), folder, replace(options, workers=1)
            )
    else:
        done = perform(loaded, lay_out(loaded, cells, limit), open_store(store), folder, options)
    headline = done.summary.in_short()
    if as_json:
        print(json.dumps({"run": str(folder), "status": done.record["status"], "headline": headline}, indent=1))
    else:
        tell(done.summary, folder)


@app.command()
def validate(
    suites: Annotated[list[Path], typer.Argument(help="Suite files.", autocompletion=complete.suites)],
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
) -> None:
    """Check suite files; every mistake is told with file:line:column."""
    from drlbench.suite.load import load_suite

    errors = []
    for path in suites:
        try:
            loaded = load_suite(path, tuple(overrides))
            absent = "; its images are not here, so nothing was held against them" if loaded.images.absent else ""
            print(f"{shown(path)}: ok, {len(loaded.cells):,} cells{absent}")
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n".join(errors))


@app.command()
def plan(
    suite: SuitePath = Path("digits"),
    store: StoreOption = DEFAULT_STORE,
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    cells: CellsOption = "*",
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda, to estimate for (default: what is here).")
    ] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="Estimate for so many GPUs of each node.")] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines with so many GPUs (or workers) each.")] = 1,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one per GPU, or per core on cpu).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stages, what is cached or missing, what it will cost, and what each --set saves."""
    from rich.console import Console

    from drlbench.cost.table import cost_table
    from drlbench.plan.pipeline import lay_out
    from drlbench.plan.prerequisites import has_gpu
    from drlbench.run.executors.local import default_workers
    from drlbench.store.bucket import open_store
    from drlbench.suite.load import load_suite

    if device not in (None, "cpu", "cuda"):
        raise UserError(f"--device {device!r}: valid are cpu and cuda")
    if gpus and device == "cpu":
        raise UserError("--gpus counts GPUs; with --device cpu give --workers")
    loaded = load_suite(suite, tuple(overrides))
    where = device or ("cuda" if gpus or has_gpu() else "cpu")
    each = gpus or workers or default_workers(where)
    whole = lay_out(loaded, absent_ok=True) if cells != "*" else None
    without = {}
    for one in overrides:
        others = tuple(text for text in overrides if text != one)
        try:
            without[one] = lay_out(load_suite(suite, others), cells, absent_ok=True)
        except UserError:
            without[one] = None
    plan = lay_out(loaded, cells, absent_ok=True)
    table = cost_table(plan, open_store(store), where, nodes * each, whole, nodes, without)
    if as_json:
        print(json.dumps(table.to_json(), indent=1))
    else:
        table.show(Console())


@app.command()
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="A run's folder; several, or a folder of runs: a leaderboard.", autocompletion=complete.runs
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for leaderboard.html and .csv of several runs.")] = Path(
        "reports"
    ),
) -> None:
    """Make the tables and report.html again from a run's results; of several runs, a leaderboard."""
    from drlbench.report.build import build_report
    from drlbench.report.rundata import find_runs
    from drlbench.store import manifest

    runs = [f for folder in folders for f in find_runs(folder)]
    if len(runs) == 1:
        manifest.check(runs[0], manifest.measured)
        summary = build_report(runs[0])
        manifest.renew(runs[0])
        tell(summary, runs[0])
    else:
        from drlbench.report.leaderboard import write_leaderboard
        from drlbench.report.load import load_run

        print(f"leaderboard: {write_leaderboard(load_run(*runs), out)}")


@app.command("list")
def list_names(kind: Annotated[str | None, typer.Argument(help="backbones, rewards, ...")] = None) -> None:
    """List what a suite can name, drlbench's own and plug-ins'."""
    from drlbench.backbones.listing import LISTINGS
    from drlbench.registry import REGISTRIES
    from drlbench.suite.shipped import described_suites

    valid = [*REGISTRIES, *LISTINGS, "suites"]
    if kind is not None and kind not in valid:
        raise UserError(f"unknown kind {kind!r}{did_you_mean(kind, valid)}; valid: {', '.join(valid)}")
    for name, registry in REGISTRIES.items():
        if kind in (None, name):
            print(f"{name}: {', '.join(registry.names())}")
    for name, lines in LISTINGS.items():
        if kind == name:
            print("\n".join(lines()))
        elif kind is None:
            heads = [line.partition(":")[0] for line in lines() if not line.startswith(" ")]
            print(f"{name}: {', '.join(heads)}   (`drlbench list {name}` says more)")
    if kind in (None, "suites"):
        suites = described_suites()
        print("suites: " + ", ".join(suites) if kind is None else "\n".join(f"{n}: {t}" for n, t in suites.items()))


@app.command()
def status(folder: RunPath, as_json: JsonOption = False) -> None:
    """Show how far a run is, from its events."""
    from drlbench.run.events import read_status

    state = read_status(folder)
    print(json.dumps(state.to_json(), indent=1) if as_json else state.to_text())


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="suite, run or results")] = "suite",
    markdown: Annotated[bool, typer.Option("--markdown", help="Of suite: docs/suite.md.")] = False,
) -> None:
    """Print the JSON schema of suite files or of run.json, or the columns of results.csv."""
    if what == "suite":
        from drlbench.suite.handbook import handbook, schema_text

        print(handbook() if markdown else schema_text(), end="")
    elif what == "run":
        from drlbench.report.record import RunRecord

        print(json.dumps(RunRecord.model_json_schema(), indent=1))
    elif what == "results":
        from drlbench.report.results import COLUMNS

        print(",".join(COLUMNS))
    else:
        valid = ["suite", "run", "results"]
        raise UserError(f"unknown schema {what!r}{did_you_mean(what, valid)}; valid: {', '.join(valid)}")
