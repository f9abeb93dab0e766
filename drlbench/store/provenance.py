"""Where a result comes from: code revision, package versions, hardware. No environment variables, no credentials."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import drlbench

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "transformers", "diffusers", "open_clip_torch", "torch-fidelity")


def versions() -> dict[str, str]:
    """Versions of Python, drlbench and the packages numbers depend on."""
    found = {"python": platform.python_version(), "drlbench": drlbench.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> dict[str, str]:
    """Processor, cores, memory and operating system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": f"{cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB memory",
        "system": f"{platform.system()} {platform.release()}",
    }


def git() -> dict[str, Any]:
    """Commit and cleanliness of the source tree, or nothing when drlbench was installed without one."""
    root = Path(drlbench.__file__).resolve().parent.parent

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if not (root / ".git").exists():
        return {}
    status = ask("status", "--porcelain", "--", "drlbench", "suites")
    return {"commit": ask("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}
