"""One rank of a gloo group that trains a tiny SiT, compiled and sharded. Started by test_sharding_compiled.py."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from finetune_models import FunctionReward
from torch import distributed
from torch._dynamo.utils import counters

from drlbench import backbones
from drlbench.backbones.base import VelocityModel
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.train import train

UPDATES = 4
SHAPE = {
    "input_size": 4, "patch_size": 2, "in_channels": 1, "hidden_size": 12, "depth": 3, "num_heads": 3, "num_classes": 3,
    "learn_sigma": False,
}  # fmt: skip
# Two buffers, two passes over each, in chunks of a rank's four trajectories: one size for all that is compiled.
SETTINGS = {
    "steps": 4, "buffer": 8, "batch": 8, "passes": 2, "learning_rate": 1e-2, "warmup": 2, "ema": 0.9,
    "micro_batch": 4, "outlier_quantile": 0.5,
}  # fmt: skip
BOTH = {"sharding": "fsdp", "compile": True}
RUNS: dict[str, dict[str, object]] = {
    "fsdp compile": BOTH,
    "fsdp compile bf16": BOTH | {"precision": "bf16"},
    "fsdp compile recompute": BOTH | {"activation_checkpointing": True},
}


def tiny_sit(kick: float) -> VelocityModel:
    """A SiT whose gates, zero at the start, are not; `kick` moves it away from the reference."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = backbones.create("sit", **SHAPE)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.1)
        torch.manual_seed(4)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(kick * torch.randn(p.shape))
    return backbones.wrap(net, None)


def build(**extra: object) -> AdjointMatching:
    reward = FunctionReward(lambda x: -3 * (x - torch.linspace(0, 1, x.shape[1])).square().sum(1))
    return AdjointMatching(tiny_sit(0.01), tiny_sit(0.0), reward, None, SETTINGS | extra, 7)


def main() -> None:
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks, timeout=timedelta(seconds=200)
    )
    results = {}
    for name, extra in RUNS.items():
        torch._dynamo.reset()
        counters.clear()
        run = build(**extra)
        rows = train(run, UPDATES)
        results[name] = {
            "rows": rows,
            "weights": sum(float(p.double().sum()) for p in run.finished_policy().net.parameters()),
            "pieces": counters["stats"]["unique_graphs"],
            "breaks": sum(counters["graph_break"].values()),
            "held": sum(p.numel() for p in run.updater.parts),
            "whole": sum(p.numel() for name, p in run.reference.net.named_parameters() if name in run.updater.names),
        }
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
