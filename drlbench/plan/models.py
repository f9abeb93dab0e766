"""The stages that make a cell's model: its base, the rewards fitted to it, and the fine-tunes, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drlbench.backbones.origin import autoencoder_for, identity
from drlbench.cost.networks import NotCounted
from drlbench.errors import UserError
from drlbench.plan.equal_time import most_updates, seconds
from drlbench.plan.gates import gate
from drlbench.plan.graph import Plan
from drlbench.plan.measure import looks_through, reference, sampling
from drlbench.plan.node import Node
from drlbench.seeds import seed_of
from drlbench.store.atomic import file_sha256
from drlbench.suite.cells import Cell, matched, origin, teacher
from drlbench.suite.load import Suite
from drlbench.suite.parts import BackboneSpec
from drlbench.suite.schema import GuidanceSpec, RunSpec

Training = tuple[tuple[int, Node], ...]

# How weights from outside are read: 2 takes an average under any usual name, and a VAE folder's own scaling.
WEIGHTS_READING = 2

# Encoders whose code gives other numbers than it first did; of others nothing is in the key. 2: folded; 3: turned.
ENCODER_CODE = {"efficientnet-lite": 3}


def encoder(graph: Plan, name: str) -> Node:
    """An encoder: fitted here, or a published one."""
    spec = graph.spec.encoders[name]
    settings = {
        "kind": spec.kind,
        "seed": spec.seed,
        "settings": spec.settings,
        "files": _file_hashes(spec.settings),
        "data": graph.images,
        **({"code": ENCODER_CODE[spec.kind]} if spec.kind in ENCODER_CODE else {}),
    }
    return graph.add("encoder", f"encoder {name}", settings)


def _file_hashes(settings: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every file that settings name, so that another content is another key."""
    return {n: file_sha256(Path(v)) for n, v in settings.items() if isinstance(v, str) and _is_file(v)}


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a text too long for a name, or none
        return False


def common_reward(graph: Plan, name: str) -> Node:
    """A reward that is the same for every cell: trained on pairs, or a published checkpoint."""
    spec = graph.spec.rewards[name]
    settings = {
        "name": name,
        "kind": spec.kind,
        "encoders": spec.encoders,
        "seed": spec.seed,
        "settings": spec.settings,
        "files": _file_hashes(spec.settings),
        "data": graph.images,
    }
    return graph.add("reward", f"reward {name}", settings, **looks_through(graph, spec.encoders))


def begun(suite: Suite) -> Plan:
    """The graph of a suite with what every cell shares."""
    graph = Plan(suite)
    for name in graph.spec.encoders:
        graph.encoders[name] = encoder(graph, name)
    for name, reward in graph.spec.rewards.items():
        if reward.kind != "discriminator":
            graph.rewards[name] = common_reward(graph, name)
    return graph


def base(graph: Plan, backbone: str, seed: int) -> Node:
    """A base model: brought from a checkpoint, or trained here."""
    return graph.once(("base", backbone, seed), lambda: _base(graph, backbone, seed))


def _base(graph: Plan, backbone: str, seed: int) -> Node:
    spec = graph.spec.backbones[backbone]
    if spec.checkpoint is not None:
        # The same weights whatever the base seed and the data are.
        autoencoder = _autoencoder_of(spec)
        settings: dict[str, Any] = {
            "model": {"name": spec.size or spec.family, "architecture": spec.architecture, "ema": spec.ema},
            "reading": WEIGHTS_READING,
            "identity": graph.once(("identity", backbone), lambda: identity(str(spec.checkpoint), autoencoder)),
            "where": {"checkpoint": spec.checkpoint, "autoencoder": autoencoder},
        }
        return graph.add("base", f"{backbone} base: {spec.checkpoint}", settings)
    described = {**spec.model_dump(exclude={"gate", "description", "ema"}), "autoencoder": "pixels"}
    if spec.latent is not None:
        described["latent"] = {"encoder": spec.latent.encoder, "seed": spec.latent.seed, **spec.latent.settings}
    through = [name for name in (spec.align, spec.latent.encoder if spec.latent else None) if name]
    settings = {"backbone": described, "seed": seed, "data": graph.images}
    return graph.add("base", f"{backbone} base, seed {seed}", settings, **looks_through(graph, through))


def _autoencoder_of(spec: BackboneSpec) -> str:
    return autoencoder_for(spec.checkpoint, spec.size or spec.family, spec.autoencoder)


def judge(graph: Plan, cell: Cell, name: str) -> Node:
    """A preference as a measure; a discriminator judges by the data against this cell's base, alike for all cells."""
    if name in graph.rewards:
        return graph.rewards[name]
    label = f"{cell.backbone} base: reward {name}"
    return graph.once(
        ("judge", name, cell.backbone, cell.base_seed),
        lambda: _discriminator(
            graph, name, base(graph, cell.backbone, cell.base_seed), label, cell.base_seed, after=None
        ),
    )


def _discriminator(graph: Plan, name: str, model: Node, label: str, seed: int, after: Node | None) -> Node:
    """The discriminator between the data and `model`'s own samples."""
    spec = graph.spec.rewards[name]

    def made() -> dict[str, Any]:
        return {
            "name": name,
            "kind": spec.kind,
            "encoders": spec.encoders,
            "seed": seed_of("discriminator", spec.seed, seed),
            "settings": spec.settings,
            "fakes": spec.fakes,
            "sampler": graph.spec.sampling.sampler,
            "fake_steps": spec.fake_steps or graph.spec.sampling.steps,
            "data": graph.images,
        }

    settings = graph.shared(("discriminator", name, seed), made)
    return graph.add("reward", label, settings, after, model=model, **looks_through(graph, spec.encoders))


def model(graph: Plan, cell: Cell) -> tuple[Node, Training]:
    """The model of a cell, and the stages that make it; the KL is taken to the model each round starts from."""
    return graph.once(("model", cell), lambda: _model(graph, cell))


def _model(graph: Plan, cell: Cell) -> tuple[Node, Training]:
    run, made_of = graph.spec.runs[cell.run], base(graph, cell.backbone, cell.base_seed)
    if run.algorithm is None:
        return made_of, ()
    start = origin(graph.spec, cell)
    current = made_of if start is None else model(graph, start)[0]
    made: list[tuple[int, Node]] = []
    algorithm = graph.spec.algorithms[run.algorithm]
    waits = graph.once(("gate", cell.backbone, cell.base_seed), lambda: gate(graph, cell.backbone, made_of))
    terms = dict(run.with_)
    if run.reward is not None:
        # In a combined objective lambda is this reward's weight; alone, it is the algorithm's.
        terms[run.reward] = cell.lambda_ if run.with_ and cell.lambda_ is not None else 1.0
    alike = cell.backbone if algorithm.rate_width else graph.spec.backbones[cell.backbone].family
    tuning = graph.shared(("tuning", run.algorithm, alike), lambda: graph.suite.tuning(cell))
    for number in range(1, run.rounds + 1):
        inputs: dict[str, Node] = {}
        for name in terms:
            reward = graph.spec.rewards[name]
            if reward.kind == "discriminator":
                # Discriminators of one model are shared by all lambdas and RL seeds that start from it.
                inputs[f"reward:{name}"] = _discriminator(
                    graph, name, current, f"{cell.id} round {number}: reward {name}", cell.base_seed, waits
                )
                made.append((number, inputs[f"reward:{name}"]))
            else:
                inputs[f"reward:{name}"] = graph.rewards[name]
            inputs |= looks_through(graph, reward.encoders)
        settings = {
            "algorithm": algorithm.kind,
            "settings": tuning,
            "updates": algorithm.updates,
            "terms": terms,
            "lambda": 1.0 if run.with_ else cell.lambda_,
            "seed": seed_of("finetune", cell.base_seed, cell.seed, number),
            "data": graph.images,
        }
        if algorithm.encoders:
            settings["spaces"] = algorithm.encoders
            inputs |= looks_through(graph, algorithm.encoders)
            inputs |= {f"reference:{name}": reference(graph, name) for name in algorithm.encoders}
        if run.policy is not None and number == 1:  # later rounds start from it
            settings["policy"] = run.policy.model_dump()
        if algorithm.watch is not None:
            held_out, watching = _watched(graph, cell, terms)
            how = graph.spec.sampling.model_dump(include={"sampler", "steps", "seed"})
            settings["watch"] = {**algorithm.watch.model_dump(), **how, **held_out}
            inputs |= watching
        if (source := teacher(graph.spec, cell)) is not None:
            inputs["teacher"] = _taught(graph, source, run)
        if (equal := matched(graph.spec, cell)) is not None:
            settings["updates"] = _equal_updates(graph, cell, equal, settings, {"start": current, **inputs})
        current = graph.add(
            "finetune", f"{cell.id} round {number}: {run.algorithm}", settings, waits, start=current, **inputs
        )
        made.append((number, current))
    return current, tuple(made)


def _equal_updates(
    graph: Plan, cell: Cell, equal: Cell, settings: Mapping[str, Any], inputs: Mapping[str, Node]
) -> int:
    """Updates of each round, alike for all seeds and lambdas."""

    def counted() -> int:
        apart = graph.once("apart", lambda: begun(graph.suite))  # the other cell's stages are counted, not made
        at = f"runs.{cell.run}.match"
        try:
            whole = seconds(apart, (node for _, node in model(apart, equal)[1]))
            fitted = {f"reward:{name}" for name in graph.spec.rewards if name not in graph.rewards}
            own = [node for name, node in inputs.items() if name in fitted]
            left = whole / graph.spec.runs[cell.run].rounds - seconds(graph, own)
            updates = most_updates(graph, left, settings, inputs)
        except NotCounted as error:
            raise UserError(f"{at}: what {equal.id} or this run costs cannot be counted: {error}") from error
        if not updates:
            raise UserError(f"{at}: one update of {cell.id} costs more than all the training of {equal.id}")
        return updates

    return graph.once(("updates", cell.backbone, cell.run), counted)


def _taught(graph: Plan, source: Cell, run: RunSpec) -> Node:
    """A teacher's samples to learn from; other seeds than those it is measured with."""
    assert run.teacher is not None
    seed = seed_of("teacher", graph.spec.sampling.seed)
    settings = {**sampling(graph, GuidanceSpec(name="none")), "n": run.teacher.n, "seed": seed}
    return graph.add("samples", f"{source.id}: samples for a student", settings, model=model(graph, source)[0])


def _watched(graph: Plan, cell: Cell, terms: Mapping[str, float]) -> tuple[dict[str, list[str]], dict[str, Node]]:
    """What this cell does not optimise: preferences that are no term, spaces that no term looks through.

    Returns:
        Names of the `rewards` and `spaces`, and the stages they come from.
    """
    spec = graph.spec
    seen = {encoder for name in terms for encoder in spec.rewards[name].encoders}
    seen |= set(spec.algorithms[str(spec.runs[cell.run].algorithm)].encoders)
    rewards = [name for name in spec.preferences if name not in terms]
    spaces = [name for name in spec.spaces if name not in seen]
    inputs: dict[str, Node] = {}
    for name in rewards:
        inputs[f"held-out:{name}"] = judge(graph, cell, name)
        inputs |= looks_through(graph, spec.rewards[name].encoders)
    for name in spaces:
        inputs |= {f"encoder:{name}": graph.encoders[name], f"reference:{name}": reference(graph, name)}
    return {"rewards": rewards, "spaces": spaces}, inputs
