"""What a stage's declaration of its cost gets to see: its settings, its inputs, and the networks behind them, counted.

Every `drlbench.stages.<kind>` has a function `cost(of: Stage) -> Work` beside its `run`, in the same terms: so many
rows of a model, images of an encoder, evaluations of a sampler. Nothing here knows a kind of stage, or an algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from drlbench.cost import networks, trainings
from drlbench.cost.model import FLOAT32, Model, Network, of_count
from drlbench.cost.networks import NotCounted, Shape, encoder_key, text
from drlbench.cost.work import Rate, Work
from drlbench.data.sources import read_dataset
from drlbench.errors import UserError
from drlbench.plan.node import Node
from drlbench.registry import BACKBONES

LARGE = 5_000_000  # weights of a reward that fills a GPU
SMALL_FILE = 0.03  # opening one and decoding the smallest image, in images of 256 x 256 pixels
HOST_KERNEL = 20e-6 * 0.03e12  # starting one on a CPU, as operations that it could do meanwhile


class Graph:
    """The stages of one suite by key, and what all of them have in common.

    Args:
        counts: of train and held-out images, where the suite says them.
    """

    def __init__(self, nodes: Mapping[str, Node], counts: tuple[int, int] | None = None) -> None:
        self.nodes, self._counts = nodes, counts
        self._bases = [n for n in nodes.values() if n.kind == "base"]

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The data entry."""
        found: Mapping[str, Any] = next((n.settings["data"] for n in self.nodes.values() if "data" in n.settings), {})
        return {k: v for k, v in found.items() if k != "fingerprint"}

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Train and held-out images."""
        if self._counts is not None:
            return self._counts
        try:
            data = read_dataset(self.data)
        except (UserError, KeyError) as error:
            raise NotCounted(f"the number of images is not known (`data.counts` can say it): {error}") from error
        return len(data.train_labels), len(data.heldout_labels)

    @cached_property
    def image(self) -> Shape:
        """(C, H, W) of the images, which are as large as what the models make."""
        for node in self._bases:
            if not node.settings.get("backbone", {}).get("latent"):
                c, h, w = networks.decoder_passes(_base_key(node, None, "")).shape
                return c, h, w
        try:
            c, h, w = read_dataset(self.data).image_shape
        except (UserError, KeyError) as error:
            raise NotCounted(f"the size of the images is not known: {error}") from error
        return c, h, w

    @cached_property
    def classes(self) -> int:
        """Of the models, and so of the data."""
        return networks.classes_of(_base_key(self._bases[0], None, "")) if self._bases else 10


class Stage:
    """One stage of a graph, for its own module."""

    def __init__(self, node: Node, graph: Graph) -> None:
        self.node, self.settings, self._graph = node, node.settings, graph

    def input(self, name: str) -> Stage:
        """The stage behind an input."""
        kind, key = self.node.inputs[name]
        if key not in self._graph.nodes:
            raise NotCounted(f"its {kind} {key[:8]} is not there")
        return Stage(self._graph.nodes[key], self._graph)

    @property
    def counts(self) -> tuple[int, int]:
        """Train and held-out images."""
        return self._graph.counts

    @property
    def image(self) -> Shape:
        """(C, H, W) of the images."""
        return self._graph.image

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return math.prod(self.image)

    @property
    def classes(self) -> int:
        """Of the data."""
        return self._graph.classes

    def reading(self, images: float) -> Work:
        """Images of the data entry read once; those in encoded form are decoded."""
        if self._graph.data["kind"] not in ("folder", "parquet", "tar"):
            return Work()
        _, height, width = self.image
        return Work(decoded=images * max(height * width / 256**2, SMALL_FILE))

    @staticmethod
    def not_counted(why: str) -> NotCounted:
        """To be raised where a stage has no cost that could be counted."""
        return NotCounted(why)

    @staticmethod
    def kept(disk: float = 0.0, scratch: float = 0.0, memory: float = 0.0, device_memory: float = 0.0) -> Work:
        """Bytes and nothing else; see `Work`."""
        return Work(disk=disk, scratch=scratch, memory=memory, device_memory=device_memory)

    @staticmethod
    def host(flops: float) -> Work:
        """Operations on the CPU, whatever the device is."""
        return Work(host=flops)

    @property
    def images(self) -> int:
        """That this samples stage makes."""
        return int(self.settings["n"]) if "n" in self.settings else self.reals()[1]

    def reals(self) -> tuple[int, int]:
        """Train and held-out images, or the part of each that this reference, or row of held-out images, takes."""
        train, heldout = self.counts
        limit = self.settings.get("limit", max(train, heldout))
        return min(train, limit), min(heldout, limit)

    def base(self) -> Stage:
        """The stage that the model behind this one goes back to."""
        found = self
        while found.node.kind == "finetune":
            found = found.input("start")
        return found

    def key(self) -> tuple[Any, ...]:
        """What names the model of this base stage to `networks`."""
        latent = self.settings.get("backbone", {}).get("latent")
        if not latent:
            return _base_key(self.node, None, "")
        return _base_key(self.node, self.image, self.input(f"encoder:{latent['encoder']}").encoder_key())

    def policy(self) -> Mapping[str, int] | None:
        """The second network that this model got on its way here from its base."""
        found = self
        while found.node.kind == "finetune":
            if "policy" in found.settings:
                given: Mapping[str, int] = found.settings["policy"]
                return given
            found = found.input("start")
        return None

    def model(
        self,
        name: str = "model",
        precision: str = "fp32",
        rank: int | None = None,
        recompute: bool = False,
        policy: Mapping[str, int] | None = None,
    ) -> Model:
        """The velocity model that is an input.

        Args:
            rank: of the low-rank updates that are trained instead of its weights.
            recompute: activations are, while training.
            policy: the second network that it gets beside its own.
        """
        found = self.input(name)
        base, policy = found.base(), policy or found.policy()
        key = base.key()
        brought = "model" in base.settings
        wide = (policy["widen"], policy["depth"]) if policy else None
        rate = Rate(networks.named(key, wide), precision, brought)
        velocity = Network(networks.network_passes(key, rank, recompute, wide), rate)
        decoder = Network(networks.decoder_passes(key), Rate(large=brought))
        return Model(velocity, decoder, networks.family(key[0]))

    def encoder_key(self) -> str:
        """What names the encoder of this stage to `networks`."""
        return encoder_key(self.settings["kind"], self.settings["settings"])

    def encoder(self, name: str = "encoder") -> Network:
        """An encoder that is an input."""
        found = self.input(name)
        passes = networks.encoder_passes(found.encoder_key(), self.image)
        return Network(passes, Rate(large=not networks.is_fitted(found.settings["kind"])))

    def own_encoder(self) -> Network:
        """The encoder that this stage makes."""
        return Network(networks.encoder_passes(self.encoder_key(), self.image))

    def encoder_training(self) -> Work:
        """All of the training of the encoder that this stage makes."""
        return of_count(trainings.encoder_training(self.encoder_key(), self.image, self.counts[0], self.classes))

    def encoding(self, images: float) -> Work:
        """Images to the latents of this base stage's model."""
        return of_count(networks.encoding(self.key(), self.image), images, calls=math.ceil(images / 512))

    def pretraining(self, settings: Mapping[str, Any]) -> Work:
        """One step of this base stage's training by flow matching."""
        align = self.settings["backbone"]["align"]
        tokens = networks.token_shape(self.input(f"encoder:{align}").encoder_key(), self.image) if align else None
        return of_count(trainings.pretraining(self.key(), text(settings), tokens), settings["batch"], calls=1)

    def decoder_training(self, batch: int) -> Work:
        """One step of the training of the autoencoder of this base stage's model."""
        return of_count(trainings.decoder_training(self.key()), batch, calls=1)

    def own_bytes(self) -> float:
        """Weights of this base stage's model in float32."""
        return float(FLOAT32 * networks.network_passes(self.key()).values)

    def own_reward(self) -> Network:
        """The reward that this stage makes."""
        return self._reward(self)

    def discriminator_step(self) -> tuple[Work, Work]:
        """A step of this stage's fit, and what R1 adds to a step that has it."""
        own, through = text(self.settings["settings"]), self.looks_through()
        rate = self.own_reward().rate
        plain, smooth = trainings.discriminator_step(own, through, self.image, self.classes)
        return of_count(plain, rate=rate), of_count(smooth, rate=rate)

    def preference_training(self) -> Work:
        """All of the training of this stage's reward on pairs, which is on the CPU."""
        count = trainings.preference_training(text(self.settings["settings"]), self.image, self.classes)
        return Work(host=count.flops + count.kernels * HOST_KERNEL, draws=count.draws)

    def looks_through(self) -> tuple[str, ...]:
        """What names the encoders of this reward's stage to `networks`."""
        return tuple(self.input(f"encoder:{name}").encoder_key() for name in self.settings["encoders"])

    def reward(self, name: str = "reward") -> Network:
        """A reward that is an input, with the encoders it looks through."""
        return self._reward(self.input(name))

    def _reward(self, found: Stage) -> Network:
        s, through = found.settings, found.looks_through()
        passes = networks.reward_passes(s["kind"], text(s["settings"]), through, self.image, self.classes)
        return Network(passes, Rate(large=passes.values > LARGE))


def _base_key(node: Node, image: Shape | None, encoder: str) -> tuple[Any, ...]:
    """Arguments of `networks.model` for a base stage."""
    if "model" in node.settings:
        s, where = node.settings["model"], node.settings["where"]
        bare = s["name"] in BACKBONES.names() and not s["architecture"]
        return (
            networks.published(where["checkpoint"]) if bare else s["name"],
            text(s["architecture"]),
            where["autoencoder"],
            None,
            "",
        )
    b = node.settings["backbone"]
    latent = b["latent"] and {k: v for k, v in b["latent"].items() if k not in ("encoder", "seed")}
    return b["size"] or b["family"], text(b["architecture"]), text(latent) if latent else "pixels", image, encoder
