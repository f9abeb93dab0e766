"""How fast a device is taken to be where nothing was measured on it, and what a piece of work takes at that.

The networks that a run trains for itself are far too small to reach a device's peak: what they take is the larger of
their operations at a modest throughput and of the kernels that have to be started one after another. On a CPU the two
add up, because nothing is queued.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from drlbench.cost.arithmetic import TERA

DRAW = 5e-9
"""Seconds of one normal number on a CPU core, by torch.randn; 4.0 to 5.7 ns were measured on a Xeon."""


@dataclass(frozen=True)
class Work:
    """What a stage does.

    Attributes:
        fp32, bf16: operations on the device.
        kernels: that are started one after another.
        draws: random numbers, which are made on the CPU so that every device gets the same ones.
        host: operations on the CPU.
    """

    fp32: float = 0.0
    bf16: float = 0.0
    kernels: float = 0.0
    draws: float = 0.0
    host: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Throughput:
    """A device.

    Attributes:
        fp32, bf16: TFLOP/s on small networks. kernel: seconds to start one. host: TFLOP/s of one CPU core.
        queued: whether kernels are started while others run.
        basis: where the figures come from, for people.
    """

    device: str
    fp32: float
    bf16: float
    kernel: float
    host: float
    queued: bool
    basis: str

    def seconds(self, work: Work) -> float:
        """Of one stage by itself."""
        computing = (work.fp32 / self.fp32 + work.bf16 / self.bf16) / TERA
        starting = work.kernels * self.kernel + work.draws * DRAW
        hosted = work.host / self.host / TERA
        return (max(computing, starting) if self.queued else computing + starting) + hosted


ASSUMED = {
    "cuda": Throughput(
        "cuda", 25.0, 60.0, 8e-6, 0.03, True, "ASSUMED for an H200: 25 TFLOP/s in fp32, 60 in bf16, 8 us a kernel"
    ),
    "cpu": Throughput(
        "cpu", 0.05, 0.08, 20e-6, 0.03, False, "ASSUMED for a CPU core: 50 GFLOP/s in fp32, 80 in bf16, 20 us a kernel"
    ),
}
