"""What a suite file may say. Types only: names are looked up in `check`, lines and columns are found in `load`.

Models are strict (a quoted number is a string, not a number) and refuse unknown keys. The specs of encoders,
rewards and algorithms carry extra keys on purpose: those are the settings of the registered kind, validated
against that kind's own `Settings`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Identifier = Annotated[str, Field(min_length=1, max_length=80)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Spec(BaseModel):
    """Strict, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class OpenSpec(Spec):
    """A spec whose other keys are settings of its `kind`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that belong to the kind."""
        return dict(self.model_extra or {})


class OriginSpec(Spec):
    """Where data come from, for the reader of a plan: how to get them, how big they are, on which terms."""

    name: str
    source: str
    licence: str
    gigabytes: Positive
    command: str


class DataSpec(OpenSpec):
    """Real images: `kind` is digits, parquet, folder, npz, tar or toy (points); the other keys are that reader's.

    `counts` are the numbers of train and held-out images, for a plan made where the images are not. `teacher` names the
    model that made the images, where they are not real: a run is then a distillation of it.
    """

    kind: str
    teacher: str | None = None
    origin: OriginSpec | None = None
    counts: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)] | None = None


class EncoderSpec(OpenSpec):
    """A representation: a registered encoder, its seed when it is trained here, and its settings."""

    kind: str
    seed: int = 0


class RewardSpec(OpenSpec):
    """A reward: a registered kind, the encoders it looks through, its seed and settings.

    `fakes` samples of the model, made in `fake_steps` steps of the suite's sampler, are what a discriminator is fitted
    against.
    """

    kind: str
    encoders: list[str] = []
    seed: int = 0
    fakes: Annotated[int, Field(gt=1)] = 4000
    fake_steps: Annotated[int, Field(gt=0)] | None = None
    description: str = ""


class WatchSpec(Spec):
    """Measure what a run does not optimise on `n` samples after every `every` updates of a round."""

    every: Annotated[int, Field(gt=0)]
    n: Annotated[int, Field(gt=1)] = 200


class AlgorithmSpec(OpenSpec):
    """A fine-tuning algorithm, its number of optimiser updates (per round) and its settings.

    With `watch`, held-out `preferences` and FD in held-out `spaces` join the training curves, with a marker where they
    turn. With `preset: paper` the settings are the paper's for the backbone's family; those given here override them.
    """

    kind: str
    preset: Literal["paper"] | None = None
    updates: Annotated[int, Field(gt=0)]
    watch: WatchSpec | None = None


class GateSpec(Spec):
    """Refuse to go on when the base's FD in `space` is further than `tolerance` (relative) from what was published.

    With `protocol: suite` it is compared with `fd`, on the suite's own samples under its guidance `guidance` (its first
    one by default); `source` says who published `fd`. With `protocol: card`, or the name of a card for a checkpoint of
    one's own, with that card's FID on samples made as its authors made theirs (sampler, steps, guidance, labels, number
    of samples, statistics); `n` fewer samples are cheaper and bias FD upwards, and `statistics` is a local copy of the
    statistics file.
    """

    space: str
    tolerance: Positive
    protocol: str = "suite"
    fd: Positive | None = None
    guidance: str | None = None
    source: str = ""
    n: Annotated[int, Field(gt=1)] | None = None
    statistics: str | None = None

    @model_validator(mode="after")
    def _belongs_to_its_protocol(self) -> GateSpec:
        ours, theirs = {"fd", "guidance", "source"}, {"n", "statistics"}
        if self.protocol == "suite" and self.fd is None:
            raise ValueError("state the published `fd`, or take the card's with `protocol: card`")
        for name in sorted((theirs if self.protocol == "suite" else ours) & self.model_fields_set):
            raise ValueError(f"`{name}` is no part of `protocol: {self.protocol}`")
        return self


class LatentSpec(OpenSpec):
    """The latent a small RAE-style model is trained in: `encoder` names the frozen encoder, the rest are settings."""

    encoder: str
    seed: int = 0


class BackboneSpec(Spec):
    """A base model: an official checkpoint, or a small one trained here by flow matching (`pretrain`).

    `checkpoint` is a card's name ("sit-xl-2-256") or a weights file; without `size` the architecture is read off its
    weights, and `ema` names the entry to take from a training checkpoint. `autoencoder` is `pixels`, a card's name
    ("sd-vae-ft-ema"), or the folder of an SD-VAE or RAE; left out, it is the card's or the official size's own.
    `align` names the encoder that a REPA-style model is aligned to while it is trained; `latent` makes a model trained
    here an RAE-style one.
    """

    family: str
    size: str | None = None
    architecture: dict[str, Any] = {}
    checkpoint: str | None = None
    pretrain: dict[str, Any] | None = None
    ema: str | bool | None = None
    autoencoder: str | None = None
    align: str | None = None
    latent: LatentSpec | None = None
    gate: GateSpec | None = None
    description: str = ""

    @property
    def gate_card(self) -> str | None:
        """The card whose protocol the gate follows; None where it follows the suite's, or there is no gate."""
        if self.gate is None or self.gate.protocol == "suite":
            return None
        return str(self.checkpoint) if self.gate.protocol == "card" else self.gate.protocol


class StartSpec(Spec):
    """The finished cell a run starts from and takes its KL to; `lambda` where that run has one."""

    run: str
    lambda_: Positive | None = Field(default=None, alias="lambda")


class TeacherSpec(Spec):
    """The finished cell whose `n` samples a run learns from, in place of the train images."""

    run: str
    lambda_: Positive | None = Field(default=None, alias="lambda")
    n: Annotated[int, Field(gt=1)]


class HeadlineSpec(Spec):
    """More RL seeds for the lambdas that the headline rests on."""

    lambda_: Annotated[list[Positive], Field(min_length=1)] = Field(alias="lambda")
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class RunSpec(Spec):
    """A family of cells: one per backbone, lambda and seed.

    The objective is E[sum_i with_i r_i + lambda * reward] - KL; `with` is used by combined runs only.
    `rounds` re-fits the discriminator on the current model and takes the KL to it. Backbones outside `sweep` run the
    headline's lambdas only, with the first of `seeds`. With `teacher` an algorithm that learns from images (sft) learns
    from another cell's samples.
    """

    reward: str | None = None
    with_: dict[str, Positive] = Field(default={}, alias="with")
    algorithm: str | None = None
    lambda_: Annotated[list[Positive], Field(min_length=1)] | None = Field(default=None, alias="lambda")
    rounds: Annotated[int, Field(gt=0)] = 1
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    headline: HeadlineSpec | None = None
    sweep: list[str] | None = None
    start: StartSpec | None = None
    teacher: TeacherSpec | None = None
    backbones: list[str] | None = None
    description: str = ""


class SamplingSpec(Spec):
    """How every cell is sampled for measuring: per-sample seeds, balanced ordered labels.

    `sampler: paper` is the paper's, Heun in 50 steps (on RAE's own schedule for RAE), and `official` each backbone's
    own procedure, with its authors' number of steps where `steps` is left out. `precision: bf16` computes the network
    in bfloat16 for the samples that are measured; the solver's state and the decoder stay float32 (docs/design/
    backbones.md has the error).
    """

    sampler: Literal["paper", "euler", "heun", "dopri5", "official"] = "heun"
    steps: Annotated[int, Field(gt=0)] | None = None
    n: Annotated[int, Field(gt=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _says_how_many_steps(self) -> SamplingSpec:
        if self.steps is None and self.sampler not in ("paper", "official"):
            raise ValueError(f"sampler {self.sampler!r} needs `steps`")
        if self.sampler == "paper" and self.steps not in (None, 50):
            raise ValueError(f"sampler 'paper' is Heun in 50 steps; for {self.steps} take 'heun'")
        return self


class GuidanceSpec(Spec):
    """Classifier-free guidance of scale `cfg` for times in [`low`, `high`]; scale 1 is no guidance."""

    name: Identifier
    cfg: Annotated[float, Field(ge=0)] = 1.0
    low: Annotated[float, Field(ge=0, le=1)] = 0.0
    high: Annotated[float, Field(ge=0, le=1)] = 1.0
    runs: list[str] | None = None


class GridSpec(Spec):
    """Seed-matched sample grids: one row per class (the first `classes`), `columns` seeds each."""

    classes: Annotated[int, Field(gt=0)] = 10
    columns: Annotated[int, Field(gt=0)] = 10


class SuiteSpec(Spec):
    """A whole suite file.

    Every distance is taken to all real images, or to `reference_images` of the train and as many of the held-out ones
    where a space is too dear for all. `kl_samples` of each fine-tuned model estimate its KL from the base, and
    `trajectory_samples` the norms along the memoryless SDE of each one that adjoint matching made; 0 leaves either out.
    """

    suite: Annotated[str, Field(pattern=r"^[^/\\\x00]{1,80}$")]
    title: str = ""
    description: str = ""
    data: DataSpec
    base_seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    encoders: dict[Identifier, EncoderSpec]
    spaces: Annotated[list[str], Field(min_length=1)]
    backbones: Annotated[dict[Identifier, BackboneSpec], Field(min_length=1)]
    rewards: dict[Identifier, RewardSpec] = {}
    algorithms: dict[Identifier, AlgorithmSpec] = {}
    runs: Annotated[dict[Identifier, RunSpec], Field(min_length=1)]
    sampling: SamplingSpec
    guidance: Annotated[list[GuidanceSpec], Field(min_length=1)] = [GuidanceSpec(name="none")]
    metrics: Annotated[list[str], Field(min_length=1)]
    preferences: list[str] = []
    reference_images: Annotated[int, Field(gt=1)] | None = None
    kl_samples: Annotated[int, Field(ge=0)] = 0
    trajectory_samples: Annotated[int, Field(ge=0)] = 0
    resamples: Annotated[int, Field(ge=20)] = 200
    grid: GridSpec = GridSpec()
