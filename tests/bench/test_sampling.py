"""Throughput of sampling: images a second, and the share of the measured matrix-product peak.

On a CPU a small SiT; with CUDA the four full-size networks with random weights, eager and compiled, in bfloat16.
The arithmetic floor is the count of the forward's floating-point operations on the meta device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from drlbench.backbones import create, wrap
from drlbench.sampling.generate import sample_latents
from drlbench.sampling.guidance import ClassifierFree
from drlbench.seeds import sample_seeds

pytestmark = pytest.mark.bench

FULL_SIZE = ["sit-xl-2", "jit-h-16", "repa-sit-xl-2", "rae-ditdh-xl"]
STEPS = 10  # a fifth of the paper's 50; the cost per evaluation is the same


def forward_flops(name: str, **architecture: Any) -> int:
    """Floating-point operations of one evaluation of one sample."""
    with torch.device("meta"):
        net = create(name, **architecture)
        x, t, y = torch.empty(1, *net.latent_shape), torch.empty(1), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(x, t, y)
    return counter.get_total_flops()


def matrix_peak(device: str, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of one large matrix product, best of ten."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        synchronise(device)
        start = time.perf_counter()
        a @ b
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(benchmark: Any, run: Callable[[], Tensor], images: int, flops: int, peak: float) -> None:
    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.min
    benchmark.extra_info.update(
        images_per_second=images / seconds,
        floor_seconds=flops / peak,
        share_of_peak=flops / peak / seconds,
        peak_flops=peak,
    )


@pytest.mark.parametrize("guided", [False, True])
def test_small_network_on_a_cpu(benchmark: Any, guided: bool) -> None:
    sizes = {"input_size": 16, "hidden_size": 192, "depth": 6, "num_heads": 4, "num_classes": 10}
    model = wrap(create("sit", **sizes)).eval()
    labels, seeds = torch.arange(32) % 10, sample_seeds(0, 32)
    guidance = ClassifierFree(2.0 if guided else 1.0)
    flops = forward_flops("sit", **sizes) * 32 * (2 * STEPS - 1) * (1 + guided)
    run = lambda: sample_latents(model, labels, seeds, "heun", STEPS, guidance)  # noqa: E731
    measure(benchmark, run, 32, flops, matrix_peak("cpu", torch.float32, 1024))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="full-size networks are measured on CUDA")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_network_on_cuda(benchmark: Any, name: str, compiled: bool) -> None:
    batch = 64
    with torch.device("cuda"):
        net: nn.Module = create(name)
    model = wrap(net).eval().requires_grad_(False)  # type: ignore[arg-type]
    if compiled:
        model.net.compile()
    labels, seeds = torch.arange(batch, device="cuda"), sample_seeds(0, batch)
    flops = forward_flops(name) * batch * (2 * STEPS - 1)

    def run() -> Tensor:
        out = sample_latents(model, labels, seeds, "heun", STEPS, autocast="bfloat16")
        synchronise("cuda")
        return out

    measure(benchmark, run, batch, flops, matrix_peak("cuda", torch.bfloat16, 8192))
