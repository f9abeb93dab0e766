"""The command line's verbs for use beside a suite: scores of any images, measurements of a network, a new package."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drlbench.cli import complete
from drlbench.cli.options import JsonOption, OfflineOption, offline_from_now
from drlbench.cli.store import DEFAULT_STORE, StoreOption
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean, for_terminal

if TYPE_CHECKING:
    from drlbench.bench.result import BenchResult
    from drlbench.data.images import ImageSource


def evaluate(
    images: Annotated[str, typer.Argument(help="A folder of images, an npz, parquet or tar, or a run's samples.")],
    reference: Annotated[
        list[str] | None, typer.Option("--reference", help="The same kinds, or a statistics file; may be repeated.")
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            help="Comma-separated: fd, fd-infinity, mind, kd, prdc, stats, is, sfid, cmmd and rewards.",
            autocompletion=complete.metrics,
        ),
    ] = "fd,kd,prdc,stats",
    spaces: Annotated[
        str,
        typer.Option(
            "--spaces",
            help="Comma-separated: encoders, presets, pixels and fourier, or RUN:NAME.",
            autocompletion=complete.encoders,
        ),
    ] = "inception-v3",
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="NAME=PATH: a local file for an encoder or reward.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for eval.csv and eval.json.")] = None,
    cache: Annotated[Path, typer.Option("--cache", help="Folder of features kept by content.")] = Path(
        ".drlbench/features"
    ),
    store: StoreOption = DEFAULT_STORE,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode images.")] = 2,
    peers: Annotated[bool, typer.Option("--peers", help="FID by torch-fidelity and clean-fid too.")] = False,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score any images against any reference, with intervals and signatures."""
    if offline:
        offline_from_now()
    from drlbench.evaluate.names import encoder_for, named_encoder, needed, of_reference, paths_of, reward_for
    from drlbench.evaluate.peers import check_agreement, compare_with_peers, to_csv
    from drlbench.evaluate.score import evaluate as measure
    from drlbench.evaluate.table import check_writable
    from drlbench.run.progress import bars

    if out is not None:
        check_writable(out)  # before hours of work, not after
    names = [s.strip() for s in spaces.split(",") if s.strip()]
    asked = [m.strip() for m in metrics.split(",") if m.strip()]
    for name in names:
        named_encoder(name)  # an unknown name is told before any work
    paths = paths_of(weights or [], [*names, *(["inception-v3"] if peers else [])], asked)
    encoders = {n: encoder_for(n, asked, paths.get(n), store) for n in names if needed(n, asked)}
    references: list[str | None] = [*reference] if reference else [None]
    pairs = _sets_for_peers(images, references, workers) if peers else []
    run = partial(
        measure,
        images,
        encoders=encoders,
        rewards={name: reward_for(name, paths[name]) for name in asked if name in paths},
        cache=cache,
        batch_size=batch_size,
        workers=workers,
        progress=lambda what, done: (
            print(f"\r{what}: {done}", end="", file=sys.stderr) if sys.stderr.isatty() else None
        ),
    )
    table = run(references[0], asked)
    for other in references[1:]:  # the images' features come from the cache
        if again := of_reference(asked):
            table.extend(run(other, again))
    if peers:
        with bars() as tell:
            for pair in pairs:
                table.peers += compare_with_peers(*pair, paths.get("inception-v3"), batch_size=batch_size, tell=tell)
    if as_json:
        print(json.dumps(table.document(), indent=1))
    else:
        print(table.csv() + (f"\n{to_csv(table.peers)}" if peers else ""), end="")
    for note in table.notes:
        print(f"note: {for_terminal(note)}", file=sys.stderr)
    for warning in table.warnings:
        print(f"warning: {for_terminal(warning)}", file=sys.stderr)
    for what, error in table.failures:
        print(f"drlbench: {for_terminal(what)}: {for_terminal(error)}", file=sys.stderr)
    if any(what in encoders and isinstance(error, MissingPrerequisite) for what, error in table.failures):
        print("note: spaces without downloads are pixels, fourier and RUN:NAME (a run's own encoder)", file=sys.stderr)
    if out is not None:
        sys.stdout.flush()
        table.write(out)
    check_agreement(table.peers)
    if table.exit_code:
        raise typer.Exit(table.exit_code)


def _sets_for_peers(images: str, references: list[str | None], workers: int) -> list[tuple[ImageSource, ImageSource]]:
    """Images and each reference's images.

    Raises:
        UserError: a reference has none.
    """
    from drlbench.data.images import open_images
    from drlbench.evaluate.score import open_reference

    found = []
    for name in references:
        reals = open_reference(name, workers, ["kd"])[1]
        if reals is None:
            raise UserError("--peers needs --reference with images: the peers measure both sets themselves")
        found.append((open_images(images, workers), reals))
    return found


def bench(
    backbone: Annotated[str, typer.Option("--backbone", help="A registered name or an official size.")],
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="Take the architecture of this suite's backbone of that name.",
            autocompletion=complete.suites,
        ),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", help="Rows at once, or auto.")] = "auto",
    precision: Annotated[str | None, typer.Option("--precision", help="fp32 or bf16 (default by device).")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: what is there).")] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", min=0, help="Seconds after which nothing new is begun.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File for the JSON document; written after every phase.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure update, adjoint, rollout and sampling, and extrapolate GPU-hours of the paper's recipe."""
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise UserError(f"--batch {batch!r}: valid are auto and whole numbers from 1")
    if precision not in (None, "fp32", "bf16"):
        raise UserError(f"--precision {precision!r}: valid are fp32 and bf16")
    import torch

    from drlbench.bench.measure import bench as measure
    from drlbench.run.executors.devices import prepare, repeatably
    from drlbench.run.machine import check_device
    from drlbench.run.progress import spoken
    from drlbench.store import atomic

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    prepare(device)  # runs take the order of sums that repeats, so that is what is timed
    size = "auto" if batch == "auto" else int(batch)
    name, architecture = _of_suite(suite, backbone) if suite is not None else (backbone, {})

    def keep(result: BenchResult) -> None:
        if output is not None:
            atomic.write_json(output, asdict(result))

    with spoken() as tell:

        def run() -> BenchResult:
            return measure(
                name, size, precision, device=device, limit=limit, on_phase=tell, on_result=keep, **architecture  # type: ignore[arg-type] # checked just above
            )  # fmt: skip

        found = repeatably("bench", device, run)
    print(json.dumps(asdict(found), indent=1) if as_json else _bench_text(found))


def _of_suite(path: str, backbone: str) -> tuple[str, dict[str, Any]]:
    """Family or size, and architecture, of a suite's backbone."""
    from drlbench.suite.load import load_suite

    backbones = load_suite(path).spec.backbones
    if backbone not in backbones:
        near = did_you_mean(backbone, backbones)
        raise UserError(f"suite {path} has no backbone '{backbone}'{near}; it has {', '.join(backbones)}")
    spec = backbones[backbone]
    return spec.size or spec.family, dict(spec.architecture)


def _bench_text(found: BenchResult) -> str:
    lines = [
        f"{found.backbone} on {found.device}, {found.precision}, batch {found.batch}, "
        f"{'compiled' if found.compiled else 'eager'}",
        f"forward {found.forward_tflop:.4g} TFLOP a sample, matrix peak {found.peak_tflops:.4g} TFLOP/s",
    ]
    for name in ("rollout", "adjoint", "update", "sampling"):
        rate = getattr(found, name)
        shown = f"{rate.per_second:12.1f} evaluations/s {rate.share_of_peak:7.1%} of the peak" if rate else "-"
        lines.append(f"{name:9} {shown}")
    paper = f", the paper {found.paper_hours:g}" if found.paper_hours else ""
    here = f"{found.total_hours:.4g} hours here" if found.total_hours is not None else "not all measured here"
    lines.append(
        f"one lambda of the paper's recipe ({found.trajectories} trajectories): {here}; "
        f"arithmetic floor {found.floor_hours:.4g}{paper}"
    )
    return "\n".join(lines + [f"not measured: {gap}" for gap in found.not_measured])


def new(
    kind: Annotated[str, typer.Argument(help="suite, backbone, reward, encoder, algorithm or metric.")],
    name: Annotated[str | None, typer.Argument(help="The name a suite will use, e.g. my-reward.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Of a suite: a folder, npz, ... of images.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Of a suite: a card or weights file.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="What to write; drlbench-NAME, or suite.yaml, when left out.")
    ] = None,
) -> None:
    """Start a suite for your own images, or a package: a working example of its kind and a suite that uses it."""
    if kind == "suite":
        if data is None or name is not None:
            raise UserError("write it as: drlbench new suite --data PATH [--checkpoint FILE] [--out FILE]")
        from drlbench.scaffold.suite import new_suite

        target = out or Path("suite.yaml")
        print(f"{target}: {new_suite(data, checkpoint, target)}")
        print(f"next: drlbench plan {target}")
        return
    if name is None or data is not None or checkpoint is not None:
        raise UserError(f"write it as: drlbench new {kind} NAME [--out FOLDER]")
    from drlbench.scaffold.package import new_package

    folder = out or Path(f"drlbench-{name}")
    for path in new_package(kind, name, folder):
        print(path)
    print(f"next: pip install --editable {folder}; drlbench run {folder / 'suite.yaml'}")
