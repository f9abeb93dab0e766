"""What a suite file may say. Types only: names are looked up in `references`, places are found in `document`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from drlbench.suite.keys import MAX_IMAGES, MAX_STEPS, Images, Name, Positive, Seed, Seeds, Spec, key
from drlbench.suite.parts import AlgorithmSpec, BackboneSpec, DataSpec, EncoderSpec, PolicySpec, RewardSpec, StageSpec


def _listed(value: Any) -> Any:
    """`lambda: 1` is the list of one."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


Weights = Annotated[list[Positive], Field(min_length=1), BeforeValidator(_listed)]


class StartSpec(Spec):
    """The finished cell a run starts from and takes its KL to."""

    run: str = key(about="run whose trained weights this one begins with", example="drl")
    lambda_: Positive | None = key(
        None, alias="lambda", about="which cell of that run: its lambda, where it has any", example=10
    )


class TeacherSpec(Spec):
    """The finished cell whose samples a run learns from, in place of the train images."""

    run: str = key(about="run whose samples this one learns from", example="drl")
    lambda_: Positive | None = key(
        None, alias="lambda", about="which cell of that run: its lambda, where it has any", example=10
    )
    n: Images = key(about="samples to learn from", unit="images", example=100000)


class MatchSpec(Spec):
    """The cell that a run's training is to cost as much as, by `drlbench plan`'s count of operations."""

    run: str = key(about="run that this one is to cost as much as", example="drl")
    lambda_: Positive | None = key(
        None, alias="lambda", about="which cell of that run: its lambda, where it has any", example=1
    )


class HeadlineSpec(Spec):
    """More RL seeds for the lambdas that the headline rests on."""

    lambda_: Weights = key(alias="lambda", about="those lambdas", example=[1])
    seeds: Seeds = key(about="their RL seeds", example=[0, 1, 2])


class RunSpec(Spec):
    """A family of cells, one per backbone, lambda and seed, of objective E[sum_i with_i r_i + lambda * reward] - KL."""

    reward: str | None = key(None, about="the reward that lambda weights; left out: none", example="drl")
    with_: dict[str, Positive] = key(
        {}, alias="with", about="further rewards in the same objective, and their fixed weights", example={"drl": 1}
    )
    algorithm: str | None = key(None, about="one of `algorithms`; left out: the base itself", example="am")
    lambda_: Weights | None = key(
        None, alias="lambda", about="weights of the reward, a cell for each; one may stand alone", example=[0.5, 1, 3]
    )
    rounds: Annotated[int, Field(gt=0, le=100)] = key(
        1, about="times the discriminator is fitted anew on the current model, the KL taken to it", example=2
    )
    seeds: Seeds = key([0], about="RL seeds", example=[0, 1])
    headline: HeadlineSpec | None = key(
        None, about="more seeds for some lambdas", example={"lambda": [1], "seeds": [0, 1]}
    )
    sweep: list[str] | None = key(
        None,
        about="backbones that run every lambda; others run the headline's only, with the first of `seeds`",
        example=["sit"],
    )
    start: StartSpec | None = key(
        None, about="the finished cell it starts from; left out: the base", example={"run": "drl", "lambda": 1}
    )
    teacher: TeacherSpec | None = key(
        None,
        about="the finished cell whose samples an algorithm that learns from images (sft) learns from",
        example={"run": "drl", "lambda": 10, "n": 100000},
    )
    policy: PolicySpec | None = key(
        None,
        about="a second network beside its start's; left out: the start's alone. A run that starts from one keeps it",
        example={"widen": 40, "depth": 2},
    )
    match: MatchSpec | None = key(
        None,
        about="equal time: in place of the algorithm's `updates`, as many in each round as make its rewards and "
        "fine-tunes cost what another run's do, as one processor core takes them (no clock: the same everywhere)",
        example={"run": "drl", "lambda": 1},
    )
    backbones: list[str] | None = key(None, about="backbones it runs on; left out: all", example=["sit", "jit"])
    description: str = key("", about="what the report says of it", example="the control, as long on the real images")


class SamplingSpec(Spec):
    """How every cell is sampled for measuring: every sample has its own seed, labels are balanced and in order."""

    sampler: Literal["paper", "euler", "heun", "dopri5", "official"] = key(
        "heun",
        about="paper: Heun in 50 steps, on RAE's own schedule for RAE; official: each backbone's own procedure",
        example="heun",
    )
    steps: Annotated[int, Field(gt=0, le=MAX_STEPS)] | None = key(
        None, about="of the sampler; needed but for paper and official", unit="steps", example=50
    )
    n: Images = key(about="samples of every cell under every guidance", unit="images", example=50000)
    seed: Seed = key(0, about="of the first sample", example=0)
    precision: Literal["fp32", "bf16"] = key(
        "fp32",
        about="of the network for the samples that are measured; solver and decoder stay fp32 "
        "(docs/design/backbones.md has the error)",
        example="bf16",
    )

    @model_validator(mode="after")
    def _says_how_many_steps(self) -> SamplingSpec:
        if self.steps is None and self.sampler not in ("paper", "official"):
            raise ValueError(f"sampler {self.sampler!r} needs `steps`")
        if self.sampler == "paper" and self.steps not in (None, 50):
            raise ValueError(f"sampler 'paper' is Heun in 50 steps; for {self.steps} take 'heun'")
        return self


class GuideSpec(Spec):
    """The weaker model of autoguidance: a cell of the same backbone and seeds, the base before RL as a rule."""

    run: str = key(about="name of a run", example="base")
    lambda_: Positive | None = key(None, alias="lambda", about="which of its lambdas, where it has any", example=1)


class GuidanceSpec(Spec):
    """Classifier-free guidance of scale `cfg` for times between `low` and `high`, or autoguidance by `guide`."""

    name: Name = key(about="how rows and pictures call it", example="cfg1.5@0.1-1")
    cfg: Annotated[float, Field(ge=0, le=1000)] = key(1.0, about="scale; 1 is no guidance", example=1.5)
    low: Annotated[float, Field(ge=0, le=1)] = key(0.0, about="first guided time, 0 noise, 1 data", example=0.1)
    high: Annotated[float, Field(ge=0, le=1)] = key(1.0, about="last guided time", example=1.0)
    guide: GuideSpec | None = key(
        None,
        about="autoguidance: away from this weaker model, at all times: v_guide + cfg (v - v_guide)",
        example={"run": "base"},
    )
    runs: list[str] | None = key(None, about="runs that are sampled under it; left out: all", example=["base", "drl"])


class GridSpec(Spec):
    """Seed-matched sample grids: one row per class, `columns` seeds each."""

    classes: Annotated[int, Field(gt=0, le=1000)] = key(10, about="the first so many classes", example=10)
    columns: Annotated[int, Field(gt=0, le=1000)] = key(10, about="samples of each", unit="images", example=12)


ENCODERS = {
    "contrastive": EncoderSpec(kind="small-contrastive", seed=1),
    "dae": EncoderSpec(kind="small-dae", seed=2),
    "pixels": EncoderSpec(kind="pixels"),
}


class SuiteSpec(Spec):
    """A whole suite file."""

    suite: Name = key(about="name; results go to reports/NAME unless `--out` says otherwise", example="digits")
    title: str = key("", about="heading of the report", example="DRL on digits")
    description: str = key("", about="what the report says below it", example="four backbones, three seeds")
    data: DataSpec = key(about="the real images", example={"kind": "digits"})
    base_seeds: Seeds = key([0], about="seeds of the base models that are trained here", example=[0, 1, 2])
    encoders: dict[Name, EncoderSpec] = key(
        ENCODERS,
        about="representations, by a name of your own; left out: three that are fitted on the train images",
        example={"inception": {"kind": "inception-v3"}},
    )
    spaces: Annotated[list[str], Field(min_length=1)] = key(
        list(ENCODERS),
        about="encoders that distances are measured in; left out: all",
        example=["inception", "dinov2-l"],
    )
    backbones: Annotated[dict[Name, BackboneSpec], Field(min_length=1)] = key(
        about="base models, by a name of your own", example={"sit": {"family": "sit", "checkpoint": "sit-xl-2-256"}}
    )
    rewards: dict[Name, RewardSpec] = key(
        {},
        about="rewards, by a name of your own",
        example={"drl": {"kind": "discriminator", "encoders": ["dinov2-l"]}},
    )
    algorithms: dict[Name, AlgorithmSpec] = key(
        {},
        about="algorithms with settings, by a name of your own",
        example={"am": {"kind": "adjoint-matching", "updates": 3000}},
    )
    runs: Annotated[dict[Name, RunSpec], Field(min_length=1)] = key(
        about="families of cells, by the name that tables show",
        example={"base": {}, "drl": {"reward": "drl", "algorithm": "am", "lambda": [1]}},
    )
    sampling: SamplingSpec = key(
        SamplingSpec(steps=50, n=5000),
        about="how cells are sampled",
        example={"sampler": "heun", "steps": 50, "n": 50000},
    )
    guidance: Annotated[list[GuidanceSpec], Field(min_length=1)] = key(
        [GuidanceSpec(name="none")], about="guidances every cell is sampled under", example=[{"name": "none"}]
    )
    metrics: Annotated[list[str], Field(min_length=1)] = key(
        ["fd", "kd", "prdc", "stats"],
        about="registered metrics (`drlbench list metrics`)",
        example=["fd", "kd", "prdc", "stats"],
    )
    stats_per_class: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = key(
        0,
        about="`stats` also on the first so many samples of each class, as `<statistic>_subset` (the paper: 3); 0: not",
        unit="images",
        example=3,
    )
    preferences: list[str] = key(
        [], about="rewards every cell is measured with, optimised or not", example=["imagereward", "pickscore"]
    )
    stages: dict[Name, StageSpec] = key(
        {},
        about="stages of installed packages that measure every cell's samples, by a name of your own",
        example={"sharpness": {"kind": "dummy-stage"}},
    )
    reference_images: Images | None = key(
        None,
        about="distances are taken to so many of the train and of the held-out images; left out: to all of them",
        unit="images",
        example=5000,
    )
    kl_samples: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = key(
        0, about="samples that estimate each model's KL from its base; 0: none", unit="images", example=1000
    )
    trajectory_samples: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = key(
        0,
        about="samples whose norms along the memoryless SDE are recorded, for adjoint matching; 0: none",
        unit="images",
        example=64,
    )
    tilt_samples: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = key(
        0,
        about="samples of a run's start, weighted by exp(lambda r) to the exact optimum; 0: none",
        unit="images",
        example=12000,
    )
    resamples: Annotated[int, Field(ge=20, le=100_000)] = key(
        200, about="bootstrap resamples behind every interval", example=1000
    )
    grid: GridSpec = key(GridSpec(), about="the sample grids", example={"classes": 10, "columns": 12})

    @model_validator(mode="before")
    @classmethod
    def _all_spaces(cls, values: Any) -> Any:
        """Without `spaces`, distances are measured in every encoder."""
        if isinstance(values, dict) and "spaces" not in values and isinstance(values.get("encoders"), dict):
            return {**values, "spaces": list(values["encoders"])}
        return values
