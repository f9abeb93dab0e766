"""Stage: the base gate: before any RL, the base model's FD must be the one that was published for it."""

from __future__ import annotations

import json

from drlbench.errors import UserError
from drlbench.stages import Job
from drlbench.store import atomic


def run(job: Job) -> None:
    """Compare, and keep what was compared.

    Raises:
        UserError: the FD is further off than the tolerance; nothing that waits for the gate is started.
    """
    s = job.settings
    rows = json.loads((job.inputs["scores"] / "rows.json").read_text())
    row = next(r for r in rows if r["metric"] == "fd")
    off = abs(row["value"] - s["fd"]) / s["fd"]
    if not off <= s["tolerance"]:  # also refuses NaN
        source = f" ({s['source']})" if s["source"] else ""
        raise UserError(
            f"base gate of {s['backbone']}: FD {row['value']:.3f} in {s['space']} ({row['n']} samples, guidance "
            f"{s['guidance']}) is {off:.1%} off the stated {s['fd']:g}{source}; at most {s['tolerance']:.1%} is "
            "allowed, so no RL was started from it. Check the checkpoint, the autoencoder, the sampler and the "
            "reference images, or change `gate` if the stated value belongs to another protocol"
        )
    atomic.write_json(job.out / "gate.json", {**s, "measured": row["value"], "off": off, "signature": row["signature"]})
