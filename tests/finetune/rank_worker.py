"""One rank of a gloo group: trains a pinned algorithm and writes its rows. Started by test_ranks.py."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from golden_runs import build
from torch import distributed

from drlbench.finetune.train import train


def main() -> None:
    run, rank, ranks, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    results = {}
    for name in run.split(","):
        algorithm = build(name)
        done = train(algorithm, 10)
        total = sum(float(p.double().sum()) for p in algorithm.finished_policy().net.parameters())
        results[name] = {"rows": done, "weights": total}
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
