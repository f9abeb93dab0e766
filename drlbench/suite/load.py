"""A suite file to a resolved suite, or every mistake in it at once, each with file:line:column.

This is the one place where a suite is validated, filled with the defaults of what it names, held against its images
and built without weights. What comes after takes it as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from torch import nn

from drlbench.errors import MissingPrerequisite, UserError, shown
from drlbench.finetune.presets import preset
from drlbench.registry import ALGORITHMS, ENCODERS, REGISTRIES, REWARDS, STAGES
from drlbench.suite.cells import Cell, cells
from drlbench.suite.document import Problem, read_document
from drlbench.suite.images import Images, resolve_images
from drlbench.suite.kinds import filled, in_full, record_in_full, setting_faults
from drlbench.suite.networks import build, fitted_to_images, hidden_width, pretraining_faults
from drlbench.suite.outside import outside_faults
from drlbench.suite.parts import BackboneSpec, DataSpec
from drlbench.suite.reading import read_spec
from drlbench.suite.schema import SuiteSpec
from drlbench.suite.shipped import find_suite

MAX_CELLS = 100_000
OPEN_SECTIONS = {"encoders": ENCODERS, "rewards": REWARDS, "algorithms": ALGORITHMS, "stages": STAGES}


@dataclass(frozen=True)
class Suite:
    """A suite that is valid and complete.

    Attributes:
        spec: the typed content with every setting written out. An algorithm that takes the paper's preset stays as it
            is; `tuning` has its settings.
        images: what is known of the data.
        networks: backbone -> its network on torch's meta device, where the suite or a card says what it is.
        text: the file as read; overrides: the `--set` assignments, in order.
    """

    spec: SuiteSpec
    images: Images = field(repr=False)
    networks: Mapping[str, nn.Module] = field(repr=False)
    text: str = field(repr=False)
    overrides: tuple[str, ...]
    path: Path
    _presets: Mapping[tuple[str, str], Mapping[str, Any]] = field(repr=False)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell in the order of the file."""
        return cells(self.spec)

    def tuning(self, cell: Cell) -> Mapping[str, Any]:
        """Every setting of the algorithm that makes a cell."""
        name = str(self.spec.runs[cell.run].algorithm)
        backbone = self.spec.backbones[cell.backbone]
        found = self._presets[name, backbone.family]
        chosen_at = self.spec.algorithms[name].rate_width
        if chosen_at is None:
            return found
        return {**found, "learning_rate": found["learning_rate"] * chosen_at / hidden_width(backbone)}


def load_suite(source: str | Path, overrides: tuple[str, ...] = ()) -> Suite:
    """Read a suite and resolve it.

    Args:
        source: a YAML file, or the name of a shipped suite ("digits").
        overrides: `key.path=value` assignments, applied in order; each value is read as YAML.

    Returns:
        The suite with every default filled in, its cells, and what is known of its images.

    Raises:
        UserError: there is no such file or it is not a valid suite; the message lists every mistake with its place.
    """
    path = find_suite(source)
    if path != Path(source) and Path(source).is_dir():
        _tell_of_folder(str(source))
    document = read_document(path, tuple(overrides))
    spec, problems = read_spec(document)
    if spec is None:
        raise document.error(problems)
    problems += _fill_faults(spec)
    images, told = _look_at_images(spec.data)
    problems += told
    networks: dict[str, nn.Module] = {}
    backbones = dict(spec.backbones)
    for name in _sound(spec, problems):
        backbones[name] = fitted_to_images(spec.backbones[name], images, spec.encoders)
        net, found = build(name, backbones[name], images, spec.encoders)
        problems += found
        if net is not None:
            networks[name] = net
    if problems:
        raise document.error(problems)
    full = _in_full(spec, backbones)
    return Suite(full, images, networks, document.text, document.overrides, document.path, _presets_of(full))


@cache
def _tell_of_folder(name: str) -> None:
    """Once in a process: `plan` reads a suite again for every --set."""
    print(f"{shown(name)}: the shipped suite, not the folder of that name here", file=sys.stderr, flush=True)


def _fill_faults(spec: SuiteSpec) -> Iterator[Problem]:
    """Settings that their kinds do not take, and names of the outside world that stand for nothing."""
    for section, registry in OPEN_SECTIONS.items():
        for name, part in getattr(spec, section).items():
            if part.kind not in registry.names():
                continue
            try:
                for key, text in setting_faults(registry, part.kind, part.settings):
                    yield Problem((section, name, key) if key in part.settings else (section, name), text)
            except UserError as error:  # a plug-in that does not load
                yield Problem((section, name, "kind"), str(error))
    yield from _rate_faults(spec)
    for name, backbone in spec.backbones.items():
        for at, text in (*outside_faults(backbone), *pretraining_faults(backbone)):
            yield Problem(("backbones", name, *at), text)
    count = 0
    for run in spec.runs.values():
        weights = len(run.lambda_ or [0])
        count += len(spec.backbones) * len(spec.base_seeds) * weights * len(run.seeds)
    if count > MAX_CELLS:
        yield Problem(("runs",), f"{count:,} cells; a suite has at most {MAX_CELLS:,}")


def _rate_faults(spec: SuiteSpec) -> Iterator[Problem]:
    """Widths that a learning rate hangs on and that nothing says."""
    for run in spec.runs.values():
        algorithm = spec.algorithms.get(run.algorithm or "")
        if algorithm is None or algorithm.rate_width is None or algorithm.kind not in ALGORITHMS.names():
            continue
        at = ("algorithms", str(run.algorithm), "rate_width")
        if "learning_rate" not in in_full(ALGORITHMS, algorithm.kind, {}) and "learning_rate" not in algorithm.settings:
            yield Problem(at, f"{algorithm.kind} has no `learning_rate` that could hang on the width")
        for name in set(run.backbones or spec.backbones) & spec.backbones.keys():
            try:
                hidden_width(spec.backbones[name])
            except UserError as error:
                yield Problem(at, f"backbone {name!r}: {error}")


def _look_at_images(spec: DataSpec) -> tuple[Images, list[Problem]]:
    nothing = Images({"kind": spec.kind, **spec.settings}, None, None, MissingPrerequisite("the data entry is wrong"))
    try:
        return resolve_images(spec), []
    except KeyError:  # told with the other unknown names
        return nothing, []
    except UserError as error:
        return nothing, [Problem(("data",), str(error))]


def _sound(spec: SuiteSpec, problems: list[Problem]) -> Iterator[str]:
    """Backbones that nothing is known against, nor against the encoders they are trained with."""
    bad = {p.at[:2] for p in problems}
    for name, backbone in spec.backbones.items():
        needed = [("encoders", e) for e in (backbone.align, backbone.latent and backbone.latent.encoder) if e]
        known = all(e in spec.encoders for _, e in needed) and backbone.family in REGISTRIES["backbones"].names()
        if known and not bad & {("backbones", name), *needed}:
            yield name


def _in_full(spec: SuiteSpec, backbones: Mapping[str, BackboneSpec]) -> SuiteSpec:
    update: dict[str, Any] = {"backbones": {n: _backbone_in_full(b) for n, b in backbones.items()}}
    for section, registry in OPEN_SECTIONS.items():
        parts = getattr(spec, section)
        update[section] = {n: p if getattr(p, "preset", None) else filled(registry, p) for n, p in parts.items()}
    return spec.model_copy(update=update)


def _backbone_in_full(spec: BackboneSpec) -> BackboneSpec:
    """`pretrain` and `latent` of a model that is trained here, written out."""
    from drlbench.backbones.pretrain import PretrainSettings
    from drlbench.backbones.rae.small import LatentSettings

    update: dict[str, Any] = {}
    if spec.pretrain is not None:
        update["pretrain"] = record_in_full(PretrainSettings, spec.pretrain)
    if spec.latent is not None:
        update["latent"] = spec.latent.model_copy(update=record_in_full(LatentSettings, spec.latent.settings))
    return spec.model_copy(update=update)


def _presets_of(spec: SuiteSpec) -> dict[tuple[str, str], Mapping[str, Any]]:
    """(algorithm, family) -> every setting: the suite's over the preset's over the defaults."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run in spec.runs.values():
        for name in run.backbones or spec.backbones:
            if run.algorithm is None:
                continue
            algorithm, family = spec.algorithms[run.algorithm], spec.backbones[name].family
            if not algorithm.preset:
                found[run.algorithm, family] = algorithm.settings
            elif (run.algorithm, family) not in found:
                own = preset(algorithm.kind, family)
                found[run.algorithm, family] = in_full(ALGORITHMS, algorithm.kind, {**own, **algorithm.settings})
    return found
