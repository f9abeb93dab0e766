"""The command line: verbs only, and each imports what it needs when it is called.

stdout carries results, stderr progress and logs. Exit codes: 0 ok, 1 a cell failed, 2 usage or validation,
3 a regression found by compare, 4 locked, 5 integrity, 6 a resource or prerequisite is missing, 130/143 interrupted.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from drlbench import __version__
from drlbench.cli import node as cli_node
from drlbench.cli import report as cli_report
from drlbench.cli import run as cli_run
from drlbench.cli import store as cli_store
from drlbench.cli import suite as cli_suite
from drlbench.cli import tools as cli_tools
from drlbench.cli import weights as cli_weights
from drlbench.cli.verbs import Verbs
from drlbench.errors import UserError, for_terminal
from drlbench.store.disk import refusal

app = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's panels take longer to import than all else that help needs, and [x] for a style
    help="Benchmark for RL post-training of flow-matching image models: from a checkpoint to an honest frontier.",
)
app.add_typer(cli_store.cache, name="cache")
app.command()(cli_run.run)
app.command()(cli_run.status)
app.command()(cli_suite.validate)
app.command()(cli_suite.plan)
app.command("list")(cli_suite.list_names)
app.command()(cli_suite.schema)
app.command()(cli_report.report)
app.command()(cli_report.figures)
app.command()(cli_report.compare)
app.command("eval")(cli_tools.evaluate)
app.command()(cli_tools.bench)
app.command()(cli_tools.new)
app.command()(cli_weights.sample)
app.command()(cli_weights.export)
app.command()(cli_store.verify)
app.command()(cli_node.doctor)
app.command()(cli_node.fetch)


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
            told = error.format_message()  # the help itself where no verb was given
            print(told if told.startswith("Usage: ") else f"drlbench: {told}", file=sys.stderr)
            sys.exit(2)
        if (known := refusal(error)) is None:
            raise
        print(f"drlbench: {known}", file=sys.stderr)
        sys.exit(known.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
