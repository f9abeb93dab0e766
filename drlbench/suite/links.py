"""What a suite says of one cell that takes something from another: names, lambdas and backbones that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from drlbench.errors import did_you_mean, shown
from drlbench.suite.document import Location
from drlbench.suite.schema import GuidanceSpec, RunSpec, SuiteSpec

Found = tuple[Location, str]


def unknown(what: str, name: str, valid: Collection[str]) -> str:
    listed = ", ".join(valid) or "none is defined"
    return f"unknown {what} {shown(repr(name))}{did_you_mean(name, valid)}; valid: {listed}"


def no_such_lambda(run: RunSpec, name: str, weight: float | None) -> str | None:
    """What is wrong with naming a run's cells at this lambda."""
    if not run.lambda_:
        return None if weight is None else f"{name!r} has no lambda; leave it out"
    if weight in run.lambda_:
        return None
    said = f"say which `lambda` of {name!r}" if weight is None else f"{name!r} has no lambda {weight:g}"
    return f"{said}; it has {', '.join(f'{x:g}' for x in run.lambda_)}"


def teacher_faults(spec: SuiteSpec, name: str, run: RunSpec) -> Iterator[Found]:
    assert run.teacher is not None
    at: Location = ("runs", name, "teacher")
    source, weight = spec.runs.get(run.teacher.run), run.teacher.lambda_
    if run.reward is not None or run.with_:
        yield at, "a run learns from a reward or from a teacher's samples, not from both"
    if source is None:
        yield (*at, "run"), unknown("run", run.teacher.run, spec.runs)
        return
    if run.teacher.run == name or source.teacher is not None:
        yield (*at, "run"), f"{run.teacher.run!r} itself learns from another run's samples; chains end after one link"
    if (told := no_such_lambda(source, run.teacher.run, weight)) is not None:
        yield (*at, *(("lambda",) if weight is not None else ())), told
    ours, theirs = set(run.backbones or spec.backbones), set(source.backbones or spec.backbones)
    if ours - theirs:
        yield (*at, "run"), f"{run.teacher.run!r} does not run on {', '.join(sorted(ours - theirs))}"


def match_faults(spec: SuiteSpec, name: str, run: RunSpec) -> Iterator[Found]:
    assert run.match is not None
    at: Location = ("runs", name, "match")
    equal, weight = spec.runs.get(run.match.run), run.match.lambda_
    if equal is None:
        yield (*at, "run"), unknown("run", run.match.run, spec.runs)
    elif run.match.run == name or equal.match is not None:
        yield (*at, "run"), f"{run.match.run!r} is itself as long as another run; chains end after one link"
    elif equal.algorithm is None:
        yield (*at, "run"), f"{run.match.run!r} trains nothing"
    elif (told := no_such_lambda(equal, run.match.run, weight)) is not None:
        yield (*at, *(("lambda",) if weight is not None else ())), told
    elif outside := set(run.backbones or spec.backbones) - set(equal.backbones or spec.backbones):
        yield (*at, "run"), f"{run.match.run!r} does not run on {', '.join(sorted(outside))}"


def guide_faults(spec: SuiteSpec, guidance: GuidanceSpec, at: Location) -> Iterator[Found]:
    assert guidance.guide is not None
    weak, weight = spec.runs.get(guidance.guide.run), guidance.guide.lambda_
    if guidance.cfg == 1 or (guidance.low, guidance.high) != (0.0, 1.0):
        yield at, "autoguidance has a scale `cfg` other than 1 and acts at all times; leave `low` and `high` out"
    if spec.sampling.sampler == "official":
        yield (*at, "guide"), "the backbones' own procedures have their own guidance; take another `sampling.sampler`"
    if weak is None:
        yield (*at, "guide", "run"), unknown("run", guidance.guide.run, spec.runs)
    elif (told := no_such_lambda(weak, guidance.guide.run, weight)) is not None:
        yield (*at, "guide", *(("lambda",) if weight is not None else ())), told
    else:
        guided = [spec.runs[name] for name in guidance.runs or spec.runs if name in spec.runs]
        wanted = {name for run in guided for name in run.backbones or spec.backbones}
        if outside := wanted - set(weak.backbones or spec.backbones):
            yield (*at, "guide", "run"), f"{guidance.guide.run!r} does not run on {', '.join(sorted(outside))}"
