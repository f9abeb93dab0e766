"""On a device that only pretends, everything that trains and samples runs, and gives the numbers of the CPU.

What a GPU would refuse is refused there too: see `pretend_device.py`. The processes are their own, because the name of
a device is registered for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

# What the pretence is built from is private to torch, and changes.
pytestmark = pytest.mark.skipif(torch.__version__ < torch.torch_version.TorchVersion("2.14"), reason="an older torch")
HERE = Path(__file__).parent
Told = dict[str, Any]
# Adam's first steps are signs of gradients: a weight whose gradient is rounding moves either way.
CLOSE, CLOSE_IN_BF16 = 5e-3, 0.25


def drive(script: str, *arguments: str) -> list[Told]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[Told], least: int) -> None:
    assert len(found) >= least
    broken = {told["scenario"]: told["error"] for told in found if "error" in told}
    assert not broken, "\n".join(f"{name}: {error}" for name, error in broken.items())
    unseeded = {told["scenario"]: told["unseeded"] for told in found if told.get("unseeded")}
    assert not unseeded, "drawn from the device's global generator"
    for told in found:
        if "difference" in told:
            limit = CLOSE_IN_BF16 if "autocast" in told["scenario"] else CLOSE
            assert told["difference"] <= limit, told


def test_every_road_of_the_engine_runs_on_a_device():
    """One of each kind: buffers on device and host, recomputation, LoRA, autocast, restored state, fits, samplers."""
    wanted = (
        "adjoint-matching host buffer", "adjoint-matching checkpointing", "adjoint-matching lora autocast", "sft",
        "nft", "awm raw", "flow-grpo memoryless", "discriminator r1", "discriminator encoders", "small encoders",
        "kl", "sampling jit official", "sampling rae euler",
    )  # fmt: skip
    check(drive("pretend_device_run.py", *wanted), 15)


@pytest.mark.long
def test_every_algorithm_setting_and_sampler_runs_on_a_device():
    check(drive("pretend_device_run.py"), 60)


@pytest.mark.long
def test_every_stage_of_a_suite_runs_on_a_device():
    found = drive("pretend_device_suite.py")
    check([told for told in found if "scenario" in told], 150)
    stages = [told for told in found if "stage" in told]
    assert len(stages) > 75
    for told in stages:
        assert told["difference"] < 1e-6, told


def test_the_pretence_refuses_what_a_gpu_refuses():
    found = {told["what"]: told for told in drive("pretend_device_run.py", "--refusals")}
    assert len(found) == 10
    for what, told in found.items():
        assert told["refused"], what
