"""What a piece of a run does, in units that do not depend on a device, and how fast devices do each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

TERA, HOUR = 1e12, 3600.0


class Rate(NamedTuple):
    """Whose operations they are ("" for all that has no rate of its own), in which precision, and whether the network
    is large enough to fill a GPU."""

    network: str = ""
    precision: str = "fp32"
    large: bool = False


SMALL = Rate()


@dataclass(frozen=True)
class Work:
    """What a stage does.

    Attributes:
        flops: operations on the device.
        kernels: that are started there one after another.
        draws: random numbers, which are made on the CPU so that every device gets the same ones.
        host: operations on one CPU core.
        decoded: encoded images (JPEG, PNG) that are read, in files that give images of 256 x 256 pixels.
        disk: bytes that are kept. scratch: bytes that lie there only while the stage runs.
        device_memory, memory: bytes at once, on the device beside activations, and on the host.
    """

    flops: Mapping[Rate, float] = field(default_factory=dict)
    kernels: float = 0.0
    draws: float = 0.0
    host: float = 0.0
    decoded: float = 0.0
    disk: float = 0.0
    scratch: float = 0.0
    device_memory: float = 0.0
    memory: float = 0.0

    def __add__(self, other: Work) -> Work:
        """One after the other: memory is the larger of the two."""
        rates = self.flops.keys() | other.flops.keys()
        return Work(
            {rate: self.flops.get(rate, 0.0) + other.flops.get(rate, 0.0) for rate in rates},
            self.kernels + other.kernels,
            self.draws + other.draws,
            self.host + other.host,
            self.decoded + other.decoded,
            self.disk + other.disk,
            max(self.scratch, other.scratch),
            max(self.device_memory, other.device_memory),
            max(self.memory, other.memory),
        )

    def times(self, count: float) -> Work:
        """So often in turn."""
        return replace(
            self,
            flops={rate: count * value for rate, value in self.flops.items()},
            kernels=count * self.kernels,
            draws=count * self.draws,
            host=count * self.host,
            decoded=count * self.decoded,
            disk=count * self.disk,
        )

    @property
    def tflop(self) -> float:
        """Operations on the device in all, 1e12."""
        return math.fsum(self.flops.values()) / TERA


NOTHING = Work()


@dataclass(frozen=True)
class Device:
    """A kind of device, for what was not measured there.

    Attributes:
        kind: "cpu" (one core, one thread) or "cuda".
        tflops: TFLOP/s by precision of networks that are too small to fill it.
        large: the same of networks that fill it.
        kernel: seconds to start one. queued: whether that happens while others run.
        host: TFLOP/s of one CPU core. draw: seconds of a normal number. decode: seconds of a JPEG of 500 x 375 pixels,
            as ImageNet's are at 256 x 256.
        start: seconds of a stage whatever it does.
    """

    kind: str
    tflops: Mapping[str, float]
    large: Mapping[str, float]
    kernel: float
    queued: bool
    host: float = 0.03
    draw: float = 5e-9
    decode: float = 0.006
    start: float = 0.2

    def rate(self, rate: Rate) -> float:
        """TFLOP/s where nothing is known of the network itself."""
        return (self.large if rate.large else self.tflops)[rate.precision]

    def seconds(self, work: Work, tflops: Mapping[Rate, float]) -> float:
        """Of one stage by itself; `tflops` are the networks' own rates, where known."""
        computing = math.fsum(value / tflops.get(rate, self.rate(rate)) for rate, value in work.flops.items()) / TERA
        starting = work.kernels * self.kernel + work.draws * self.draw
        shared = max(computing, starting) if self.queued else computing + starting
        return self.start + shared + work.host / self.host / TERA + work.decoded * self.decode


PEAK_TFLOPS = 790.0
"""bf16 matrix products on one H200, TFLOP/s, as the paper's arithmetic takes it."""

ASSUMED = {
    "cuda": Device("cuda", {"fp32": 25.0, "bf16": 60.0}, {"fp32": 45.0, "bf16": 110.0}, 8e-6, True, start=2.0),
    "cpu": Device("cpu", {"fp32": 0.05, "bf16": 0.08}, {"fp32": 0.1, "bf16": 0.1}, 20e-6, False),
}
BASIS = {
    "cuda": "ASSUMED for an H200: 25 TFLOP/s in fp32 and 60 in bf16 on small networks, 45 and 110 (14 % of the peak) "
    "on large ones, 8 us a kernel",
    "cpu": "ASSUMED for a CPU core: 50 GFLOP/s in fp32 and 80 in bf16, 100 in published networks, 20 us a kernel",
}
