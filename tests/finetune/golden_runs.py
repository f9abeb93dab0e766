"""The runs whose first twenty updates are pinned; run as a script to write the golden file anew."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch
from finetune_models import TinyModel, quadratic_reward

from drlbench.finetune.base import Algorithm
from drlbench.finetune.fd_loss import Space
from drlbench.finetune.train import train
from drlbench.registry import ALGORITHMS

GOLDEN = Path(__file__).parents[1] / "golden" / "finetune" / "cpu.json"
UPDATES = 20
_SHARED = {"batch": 8, "learning_rate": 1e-2, "warmup": 5, "gradient_clip": 5.0, "ema": 0.9}
_DRAWN = {"endpoints": 16, "group": 4, "sampler_steps": 4, "passes": 2}
SETTINGS: dict[str, dict[str, object]] = {
    "adjoint-matching": {"steps": 5, "buffer": 16, "passes": 2},
    "adjoint-matching euler": {"steps": 5, "buffer": 16, "passes": 2, "integrator": "euler"},
    "adjoint-matching euler lora": {"steps": 5, "buffer": 16, "passes": 2, "integrator": "euler", "lora_rank": 2},
    "sft": {},
    "sft logit-normal": {"time": "logit-normal", "time_mean": -0.8, "time_std": 0.8},
    "ram": _DRAWN,
    "awm": _DRAWN | {"kl_weight": 0.01},
    "awm raw": _DRAWN | {"advantage": "raw", "weighting": "uniform", "kl_weight": 1.0, "anchor_weight": 0.0},
    "nft": _DRAWN | {"decay_rate": 0.1},
    "nft raw": _DRAWN | {"decay_rate": 0.1, "advantage": "raw"},
    "rwm": _DRAWN,
    "flow-grpo": _DRAWN,
    "flow-grpo memoryless": _DRAWN | {"variant": "memoryless"},
    "draft": {"sampler_steps": 4},
    "ddo": {"negatives": 16, "sampler_steps": 4},
    "fd-loss": {"population": 32, "sampler_steps": 4, "truncate": 2, "decay": 0.6},
}


def own_arguments(run: str) -> dict[str, object]:
    """What an algorithm takes beside what all of them do: fd-loss's spaces."""
    if run != "fd-loss":
        return {}
    images = torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(9))
    seen = {"pixels": lambda x: x.flatten(1), "waves": lambda x: torch.sin(3 * x.flatten(1)).cumsum(1)}
    return {"spaces": [Space(n, f, f(images).double().mean(0), f(images).double().T.cov()) for n, f in seen.items()]}


def build(run: str, **extra: object) -> Algorithm:
    generator = torch.Generator().manual_seed(5)
    data = (torch.randn(20, 1, 2, 2, generator=generator), torch.arange(20) % 3)
    kind = ALGORITHMS.get(run.split()[0])
    settings = _SHARED | SETTINGS[run] | extra
    return kind(TinyModel(), TinyModel(), quadratic_reward(), data, settings, 7, **own_arguments(run))


def rows(run: str, updates: int = UPDATES, folder: Path | None = None, **extra: object) -> list[dict[str, float]]:
    """Log rows without the clock."""
    return timeless(train(build(run, **extra), updates, folder))


def timeless(done: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in done]


def state_after(run: str, updates: int, folder: Path | None = None) -> tuple[list[dict[str, float]], bytes]:
    """Log rows without the clock, and every bit that a run has after so many updates: weights, moments, buffers."""
    algorithm = build(run)
    done = timeless(train(algorithm, updates, folder))
    return done, safetensors.torch.save({k: v.contiguous() for k, v in algorithm.state_dict().items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    content = {
        run: {name: [row[name] for row in done] for name in ("loss", "gradient_norm")}
        for run in SETTINGS
        for done in [rows(run)]
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
