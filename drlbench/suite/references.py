"""What types cannot say: every name a suite uses is defined in it or registered, and nothing is said twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drlbench.backbones.cards import published_fid
from drlbench.backbones.widened import beside_arguments
from drlbench.data.kinds import KINDS
from drlbench.errors import UserError, shown
from drlbench.finetune.presets import has_preset
from drlbench.registry import ALGORITHMS, BACKBONES, ENCODERS, METRICS, REWARDS, STAGES, Registry
from drlbench.stages import VERSIONS
from drlbench.suite.document import Location
from drlbench.suite.links import Found, guide_faults, match_faults, no_such_lambda, teacher_faults, unknown
from drlbench.suite.parts import BackboneSpec, GateSpec
from drlbench.suite.schema import RunSpec, SuiteSpec

# Rows of a run's tables that are not a run of the suite.
RESERVED = {"data": "the images themselves"}


def _registered(registry: Registry, name: str, at: Location) -> Iterator[Found]:
    try:
        registry.target(name)
    except UserError as error:
        yield at, str(error)


def cross_references(spec: SuiteSpec) -> Iterator[Found]:
    """Yield (location, message) for every name that leads nowhere and every combination that means nothing."""
    yield from _repeated(spec)
    if spec.data.kind not in KINDS:
        yield ("data", "kind"), unknown("data kind", spec.data.kind, KINDS)
    for name, encoder in spec.encoders.items():
        yield from _registered(ENCODERS, encoder.kind, ("encoders", name, "kind"))
    for i, space in enumerate(spec.spaces):
        if space not in spec.encoders:
            yield ("spaces", i), unknown("encoder", space, spec.encoders)
    for name, backbone in spec.backbones.items():
        at: Location = ("backbones", name)
        yield from _registered(BACKBONES, backbone.family, (*at, "family"))
        if (backbone.checkpoint is None) == (backbone.pretrain is None):
            yield at, "give either `checkpoint` (an official or local one) or `pretrain` (train a small one here)"
        if backbone.align is not None and backbone.align not in spec.encoders:
            yield (*at, "align"), unknown("encoder", backbone.align, spec.encoders)
        if backbone.latent is not None and backbone.latent.encoder not in spec.encoders:
            yield (*at, "latent", "encoder"), unknown("encoder", backbone.latent.encoder, spec.encoders)
        if backbone.gate is not None:
            yield from _gate(spec, backbone, backbone.gate, (*at, "gate"))
    for name, reward in spec.rewards.items():
        yield from _registered(REWARDS, reward.kind, ("rewards", name, "kind"))
        for i, encoder_name in enumerate(reward.encoders):
            if encoder_name not in spec.encoders:
                yield ("rewards", name, "encoders", i), unknown("encoder", encoder_name, spec.encoders)
        if reward.kind == "discriminator" and not reward.encoders:
            yield ("rewards", name), "a discriminator looks through at least one of `encoders`"
    for name, algorithm in spec.algorithms.items():
        yield from _registered(ALGORITHMS, algorithm.kind, ("algorithms", name, "kind"))
        for i, encoder_name in enumerate(algorithm.encoders):
            if encoder_name not in spec.encoders:
                yield ("algorithms", name, "encoders", i), unknown("encoder", encoder_name, spec.encoders)
        kind = ALGORITHMS.get(algorithm.kind) if algorithm.kind in ALGORITHMS.names() else None
        if kind is not None and getattr(kind, "needs_spaces", False) != bool(algorithm.encoders):
            told = "takes no encoders" if algorithm.encoders else "looks through at least one of `encoders`"
            yield ("algorithms", name, *(["encoders"] if algorithm.encoders else [])), f"{algorithm.kind} {told}"
    for name, stage in spec.stages.items():
        if stage.kind in VERSIONS:
            yield ("stages", name, "kind"), f"{stage.kind} is a stage of drlbench's own; a package's is named here"
        else:
            yield from _registered(STAGES, stage.kind, ("stages", name, "kind"))
    for i, metric in enumerate(spec.metrics):
        yield from _registered(METRICS, metric, ("metrics", i))
    if spec.stats_per_class and "stats" not in spec.metrics:
        yield ("stats_per_class",), "this is a part of `stats`, which is not among this suite's metrics"
    for i, preference in enumerate(spec.preferences):
        if preference not in spec.rewards:
            yield ("preferences", i), unknown("reward", preference, spec.rewards)
    for i, guidance in enumerate(spec.guidance):
        if guidance.low >= guidance.high:
            yield ("guidance", i), f"the interval [{guidance.low}, {guidance.high}] is empty"
        if guidance.name.casefold() in [g.name.casefold() for g in spec.guidance[:i]]:
            yield ("guidance", i, "name"), f"the name {guidance.name!r} is used twice"
        for j, run in enumerate(guidance.runs or []):
            if run not in spec.runs:
                yield ("guidance", i, "runs", j), unknown("run", run, spec.runs)
        if guidance.guide is not None:
            yield from guide_faults(spec, guidance, ("guidance", i))
    for name, run_spec in spec.runs.items():
        yield from _run(spec, name, run_spec)


def _repeated(spec: SuiteSpec) -> Iterator[Found]:
    """Values that stand twice in a list, and names that some file systems take for one another."""
    lists: dict[Location, Sequence[object]] = {
        (name,): getattr(spec, name) for name in ("base_seeds", "spaces", "metrics", "preferences")
    }
    for name, reward in spec.rewards.items():
        lists["rewards", name, "encoders"] = reward.encoders
    for name, run in spec.runs.items():
        lists["runs", name, "lambda"] = run.lambda_ or []
        for key in ("seeds", "backbones", "sweep"):
            lists["runs", name, key] = getattr(run, key) or []
        if run.headline is not None:
            lists["runs", name, "headline", "lambda"] = run.headline.lambda_
            lists["runs", name, "headline", "seeds"] = run.headline.seeds
    for i, guidance in enumerate(spec.guidance):
        lists["guidance", i, "runs"] = guidance.runs or []
    for at, values in lists.items():
        seen: set[object] = set()
        for i, value in enumerate(values):
            if value in seen:
                told = f"{value:g}" if isinstance(value, float) else shown(value)
                yield (*at, i), f"{told} is given twice"
            seen.add(value)
    for section in ("encoders", "backbones", "rewards", "algorithms", "runs"):
        folded: dict[str, str] = {}
        for name in getattr(spec, section):
            if (other := folded.setdefault(name.casefold(), name)) != name:
                yield (section, name), f"{name!r} and {other!r} differ in case only; file systems may not"
    for name in spec.runs.keys() & RESERVED.keys():
        yield ("runs", name), f"the name {name!r} is kept for {RESERVED[name]}; choose another"


def _gate(spec: SuiteSpec, backbone: BackboneSpec, gate: GateSpec, at: Location) -> Iterator[Found]:
    if gate.space not in spec.spaces:
        yield (*at, "space"), unknown("space", gate.space, spec.spaces)
    if (card := backbone.gate_card) is None:
        names = [g.name for g in spec.guidance]
        if gate.guidance not in (None, *names):
            yield (*at, "guidance"), unknown("guidance", str(gate.guidance), names)
        if "fd" not in spec.metrics:
            yield at, "the gate compares `fd`, which is not among this suite's metrics"
        return
    try:
        _, _, how = published_fid(card)
    except UserError as error:
        yield (*at, "protocol"), str(error)
        return
    encoder = spec.encoders.get(gate.space)
    if encoder is not None and encoder.kind != how.encoder:
        yield (
            (*at, "space"),
            f"the published FID is in a space of kind {how.encoder!r}, not {encoder.kind!r}",
        )


def _run(spec: SuiteSpec, name: str, run: RunSpec) -> Iterator[Found]:
    at: Location = ("runs", name)
    for i, backbone in enumerate(run.backbones or []):
        if backbone not in spec.backbones:
            yield (*at, "backbones", i), unknown("backbone", backbone, spec.backbones)
    if run.algorithm is None:
        if run.reward is not None or run.lambda_ is not None or run.with_:
            yield at, "a run with a reward needs an `algorithm`"
        for key, what in (("policy", "a policy of its own"), ("match", "another's length")):
            if getattr(run, key) is not None:
                yield (*at, key), f"a run with {what} needs an `algorithm` that trains it"
        return
    if run.algorithm not in spec.algorithms:
        yield (*at, "algorithm"), unknown("algorithm", run.algorithm, spec.algorithms)
    elif spec.algorithms[run.algorithm].preset:
        for name_ in run.backbones or spec.backbones:
            family = spec.backbones[name_].family if name_ in spec.backbones else "sit"
            if family in BACKBONES.names() and not has_preset(family):
                yield (*at, "algorithm"), f"{run.algorithm!r} takes the paper's preset, which has none for {family!r}"
    yield from _objective(spec, name, run)
    if run.reward is not None and run.reward not in spec.rewards:
        yield (*at, "reward"), unknown("reward", run.reward, spec.rewards)
    for other in run.with_:
        if other not in spec.rewards:
            yield (*at, "with", other), unknown("reward", other, spec.rewards)
    if run.reward is not None and run.lambda_ is None:
        yield at, "a run with a reward needs `lambda`, the list of reward weights"
    terms = [spec.rewards.get(n) for n in (run.reward, *run.with_) if n is not None]
    if run.rounds > 1 and not any(term is None or term.kind == "discriminator" for term in terms):
        kind = spec.algorithms[run.algorithm].kind if run.algorithm in spec.algorithms else ""
        if kind not in ALGORITHMS.names() or not getattr(ALGORITHMS.get(kind), "moves_with_start", False):
            yield (*at, "rounds"), "rounds re-fit a discriminator, and this run has none"
    if run.sweep is not None and run.headline is None:
        yield (*at, "sweep"), "the backbones outside `sweep` run the headline's lambdas, and there is no `headline`"
    for i, backbone in enumerate(run.sweep or []):
        if backbone not in spec.backbones:
            yield (*at, "sweep", i), unknown("backbone", backbone, spec.backbones)
    for i, weight in enumerate(run.headline.lambda_ if run.headline else []):
        if weight not in (run.lambda_ or []):
            yield (*at, "headline", "lambda", i), f"{weight:g} is not in this run's lambda list"
    if run.teacher is not None:
        yield from teacher_faults(spec, name, run)
    if run.policy is not None:
        yield from _policy(spec, name, run)
    if run.match is not None:
        yield from match_faults(spec, name, run)
    if run.start is not None:
        origin = spec.runs.get(run.start.run)
        if origin is None:
            yield (*at, "start", "run"), unknown("run", run.start.run, spec.runs)
        elif run.start.run == name or origin.start is not None:
            yield (*at, "start", "run"), f"{run.start.run!r} itself starts from another run; chains end after one link"
        elif (told := no_such_lambda(origin, run.start.run, run.start.lambda_)) is not None:
            yield (*at, "start", *(("lambda",) if run.start.lambda_ is not None else ())), told
        else:
            ours, theirs = set(run.backbones or spec.backbones), set(origin.backbones or spec.backbones)
            if ours - theirs:
                yield (*at, "start", "run"), f"{run.start.run!r} does not run on {', '.join(sorted(ours - theirs))}"


def _objective(spec: SuiteSpec, name: str, run: RunSpec) -> Iterator[Found]:
    """What a run's algorithm learns from, and what is left to watch it with."""
    at: Location = ("runs", name)
    algorithm = spec.algorithms.get(str(run.algorithm))
    terms = [n for n in (run.reward, *run.with_) if n is not None]
    if algorithm is None or algorithm.kind not in ALGORITHMS.names():
        return
    kind = ALGORITHMS.get(algorithm.kind)
    if getattr(kind, "needs_reward", False) and not terms:
        yield (*at, "algorithm"), f"{algorithm.kind} needs a `reward`"
    if run.teacher is not None and not getattr(kind, "needs_data", False):
        yield (*at, "teacher"), f"{algorithm.kind} does not learn from images, so there is nothing to teach it"
    if run.reward is not None and run.reward in run.with_:
        yield (*at, "with", run.reward), f"{run.reward!r} is this run's `reward` already"
    if algorithm.watch is None:
        return
    seen = {encoder for term in terms if term in spec.rewards for encoder in spec.rewards[term].encoders}
    seen |= set(algorithm.encoders)
    if not set(spec.preferences) - set(terms) and not set(spec.spaces) - seen:
        yield (
            ("algorithms", str(run.algorithm), "watch"),
            f"run {name!r} optimises every entry of `preferences` and looks through every one of `spaces`, so nothing "
            "is held out; add one of either, or take `watch` out",
        )


def _policy(spec: SuiteSpec, name: str, run: RunSpec) -> Iterator[Found]:
    """What a second network beside the start's does not go with."""
    assert run.policy is not None
    at: Location = ("runs", name, "policy")
    origin = spec.runs.get(run.start.run) if run.start else None
    if origin is not None and origin.policy is not None:
        yield at, "the run that this one starts from has a `policy` already, which it keeps"
    own = spec.algorithms[run.algorithm].settings if run.algorithm in spec.algorithms else {}
    if own.get("lora_rank") is not None:
        yield (
            at,
            f"algorithm {run.algorithm!r} trains low-rank updates only (`lora_rank`): a second network would stay 0",
        )
    if own.get("sharding") == "fsdp":
        yield at, f"algorithm {run.algorithm!r} divides a network that is as its start's (`sharding: fsdp`)"
    for each in run.backbones or spec.backbones:
        backbone = spec.backbones.get(each)
        if backbone is None or backbone.family not in BACKBONES.names() or (backbone.checkpoint and not backbone.size):
            continue  # told elsewhere, or known from its weights alone
        try:
            beside_arguments(
                backbone.size or backbone.family, backbone.architecture, run.policy.widen, run.policy.depth
            )
        except UserError as error:
            yield at, f"on {each!r}: {error}"
        except (TypeError, ZeroDivisionError):
            continue  # an architecture that is none is told where it stands
