"""The work of every stage of a suite whose networks are small and trained here, by counted operations.

Scores are resampling in NumPy and are not counted. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drlbench.cost.arithmetic import TERA, TRAINED, forward_tflop, latent_values
from drlbench.cost.estimate import owners
from drlbench.cost.passes import passes
from drlbench.cost.small_networks import (
    Shape,
    encoder_operations,
    encoder_training_rows,
    head_operations,
    preference_operations,
)
from drlbench.cost.throughput import Work
from drlbench.sampling.counts import evaluations

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.plan.node import Node
    from drlbench.suite.schema import SuiteSpec

KERNELS_A_BLOCK, KERNELS_A_CONVNET = 30, 20  # of a forward
SAMPLED_AT_ONCE, ENCODED_AT_ONCE, KL_ROWS, KL_TIMES = 250, 250, 512, 8
KL_WATCHED = 200
R1_FORWARDS = 5  # a forward, its gradient in the pixels, and the gradient of that; counted


def image_shape(spec: SuiteSpec) -> Shape | None:
    """Of the images, by a backbone that works on pixels; None where none does."""
    for backbone in spec.backbones.values():
        a = backbone.architecture
        if backbone.checkpoint is None and backbone.latent is None and {"in_channels", "input_size"} <= set(a):
            return int(a["in_channels"]), int(a["input_size"]), int(a["input_size"])
    return (1, 8, 8) if spec.data.kind == "digits" else None


class Workload:
    """Work of the stages of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.spec, self.owner = plan, plan.spec, owners(plan)
        self.shape = image_shape(plan.spec)

    def of(self, node: Node) -> Work | None:
        """Work of one stage; None where it cannot be counted."""
        count = getattr(self, f"_{node.kind}", None)
        found: Work | None = count(node) if count is not None and self.shape is not None else None
        return found

    def _encoder(self, node: Node) -> Work | None:
        s, shape = node.settings, self.shape
        assert shape is not None
        if encoder_operations(s["kind"], s["settings"], shape) is None:
            return None
        if s["kind"] == "pixels":
            size, images = math.prod(shape), (self.spec.data.counts or [0])[0]
            return Work(fp32=2.0 * images * size**2 + 10.0 * size**3 if s["settings"]["components"] else 0.0)
        rows, each = encoder_training_rows(s["kind"], s["settings"], shape)
        kernels = TRAINED * s["settings"]["steps"] * KERNELS_A_CONVNET
        return Work(fp32=TRAINED * rows * each, kernels=kernels, draws=rows * math.prod(shape))

    def _base(self, node: Node) -> Work | None:
        backbone = node.settings.get("backbone")
        if backbone is None or backbone["pretrain"] is None:
            return None
        s = backbone["pretrain"]
        network = self._network(backbone["size"] or backbone["family"], backbone["architecture"], "fp32")
        noise = Work(
            draws=s["steps"]
            * s["batch"]
            * latent_values(backbone["size"] or backbone["family"], backbone["architecture"])
        )
        return self._times(network, s["steps"] * s["batch"] * TRAINED, s["steps"] * TRAINED) + noise

    def _reward(self, node: Node) -> Work | None:
        s, shape = node.settings, self.shape
        assert shape is not None
        own = s["settings"]
        if s["kind"] == "bradley-terry":  # on the CPU, whatever the device is
            rows = own["steps"] * 2 * own["batch"] + 2 * own["count"] * own["validation"]
            size, images = math.prod(shape), (self.spec.data.counts or [0])[0]
            annotator = 2.0 * images * size**2 + 2.0 * size**3 + 4.0 * own["count"] * size**2
            return Work(host=TRAINED * rows * preference_operations(own, shape) + annotator)
        network = self._owned(node, "fp32")
        if s["kind"] != "discriminator" or network is None:
            return None
        features = sum(self._width(name) for name in s["encoders"])
        head, through = head_operations(own, features), self._encoders(s["encoders"])
        calls = evaluations(s["sampler"], s["fake_steps"])
        made = self._times(network, s["fakes"] * calls, s["fakes"] / SAMPLED_AT_ONCE * calls)
        seen = s["fakes"] + (self.spec.data.counts or [0])[0]
        r1 = own["steps"] // own["r1_every"] * (own["r1_images"] or own["batch"] // 2) if own["r1"] else 0
        fit = seen * through + R1_FORWARDS * r1 * (through + head) + TRAINED * own["steps"] * own["batch"] * head
        return made + Work(fp32=fit, kernels=TRAINED * own["steps"] * KERNELS_A_CONVNET)

    def _finetune(self, node: Node) -> Work | None:
        s = node.settings
        found = passes(s["algorithm"], s["settings"], s["updates"])
        network = self._owned(node, s["settings"].get("precision", "fp32"))
        if found is None or network is None:
            return None
        through = sum(self._through(name) for name in s["terms"])
        work = self._times(network, found.network, found.calls) + Work(fp32=found.reward * through)
        if "watch" in s:
            w, full = s["watch"], self._owned(node, "fp32")
            assert full is not None
            rounds, calls = s["updates"] // w["every"], evaluations(w["sampler"], w["steps"])
            small = min(w["n"], KL_WATCHED)
            rows = w["n"] * calls + small * (calls + 2 * KL_TIMES)
            judged = sum(self._through(name) for name in w["rewards"]) + self._encoders(w["spaces"])
            batches = w["n"] / SAMPLED_AT_ONCE * calls + calls + 2 * small * KL_TIMES / KL_ROWS
            work += self._times(full, rounds * rows, rounds * batches) + Work(fp32=rounds * w["n"] * judged)
        return work

    def _samples(self, node: Node) -> Work | None:
        s = node.settings
        if "n" not in s:
            return Work()
        network = self._owned(node, s.get("precision", "fp32"))
        guided = 1.0 if s["cfg"] == 1 else 1 + s["high"] - s["low"]
        calls = evaluations(s["sampler"], s["steps"]) * guided
        return network and self._times(network, s["n"] * calls, s["n"] / (2 * SAMPLED_AT_ONCE) * calls)

    def _features(self, node: Node) -> Work:
        return self._encoded(self.spec.sampling.n, self._encoder_name(node))

    def _reference(self, node: Node) -> Work:
        return self._encoded(sum(self.spec.data.counts or [0]), self._encoder_name(node))

    def _preference(self, node: Node) -> Work:
        n = self.spec.sampling.n
        return Work(fp32=n * self._through(node.settings["name"]), kernels=n / ENCODED_AT_ONCE * KERNELS_A_CONVNET)

    def _kl(self, node: Node) -> Work | None:
        n, sampling, network = node.settings["n"], node.settings["sampling"], self._owned(node, "fp32")
        calls = evaluations(sampling["sampler"], sampling["steps"])
        rows = n * (calls + 2 * KL_TIMES)
        batches = n / (2 * SAMPLED_AT_ONCE) * calls + 2 * n * KL_TIMES / KL_ROWS
        return network and self._times(network, rows, batches)

    def _trajectory(self, node: Node) -> Work | None:
        s, network = node.settings, self._owned(node, "fp32")
        calls = 2 * 3 * s["settings"].get("steps", 100)  # the SDE and Heun's ODE, of the model and of its base
        return network and self._times(network, s["n"] * calls, s["n"] / SAMPLED_AT_ONCE * calls)

    def _network(self, name: str, architecture: Mapping[str, Any], precision: str) -> Work:
        """A forward of one sample, with the kernels of one call."""
        flops = forward_tflop(name, architecture) * TERA
        depth = architecture.get("depth", 1)
        kernels = KERNELS_A_BLOCK * (1 + (sum(depth) if isinstance(depth, list | tuple) else depth))
        return Work(kernels=kernels, **{precision: flops})

    def _owned(self, node: Node, precision: str) -> Work | None:
        name = self.owner.get(node.key)
        if name is None:
            return None
        backbone = self.spec.backbones[name]
        network = self._network(backbone.size or backbone.family, backbone.architecture, precision)
        return network if network.fp32 or network.bf16 else None

    @staticmethod
    def _times(network: Work, rows: float, calls: float) -> Work:
        return replace(network, fp32=network.fp32 * rows, bf16=network.bf16 * rows, kernels=network.kernels * calls)

    def _encoders(self, names: list[str]) -> float:
        assert self.shape is not None
        chosen = [self.spec.encoders[name] for name in names]
        return sum(encoder_operations(e.kind, e.settings, self.shape) or 0.0 for e in chosen)

    def _width(self, name: str) -> int:
        return int(self.spec.encoders[name].settings.get("features", 0))

    def _through(self, name: str) -> float:
        """One image through a reward."""
        assert self.shape is not None
        reward = self.spec.rewards[name]
        if reward.kind == "bradley-terry":
            return preference_operations(reward.settings, self.shape)
        seen = self._encoders(reward.encoders)
        if reward.kind == "discriminator":
            seen += head_operations(reward.settings, sum(self._width(e) for e in reward.encoders))
        return seen

    def _encoded(self, images: int, encoder: str) -> Work:
        return Work(fp32=images * self._encoders([encoder]), kernels=images / ENCODED_AT_ONCE * KERNELS_A_CONVNET)

    def _encoder_name(self, node: Node) -> str:
        key = node.inputs["encoder"][1]
        return next(name for name, encoder in self.plan.encoders.items() if encoder.key == key)
