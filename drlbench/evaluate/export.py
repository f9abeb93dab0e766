"""A cell's model out of a run, in its family's official names, with a card: what `drlbench export` does."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file

from drlbench.backbones import exported
from drlbench.backbones.base import Backbone, VelocityModel
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.report.record import CellRecord
from drlbench.report.results import Row
from drlbench.report.rundata import RunData, key_of, read_run
from drlbench.stages.files import AUTOENCODER, load_model, read_config
from drlbench.store import atomic
from drlbench.store.layout import Store


def find_cell(run: RunData, cell: str, store: Store) -> tuple[CellRecord, Path]:
    """A cell of a run and the folder of its model.

    Raises:
        UserError: the run has no such cell, or is of a version that did not note where models lie.
        MissingPrerequisite: the store does not hold the model.
    """
    names = [c.id for c in run.record.cells]
    record = next((c for c in run.record.cells if c.id == cell), None)
    if record is None:
        raise UserError(f"{run.path}: no cell '{cell}'{did_you_mean(cell, names)}; cells: {', '.join(names)}")
    if record.model is None:
        raise UserError(f"{run.path}: an older drlbench made it; run its suite again, which costs next to nothing")
    kind, key = record.model
    if not store.has(kind, key):
        raise MissingPrerequisite(
            f"{cell}: its model is not in the store {store.root}; give the run's own --store, or run the suite again"
        )
    atomic.check(store.folder(kind, key), key)
    return record, store.folder(kind, key)


def export(folder: Path, cell: str, out: Path, store: Store) -> list[Path]:
    """Write a cell's model into an empty folder; see `drlbench.backbones.exported`.

    Returns:
        The files written.

    Raises:
        UserError, MissingPrerequisite: as `find_cell`; also a folder with something in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: is not an empty folder")
    run = read_run(folder)
    record, place = find_cell(run, cell, store)
    model = load_model(place)
    if not isinstance(model.net, Backbone):
        raise UserError(f"{cell}: its network has no official names to be exported under")
    config = read_config(place)
    if "policy" in config:
        raise UserError(f"{cell}: its policy has a second network beside the first, for which no family has names")
    autoencoder = config["autoencoder"]
    described = exported.Exported(
        family=config["family"],
        architecture=config["architecture"],
        autoencoder=autoencoder if isinstance(autoencoder, str) else autoencoder["name"],
        sampling=exported.Sampling(**run.record.sampling),
    )
    out.mkdir(parents=True, exist_ok=True)
    if (place / AUTOENCODER).is_dir():
        shutil.copytree(place / AUTOENCODER, out / exported.AUTOENCODER)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.net.official_state_dict().items()}
    save_file(weights, out / exported.WEIGHTS, metadata={"format": "pt"})
    rows = [r for r in run.rows if r.run != "data" and key_of(r).id == cell]
    atomic.write_text(out / exported.CARD, card(record, run, model, described, rows))
    atomic.write_json(out / exported.CONFIG, described.model_dump(mode="json"))  # last: with it the folder counts
    return sorted(p for p in out.rglob("*") if p.is_file())


def card(
    record: CellRecord, run: RunData, model: VelocityModel, described: exported.Exported, rows: Iterable[Row]
) -> str:
    """The model card, in Markdown: what it is, how it is used, and its numbers, each with its signature."""
    trained = "a base model, not fine-tuned"
    if record.algorithm:
        strength = f", lambda {record.lambda_:g}" if record.lambda_ is not None else ""
        trained = f"fine-tuned by {record.algorithm} on {' + '.join(record.optimised) or 'data'}{strength}"
    parameters = sum(p.numel() for p in model.net.parameters())
    prefix = model.net.official_prefix if isinstance(model.net, Backbone) else ""
    names = f"under the prefix `{prefix}`, as its authors keep them" if prefix else "as its authors keep them"
    lines = [
        "---",
        "library_name: drlbench",
        f"tags: [drlbench, flow-matching, {described.family}]",
        "---",
        f"# {record.id}",
        "",
        f"{described.family}, {parameters:,} parameters, latents {tuple(model.latent_shape)}, {model.num_classes} "
        f"classes; {trained}. Cell `{record.id}` of the run of suite `{run.record.suite}`, commit "
        f"{run.record.git.commit or 'unknown'}.",
        "",
        f"`model.safetensors` holds the network's names {names}. `config.json` says family, architecture, autoencoder "
        f"({described.autoencoder}) and sampling. diffusers has no class for this family.",
        "",
        "    drlbench sample THIS_FOLDER",
        "",
        'In a suite: `checkpoint: THIS_FOLDER`. In Python: `drlbench.backbones.load("THIS_FOLDER")`.',
        "",
        "## Metrics",
        "With 95 % intervals; equal signatures mean comparable numbers.",
        "",
        "| guidance | space | metric | value | low | high | n | signature |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r.guidance} | {r.space} | {r.metric} | {_number(r.value)} | {_number(r.low)} | {_number(r.high)} | {r.n} "
        f"| `{r.signature.replace('|', '¦')}` |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
