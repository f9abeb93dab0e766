"""The command line's verbs that deal with weights: samples from a checkpoint, and a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from drlbench.cli import complete
from drlbench.cli.complete import RunPath
from drlbench.cli.options import OfflineOption, offline_from_now
from drlbench.cli.store import DEFAULT_STORE, StoreOption

Checkpoint = Annotated[str, typer.Argument(help="A weights file, exported folder, card (sit-xl-2-256, ...) or run.")]
Cell = Annotated[
    str,
    typer.Argument(
        help="Id of one of the run's cells, as in results.csv and on the page.", autocompletion=complete.cells
    ),
]
Backbone = Annotated[str | None, typer.Option(help="sit-xl-2, ..., or sit, jit, repa, rae (read off the weights).")]
Classes = Annotated[list[int], typer.Option("--class", help="Class index (repeatable; default: spread over all).")]
Precision = Literal["fp32", "bf16"]
Architecture = Annotated[list[str], typer.Option(help="key=value or JSON file, for what weights do not tell.")]


def sample(
    checkpoint: Checkpoint,
    cell: Annotated[
        str | None, typer.Argument(help="With a run: the id of one of its cells.", autocompletion=complete.cells)
    ] = None,
    backbone: Backbone = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Images.")] = 16,
    classes: Classes = [],  # noqa: B006 - typer reads the default and never changes it
    cfg: Annotated[float, typer.Option(min=0, help="Guidance scale; 1 is none.")] = 1.0,
    interval: Annotated[tuple[float, float], typer.Option(help="Times with guidance, 0 noise, 1 data.")] = (0.0, 1.0),
    steps: Annotated[int | None, typer.Option(min=1, help="Default: the run's, 50, or the backbone's own.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="paper, heun, euler, dopri5, official or official:METHOD (default: the run's)."),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the network; the solver's state stays fp32 (default: the run's, fp32).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Sample i is the same whatever n and the batch are.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 4,
    architecture: Architecture = [],  # noqa: B006 - likewise
    autoencoder: Annotated[str | None, typer.Option(help="pixels, sd-vae-ft-ema, ..., or a local folder.")] = None,
    ema: Annotated[str | None, typer.Option(help="Copy of the weights: its name, or false for raw ones.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one).")] = None,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("grid.png"),
    store: StoreOption = DEFAULT_STORE,
    offline: OfflineOption = False,
) -> None:
    """Sample a grid of images from a checkpoint, an exported folder, or a cell of a run."""
    if offline:
        offline_from_now()
    from drlbench.evaluate.sample import Request
    from drlbench.evaluate.sample import sample as make
    from drlbench.run.machine import check_device
    from drlbench.store.bucket import check_folder_store

    check_folder_store(store)
    if device:
        check_device(device)
    copy = {"false": False, "true": True}.get(ema or "", ema)
    weights = (
        checkpoint,
        cell,
        store,
        backbone,
        architecture,
        autoencoder,
        copy,
    )
    print(make(Request(*weights, n, classes, cfg, interval, steps, sampler, precision, seed, batch, device, out)))


def export(
    run: RunPath,
    cell: Cell,
    out: Annotated[Path, typer.Option(help="An empty folder to write.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a cell's model in its family's official names, with its configuration and a model card."""
    from drlbench.evaluate.export import export as write
    from drlbench.store.bucket import check_folder_store
    from drlbench.store.layout import Store

    check_folder_store(store)
    for path in write(run, cell, out, Store(store)):
        print(path)
