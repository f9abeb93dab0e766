"""The only file that knows the order of the stages.

data -> encoder -> reference
base -> (reward -> finetune) x rounds -> samples -> features -> scores
                                                 -> preference, kl, trajectory
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from drlbench.backbones.origin import autoencoder_for, identity
from drlbench.errors import UserError
from drlbench.finetune.presets import preset
from drlbench.plan.gates import card_gate
from drlbench.plan.graph import CellPlan, Measured, Plan
from drlbench.plan.node import Node
from drlbench.registry import ALGORITHMS, METRICS
from drlbench.seeds import seed_of
from drlbench.store.atomic import file_sha256
from drlbench.suite.cells import Cell, cells, origin, teacher
from drlbench.suite.defaults import in_full, settings_in_full
from drlbench.suite.schema import BackboneSpec, GuidanceSpec, RunSpec, SuiteSpec

# How weights from outside are read: 2 takes an average under any usual name, and a VAE folder's own scaling.
WEIGHTS_READING = 2


def plan(spec: SuiteSpec, data: Mapping[str, Any], wanted: frozenset[str] | None = None) -> Plan:
    """Lay out every stage of a suite.

    Args:
        data: the data spec with the `fingerprint` of its content, so that other images are another key.
        wanted: ids of the cells to make; None for all. A cell another one starts from is made with it.
    """
    spec = in_full(spec)
    graph = Plan(spec)
    for name, backbone in spec.backbones.items():
        if backbone.checkpoint is not None:
            graph.identities[name] = identity(backbone.checkpoint, autoencoder_of(backbone))
    for name in spec.encoders:
        _encoder(graph, data, name)
    for name, reward in spec.rewards.items():
        if reward.kind != "discriminator":
            graph.rewards[name] = _common_reward(graph, data, name)
    for cell in cells(spec):
        if wanted is None or cell.id in wanted:
            graph.cells.append(_cell(graph, data, cell))
    graph.data = _measure_data(graph, data)
    return graph


def _encoder(graph: Plan, data: Mapping[str, Any], name: str) -> Node:
    spec = graph.spec.encoders[name]
    graph.encoders[name] = graph.add(
        "encoder",
        f"encoder {name}",
        {
            "kind": spec.kind,
            "seed": spec.seed,
            "settings": spec.settings,
            "files": _file_hashes(spec.settings),
            "data": dict(data),
        },
    )
    return graph.encoders[name]


def _file_hashes(settings: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every file that settings name, so that another content is another key."""
    return {n: file_sha256(Path(v)) for n, v in settings.items() if isinstance(v, str) and Path(v).is_file()}


def _looks_through(graph: Plan, names: list[str]) -> dict[str, Node]:
    return {f"encoder:{name}": graph.encoders[name] for name in names}


def _common_reward(graph: Plan, data: Mapping[str, Any], name: str) -> Node:
    """A reward that is the same for every cell: trained on pairs, or a published checkpoint."""
    spec = graph.spec.rewards[name]
    settings = {
        "name": name,
        "kind": spec.kind,
        "encoders": spec.encoders,
        "seed": spec.seed,
        "settings": spec.settings,
        "files": _file_hashes(spec.settings),
        "data": dict(data),
    }
    return graph.add("reward", f"reward {name}", settings, **_looks_through(graph, spec.encoders))


def _base(graph: Plan, data: Mapping[str, Any], backbone: str, seed: int) -> Node:
    spec = graph.spec.backbones[backbone]
    if spec.checkpoint is not None:
        # The same weights whatever the base seed and the data are.
        where = {"checkpoint": spec.checkpoint, "autoencoder": autoencoder_of(spec)}
        settings: dict[str, Any] = {
            "model": {"name": spec.size or spec.family, "architecture": spec.architecture, "ema": spec.ema},
            "reading": WEIGHTS_READING,
            "identity": graph.identities[backbone],
            "where": where,
        }
        return graph.add("base", f"{backbone} base: {spec.checkpoint}", settings)
    described = {**spec.model_dump(exclude={"gate", "description", "ema"}), "autoencoder": "pixels"}
    if spec.latent is not None:
        described["latent"] = {"encoder": spec.latent.encoder, "seed": spec.latent.seed, **spec.latent.settings}
    settings = {"backbone": described, "seed": seed, "data": dict(data)}
    through = [name for name in (spec.align, spec.latent.encoder if spec.latent else None) if name]
    return graph.add("base", f"{backbone} base, seed {seed}", settings, **_looks_through(graph, through))


def autoencoder_of(spec: BackboneSpec) -> str:
    """See `autoencoder_for`."""
    return autoencoder_for(spec.checkpoint, spec.size or spec.family, spec.autoencoder)


def _gate(graph: Plan, data: Mapping[str, Any], backbone: str, base: Node) -> Node | None:
    """The stage that every fine-tune of a backbone waits for, where the suite states an FD for its base."""
    spec, gate = graph.spec, graph.spec.backbones[backbone].gate
    if gate is None:
        return None
    if (card := spec.backbones[backbone].gate_card) is not None:
        return card_gate(graph, backbone, base, gate, card)
    guidance = next(g for g in spec.guidance if gate.guidance in (None, g.name))
    label = f"{backbone} base: {guidance.name}"
    samples = graph.add("samples", f"{backbone} base: samples, {guidance.name}", _sampling(spec, guidance), model=base)
    scores = _scores(graph, data, samples, gate.space, label)
    stated = gate.model_dump(include={"space", "fd", "tolerance", "source"})
    sampling = spec.sampling
    how = f"{sampling.sampler}{sampling.steps or ''}, guidance {guidance.name}, {sampling.n:,} samples"
    settings = {**stated, "backbone": backbone, "how": how, "published_n": sampling.n}
    return graph.add("gate", f"{backbone} base: gate", settings, scores=scores)


def _discriminator(
    graph: Plan, data: Mapping[str, Any], name: str, model: Node, label: str, seed: int, after: Node | None
) -> Node:
    """The discriminator between the data and `model`'s own samples."""
    spec = graph.spec.rewards[name]
    settings = {
        "name": name,
        "kind": spec.kind,
        "encoders": spec.encoders,
        "seed": seed_of("discriminator", spec.seed, seed),
        "settings": spec.settings,
        "fakes": spec.fakes,
        "sampler": graph.spec.sampling.sampler,
        "fake_steps": spec.fake_steps or graph.spec.sampling.steps,
        "data": dict(data),
    }
    return graph.add("reward", label, settings, after, model=model, **_looks_through(graph, spec.encoders))


def _model(graph: Plan, data: Mapping[str, Any], cell: Cell) -> tuple[Node, list[tuple[int, Node]]]:
    """The stages that make a cell's model, round by round; the KL is taken to the model each round starts from."""
    run, base = graph.spec.runs[cell.run], _base(graph, data, cell.backbone, cell.base_seed)
    if run.algorithm is None:
        return base, []
    start = origin(graph.spec, cell)
    model = base if start is None else _model(graph, data, start)[0]
    made: list[tuple[int, Node]] = []
    algorithm = graph.spec.algorithms[run.algorithm]
    gate = _gate(graph, data, cell.backbone, base)
    for number in range(1, run.rounds + 1):
        terms = dict(run.with_)
        if run.reward is not None:
            # In a combined objective lambda is this reward's weight; alone, it is the algorithm's.
            terms[run.reward] = cell.lambda_ if run.with_ and cell.lambda_ is not None else 1.0
        inputs: dict[str, Node] = {}
        for name in terms:
            reward = graph.spec.rewards[name]
            if reward.kind == "discriminator":
                # Discriminators of one model are shared by all lambdas and RL seeds that start from it.
                inputs[f"reward:{name}"] = _discriminator(
                    graph, data, name, model, f"{cell.id} round {number}: reward {name}", cell.base_seed, gate
                )
                made.append((number, inputs[f"reward:{name}"]))
            else:
                inputs[f"reward:{name}"] = graph.rewards[name]
            inputs |= _looks_through(graph, reward.encoders)
        settings = {
            "algorithm": algorithm.kind,
            "settings": _algorithm_settings(graph.spec, cell),
            "updates": algorithm.updates,
            "terms": terms,
            "lambda": 1.0 if run.with_ else cell.lambda_,
            "seed": seed_of("finetune", cell.base_seed, cell.seed, number),
            "data": dict(data),
        }
        if algorithm.watch is not None:
            held_out, watching = _watched(graph, data, cell, base, terms)
            sampling = graph.spec.sampling.model_dump(include={"sampler", "steps", "seed"})
            settings["watch"] = {**algorithm.watch.model_dump(), **sampling, **held_out}
            inputs |= watching
        if (source := teacher(graph.spec, cell)) is not None:
            inputs["teacher"] = _taught(graph, data, source, run)
        label = f"{cell.id} round {number}: {run.algorithm}"
        model = graph.add("finetune", label, settings, gate, start=model, **inputs)
        made.append((number, model))
    return model, made


def _taught(graph: Plan, data: Mapping[str, Any], source: Cell, run: RunSpec) -> Node:
    """A teacher's samples to learn from; other seeds than those it is measured with."""
    assert run.teacher is not None
    sampling = _sampling(graph.spec, GuidanceSpec(name="none"))
    sampling |= {"n": run.teacher.n, "seed": seed_of("teacher", graph.spec.sampling.seed)}
    model = _model(graph, data, source)[0]
    return graph.add("samples", f"{source.id}: samples for a student", sampling, model=model)


def _watched(
    graph: Plan, data: Mapping[str, Any], cell: Cell, base: Node, terms: Mapping[str, float]
) -> tuple[dict[str, list[str]], dict[str, Node]]:
    """What this cell does not optimise: preferences that are no term, spaces that no term looks through.

    Returns:
        Names of the `rewards` and `spaces`, and the stages they come from.

    Raises:
        UserError: there is nothing of the kind.
    """
    spec = graph.spec
    seen = {encoder for name in terms for encoder in spec.rewards[name].encoders}
    rewards = [name for name in spec.preferences if name not in terms]
    spaces = [name for name in spec.spaces if name not in seen]
    if not rewards and not spaces:
        run = spec.runs[cell.run]
        raise UserError(
            f"algorithms.{run.algorithm}.watch: run {cell.run!r} optimises every entry of `preferences` and looks "
            "through every one of `spaces`, so nothing is held out; add one of either, or take `watch` out"
        )
    inputs: dict[str, Node] = {}
    for name in rewards:
        inputs[f"held-out:{name}"] = _judge(graph, data, cell, base, name)
        inputs |= _looks_through(graph, spec.rewards[name].encoders)
    for name in spaces:
        inputs |= {f"encoder:{name}": graph.encoders[name], f"reference:{name}": _reference(graph, data, name)}
    return {"rewards": rewards, "spaces": spaces}, inputs


def _judge(graph: Plan, data: Mapping[str, Any], cell: Cell, base: Node, name: str) -> Node:
    """A preference as a measure; a discriminator judges by the data against this cell's base, alike for all cells."""
    if name in graph.rewards:
        return graph.rewards[name]
    return _discriminator(graph, data, name, base, f"{cell.backbone} base: reward {name}", cell.base_seed, None)


def _reference(graph: Plan, data: Mapping[str, Any], space: str) -> Node:
    return graph.add("reference", f"reference features, {space}", _real(graph, data), encoder=graph.encoders[space])


def _real(graph: Plan, data: Mapping[str, Any]) -> dict[str, Any]:
    """The real images that distances are taken to: all, or the suite's part of them."""
    part = {} if graph.spec.reference_images is None else {"limit": graph.spec.reference_images}
    return {"data": dict(data), **part}


def _cell(graph: Plan, data: Mapping[str, Any], cell: Cell) -> CellPlan:
    spec = graph.spec
    base = _base(graph, data, cell.backbone, cell.base_seed)
    model, made = _model(graph, data, cell)
    measured = {}
    judges = {name: _judge(graph, data, cell, base, name) for name in spec.preferences}
    for guidance in spec.guidance:
        if guidance.runs is None or cell.run in guidance.runs:
            samples = graph.add(
                "samples", f"{cell.id}: samples, {guidance.name}", _sampling(spec, guidance), model=model
            )
            measured[guidance.name] = _measure(graph, data, samples, f"{cell.id}: {guidance.name}", judges)
    kl = None
    if spec.kl_samples and model is not base:
        settings = {"n": spec.kl_samples, "sampling": _sampling(spec, GuidanceSpec(name="none")), "data": dict(data)}
        kl = graph.add("kl", f"{cell.id}: KL from the base", settings, model=model, base=base)
    return CellPlan(cell, model, tuple(made), measured, kl, _trajectory(graph, cell, model, base))


def _trajectory(graph: Plan, cell: Cell, model: Node, base: Node) -> Node | None:
    """Norms along the memoryless SDE, as the cell's own integrator runs it, on the model and on its base."""
    spec = graph.spec
    name = spec.runs[cell.run].algorithm
    if not spec.trajectory_samples or name is None or spec.algorithms[name].kind != "adjoint-matching":
        return None
    given = _algorithm_settings(spec, cell)
    settings = {
        "n": spec.trajectory_samples,
        "seed": spec.sampling.seed,
        "settings": {k: given[k] for k in ("integrator", "steps") if k in given},
    }
    return graph.add("trajectory", f"{cell.id}: norms of X_t", settings, model=model, base=base)


def _algorithm_settings(spec: SuiteSpec, cell: Cell) -> dict[str, Any]:
    """The suite's settings of a cell's algorithm over those of the preset it takes, over the defaults."""
    name = str(spec.runs[cell.run].algorithm)
    algorithm = spec.algorithms[name]
    if not algorithm.preset:
        return algorithm.settings
    own = preset(algorithm.kind, spec.backbones[cell.backbone].family)
    return settings_in_full(ALGORITHMS, algorithm.kind, {**own, **algorithm.settings}, f"algorithms.{name}")


def _sampling(spec: SuiteSpec, guidance: GuidanceSpec) -> dict[str, Any]:
    """What the samples depend on; the batch size is not part of it, because samples carry their own seeds."""
    # fp32 was there before there was a choice; left out, its results keep their keys.
    settings = spec.sampling.model_dump(exclude={"precision"} if spec.sampling.precision == "fp32" else None)
    return {**settings, "cfg": guidance.cfg, "low": guidance.low, "high": guidance.high}


@cache
def _needs(metric: str) -> str:
    """Whether a metric looks at features or at images."""
    return str(METRICS.get(metric).needs)


def _scores(graph: Plan, data: Mapping[str, Any], samples: Node, space: str, label: str) -> Node:
    """The numbers of some samples in one space."""
    encoder, reference = graph.encoders[space], _reference(graph, data, space)
    features = graph.add("features", f"{label}: features, {space}", {}, samples=samples, encoder=encoder)
    on_features = [m for m in graph.spec.metrics if _needs(m) == "features"]
    settings = {"resamples": graph.spec.resamples, "data": dict(data), "metrics": on_features}
    inputs = {"samples": samples, "features": features, "reference": reference}
    return graph.add("scores", f"{label}: scores, {space}", settings, **inputs)


def _measure(graph: Plan, data: Mapping[str, Any], samples: Node, label: str, judges: Mapping[str, Node]) -> Measured:
    spec = graph.spec
    scores = {space: _scores(graph, data, samples, space, label) for space in spec.spaces}
    common = {"resamples": spec.resamples, "data": dict(data)}
    on_images = [m for m in spec.metrics if _needs(m) == "images"]
    if on_images:
        scores[""] = graph.add(
            "scores", f"{label}: image statistics", {**common, "metrics": on_images}, samples=samples
        )
    preference = {}
    for name, judge in judges.items():
        inputs = {"samples": samples, "reward": judge} | _looks_through(graph, spec.rewards[name].encoders)
        preference[name] = graph.add("preference", f"{label}: {name}", {**common, "name": name}, **inputs)
    return Measured(samples, scores, preference)


def _measure_data(graph: Plan, data: Mapping[str, Any]) -> Measured:
    """The held-out images, measured like a model: the floor of every distance, the target of every statistic."""
    samples = graph.add("samples", "held-out images", _real(graph, data))
    judges = {name: graph.rewards[name] for name in graph.spec.preferences if name in graph.rewards}
    return _measure(graph, data, samples, "held-out images", judges)
