"""A worker keeps the memory of freed tensors while a stage runs, and gives it back after it."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource
from pathlib import Path
import torch
from drlbench.run.executors import devices

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB: 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

torch.set_num_threads(1)
print(faults())
devices.prepare("cpu")
faults()
print(faults())
held = resident()
devices.release()
print(held - resident())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not Path("/proc/self/statm").exists(), reason="glibc on Linux only"
)
def test_freed_tensors_cost_no_pages_during_a_stage_and_hold_none_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    by_itself, kept, given_back = map(int, done.stdout.split())
    assert kept < by_itself / 10
    assert given_back > 2**25
