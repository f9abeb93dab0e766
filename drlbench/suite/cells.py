"""A suite to its cells: one per backbone, base seed, run, lambda and RL seed, each with a stable id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from drlbench.suite.parts import PolicySpec
from drlbench.suite.schema import GuidanceSpec, RunSpec, SuiteSpec


@dataclass(frozen=True)
class Cell:
    """One model to be made and measured.

    Attributes:
        run: the cell family's name in the suite.
        lambda_: weight of the reward, or None where there is no reward.
        base_seed, seed: seeds of the base model and of the fine-tune.
    """

    backbone: str
    run: str
    lambda_: float | None
    base_seed: int
    seed: int

    @property
    def seeds(self) -> str:
        """The `seed` column: base seed, dot, RL seed."""
        return f"{self.base_seed}.{self.seed}"

    @property
    def id(self) -> str:
        weight = "" if self.lambda_ is None else f"/lambda={in_short(self.lambda_)}"
        return f"{self.backbone}/{self.run}{weight}/seed={self.seeds}"


def matches(identifier: str, patterns: Sequence[str]) -> bool:
    """Whether a cell's id fits one of the patterns, which have * and ?; none: every id."""
    return not patterns or any(fnmatchcase(identifier, pattern) for pattern in patterns)


def in_short(weight: float) -> str:
    """A lambda in as few digits as tell it from every other."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)


def seeds_for(run: RunSpec, weight: float | None) -> list[int]:
    """RL seeds of one lambda: the headline's where the suite gives this lambda more of them."""
    return run.headline.seeds if run.headline is not None and weight in run.headline.lambda_ else run.seeds


def _weights(run: RunSpec, whole: bool) -> list[float] | list[None]:
    """The lambdas of a run: all of them, or the headline's alone; [None] for a run without a reward."""
    if run.reward is None or run.lambda_ is None:
        return [None]
    return run.lambda_ if whole or run.headline is None else run.headline.lambda_


def cells(spec: SuiteSpec) -> list[Cell]:
    """Every cell of the suite in the order of the file."""
    found = []
    for backbone in spec.backbones:
        for base_seed in spec.base_seeds:
            for name, run in spec.runs.items():
                if run.backbones is not None and backbone not in run.backbones:
                    continue
                whole = run.sweep is None or backbone in run.sweep
                for weight in _weights(run, whole):
                    seeds = seeds_for(run, weight) if whole else run.seeds[:1]
                    found += [Cell(backbone, name, weight, base_seed, seed) for seed in seeds]
    return found


def origin(spec: SuiteSpec, cell: Cell) -> Cell | None:
    """The cell that `cell` starts from and takes its KL to: the same backbone and base seed, and the same RL seed
    where it exists, else the first; None when it starts from the base."""
    start = spec.runs[cell.run].start
    return None if start is None else _sibling(spec, cell, start.run, start.lambda_)


def teacher(spec: SuiteSpec, cell: Cell) -> Cell | None:
    """The cell whose samples `cell` learns from, chosen as `origin` is; None when it learns from the train images."""
    source = spec.runs[cell.run].teacher
    return None if source is None else _sibling(spec, cell, source.run, source.lambda_)


def matched(spec: SuiteSpec, cell: Cell) -> Cell | None:
    """The cell whose training costs as much as `cell`'s is to, chosen as `origin` is; None without a `match`."""
    equal = spec.runs[cell.run].match
    return None if equal is None else _sibling(spec, cell, equal.run, equal.lambda_)


def guide(spec: SuiteSpec, cell: Cell, guidance: GuidanceSpec) -> Cell | None:
    """The weaker cell of an autoguidance, chosen as `origin` is; None where `guidance` has none."""
    weak = guidance.guide
    return None if weak is None else _sibling(spec, cell, weak.run, weak.lambda_)


def policy(spec: SuiteSpec, cell: Cell) -> PolicySpec | None:
    """The second network of a cell's model: its run's, or that of the run it starts from."""
    run = spec.runs[cell.run]
    return run.policy if run.policy or run.start is None else spec.runs[run.start.run].policy


def _sibling(spec: SuiteSpec, cell: Cell, run: str, weight: float | None) -> Cell:
    available = seeds_for(spec.runs[run], weight)
    seed = cell.seed if cell.seed in available else available[0]
    return Cell(cell.backbone, run, weight, cell.base_seed, seed)
