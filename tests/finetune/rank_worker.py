"""One rank of a gloo group: trains pinned algorithms and writes their rows. Started by test_ranks.py."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from golden_runs import SETTINGS, build, rows
from torch import distributed

from drlbench.errors import UserError
from drlbench.finetune.train import train

UPDATES = 6
WHOLE = list(SETTINGS)
SHARDED = [run for run in SETTINGS if "lora" not in run]
EXTRA: dict[str, dict[str, object]] = {
    # Chunks of 3 rows settle the outlier mask in a second pass, of which the ranks have unequally many rows.
    "adjoint-matching": {"micro_batch": 3, "outlier_quantile": 0.5},
    "draft": {"truncate": 2},
}


def main() -> None:
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    results = {}
    for sharding, runs in (("none", WHOLE), ("fsdp", SHARDED)):
        for run in runs:
            algorithm = build(run, sharding=sharding, **EXTRA.get(run, {}))
            done = train(algorithm, UPDATES)
            total = sum(float(p.double().sum()) for p in algorithm.finished_policy().net.parameters())
            held = sum(p.numel() for p in algorithm.updater.parts)
            results[f"{run}/{sharding}"] = {"rows": done, "weights": total, "held": held}
    for run in ("adjoint-matching", "nft"):
        place = folder / run
        rows(run, 3, place, sharding="fsdp")
        again = rows(run, UPDATES, place, sharding="fsdp")
        unbroken = rows(run, UPDATES, sharding="fsdp")
        results[f"{run}/resumed"] = {"same": again == unbroken, "states": len(list(place.glob("state-*")))}
    for run, extra in (("adjoint-matching euler lora", {}), ("sft", {"batch": 7})):
        try:
            build(run, sharding="fsdp", **extra)
        except UserError as error:
            results[f"{run}/refused"] = str(error)
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
