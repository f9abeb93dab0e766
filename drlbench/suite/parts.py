"""What a suite is put together from: data, encoders, rewards, algorithms and backbones. Types only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drlbench.suite.keys import MAX_IMAGES, MAX_STEPS, MAX_UPDATES, Images, Name, OpenSpec, Positive, Seed, Spec, key

Count = Annotated[int, Field(gt=0, le=1_000_000_000)]


class OriginSpec(Spec):
    """Where data come from, for the reader of a plan: how to get them, how big they are, on which terms."""

    name: str = key(about="what the data are called", example="ImageNet-1k, train and validation")
    source: str = key(about="page that describes and gives them", example="https://image-net.org")
    licence: str = key(about="terms they come under", example="non-commercial research")
    gigabytes: Positive = key(about="size of the download", unit="GB", example=155)
    command: str = key(about="command that gets them", example="hf download ILSVRC/imagenet-1k --repo-type dataset")


class DataSpec(OpenSpec):
    """The real images a run learns from and is measured against; the other keys are the reader's (see `kind`)."""

    kind: str = key(about="reader: digits, toy, folder, parquet, npz or tar", example="folder")
    teacher: str | None = key(
        None,
        about="the model that made the images, where they are not real: a run is then a distillation of it",
        example="stable-diffusion-v1-5",
    )
    origin: OriginSpec | None = key(None, about="where the data come from, for `plan`", example={"name": "ImageNet-1k"})
    counts: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = key(
        None,
        about="numbers of train and held-out images, for a plan made where the images are not",
        unit="images",
        example=[1281167, 50000],
    )


class EncoderSpec(OpenSpec):
    """A representation; the other keys are settings of its kind."""

    kind: str = key(about="a registered encoder (`drlbench list encoders`)", example="dinov2")
    seed: Seed = key(0, about="of the training, where the encoder is trained here", example=1)


class RewardSpec(OpenSpec):
    """A reward, to optimise or to measure with; the other keys are settings of its kind."""

    kind: str = key(about="a registered reward (`drlbench list rewards`)", example="discriminator")
    encoders: list[str] = key([], about="names of `encoders` that it looks through", example=["dinov2-l"])
    seed: Seed = key(0, about="of the training, where the reward is trained here", example=5)
    fakes: Images = key(
        4000, about="samples of the model that a discriminator is fitted against", unit="images", example=4000
    )
    fake_steps: Annotated[int, Field(gt=0, le=MAX_STEPS)] | None = key(
        None, about="steps of the sampler for those; left out: those of `sampling`", unit="steps", example=20
    )
    description: str = key("", about="what the report says of it", example="ImageReward 1.0")


class StageSpec(OpenSpec):
    """A kind of stage from a package that is installed; the other keys are settings of its kind."""

    kind: str = key(about="a registered stage (`drlbench list stages`)", example="dummy-stage")


class WatchSpec(Spec):
    """Measure what a run does not optimise while it trains: held-out `preferences`, and FD in held-out `spaces`."""

    every: Annotated[int, Field(gt=0, le=MAX_UPDATES)] = key(
        about="updates of a round between two measurements", unit="updates", example=50
    )
    n: Annotated[int, Field(gt=1, le=MAX_IMAGES)] = key(
        200, about="samples of each measurement", unit="images", example=200
    )


class AlgorithmSpec(OpenSpec):
    """A fine-tuning algorithm; the other keys are settings of its kind."""

    kind: str = key(about="a registered algorithm (`drlbench list algorithms`)", example="adjoint-matching")
    preset: Literal["paper"] | None = key(
        None,
        about="take the paper's settings for the backbone's family; those given beside it override them",
        example="paper",
    )
    updates: Annotated[int, Field(gt=0, le=MAX_UPDATES)] = key(
        about="optimiser updates of each round", unit="updates", example=3000
    )
    encoders: list[str] = key(
        [],
        about="names of `encoders` that an algorithm with a distance of its own looks through (fd-loss)",
        example=["dinov2-l"],
    )
    rate_width: Annotated[int, Field(gt=0, le=65_536)] | None = key(
        None,
        about="hidden width that `learning_rate` was chosen at; a backbone of another gets learning_rate * rate_width "
        "/ its own. Left out: one rate for all",
        example=12,
    )
    watch: WatchSpec | None = key(
        None, about="measure what is held out while it trains, and mark where it turns", example={"every": 50}
    )


class PolicySpec(Spec):
    """More capacity for a run's policy: a second network beside its start's, both trained.

    It is of the start's family, and returns zero until it is trained, so that the policy begins as the start exactly.
    The KL is taken to the start, as ever. For sit, jit, repa and rae; not with `lora_rank` or `sharding: fsdp`.
    """

    widen: Annotated[int, Field(gt=0, le=65_536)] = key(
        about="hidden width of the second network, a multiple of the start's head width", example=40
    )
    depth: Annotated[int, Field(gt=0, le=512)] = key(1, about="its blocks; of RAE its trunk's", example=2)


class GateSpec(Spec):
    """Refuse to go on when the base's FD in `space` is further than `tolerance` from what was published.

    With `protocol: suite` it is compared with `fd`, on the suite's own samples under its guidance `guidance`. With
    `protocol: card`, or the name of a card for a checkpoint of one's own, with that card's FID on samples made as its
    authors made theirs (sampler, steps, guidance, labels, number of samples, statistics).
    """

    space: str = key(about="one of `spaces`", example="inception")
    tolerance: Positive = key(about="largest relative difference", unit="share of the published FD", example=0.1)
    protocol: str = key("suite", about="suite, card, or the name of a card", example="card")
    fd: Positive | None = key(None, about="the published FD, with `protocol: suite`", example=9.38)
    guidance: str | None = key(
        None, about="name of a `guidance`, with `protocol: suite`; left out: the first", example="none"
    )
    source: str = key("", about="who published `fd`", example="arXiv 2606.19162, table 2")
    n: Images | None = key(
        None,
        about="samples, with a card's protocol; fewer than published are cheaper and bias FD upwards",
        unit="images",
        example=10000,
    )
    statistics: str | None = key(
        None, about="local copy of the statistics file, with a card's protocol", example="in256.npz"
    )

    @model_validator(mode="after")
    def _belongs_to_its_protocol(self) -> GateSpec:
        ours, theirs = {"fd", "guidance", "source"}, {"n", "statistics"}
        if self.protocol == "suite" and self.fd is None:
            raise ValueError("state the published `fd`, or take the card's with `protocol: card`")
        for name in sorted((theirs if self.protocol == "suite" else ours) & self.model_fields_set):
            raise ValueError(f"`{name}` is no part of `protocol: {self.protocol}`")
        return self


class LatentSpec(OpenSpec):
    """The latent that a small RAE-style model is trained in; the other keys are settings of its decoder."""

    encoder: str = key(about="name of the frozen encoder, one with spatial features", example="dae")
    seed: Seed = key(0, about="of the decoder's training", example=0)


class BackboneSpec(Spec):
    """A base model: an official checkpoint, or a small one trained here by flow matching (`pretrain`)."""

    family: str = key(about="a registered backbone (`drlbench list backbones`)", example="sit")
    size: str | None = key(
        None, about="an official size; left out with `checkpoint`: read off its weights", example="sit-xl-2"
    )
    architecture: dict[Name, Any] = key(
        {},
        about="arguments of the family's constructor; classes, channels and size are the data's where left out",
        example={"hidden_size": 384, "depth": 12},
    )
    checkpoint: str | None = key(None, about="a card's name or a weights file", example="sit-xl-2-256")
    pretrain: dict[Name, Any] | None = key(
        None, about="settings of the flow matching that trains it here", example={"steps": 8000}
    )
    ema: str | bool | None = key(
        None, about="entry to take from a training checkpoint; false: the raw weights", example="model_ema1"
    )
    autoencoder: str | None = key(
        None,
        about="pixels, a card's name, or the folder of an SD-VAE or RAE; left out: the card's or the size's own",
        example="sd-vae-ft-ema",
    )
    align: str | None = key(None, about="encoder that a REPA-style model is aligned to in training", example="dae")
    latent: LatentSpec | None = key(
        None, about="makes a model trained here an RAE-style one", example={"encoder": "dae", "channels": 8}
    )
    gate: GateSpec | None = key(
        None, about="what the base must reproduce before anything is trained", example={"space": "inception"}
    )
    description: str = key("", about="what the report says of it", example="SiT-XL/2, stable-diffusion latents")

    @property
    def gate_card(self) -> str | None:
        """The card whose protocol the gate follows; None where it follows the suite's, or there is no gate."""
        if self.gate is None or self.gate.protocol == "suite":
            return None
        return str(self.checkpoint) if self.gate.protocol == "card" else self.gate.protocol
