"""The command line's verbs that make a machine ready for a run: doctor, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drlbench.cli.tools import offline_from_now

SuitePath = Annotated[Path, typer.Argument(help="A suite file, or the name of a built-in one (digits, digits-small).")]
SetOption = Annotated[list[str], typer.Option("--set", help="Override: key.path=value (repeatable).")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]


def doctor() -> None:
    """Show versions, hardware and free disk, and what is missing."""
    from drlbench.run.machine import diagnose

    print(diagnose())


def fetch(suite: SuitePath, overrides: SetOption = [], offline: OfflineOption = False) -> None:  # noqa: B006 - typer reads the default and never changes it
    """Bring every weights file of a suite to the cache, for machines without network."""
    if offline:
        offline_from_now()
    from drlbench.plan.prerequisites import fetch as bring
    from drlbench.run.progress import bars
    from drlbench.suite.load import load_suite

    loaded = load_suite(suite, tuple(overrides))
    with bars() as tell:
        lines = bring(loaded, lambda asset, done: tell(asset.name, done))
    print("\n".join(lines) or "this suite needs no weights from outside")
