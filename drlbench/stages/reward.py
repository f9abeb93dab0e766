"""Stage: a reward: fitted here against a model's samples or on preference pairs, or a published one by name."""

from __future__ import annotations

from drlbench.registry import REWARDS
from drlbench.stages import Job
from drlbench.stages.files import CONFIG, write_description
from drlbench.store import atomic


def run(job: Job) -> None:
    """Fit or name the reward; keep it, its curves and what it reports of itself."""
    s = job.settings
    kind = REWARDS.get(s["kind"])
    reward = kind(name=s["name"], **s["settings"])
    atomic.write_json(job.out / CONFIG, {"kind": s["kind"], "name": s["name"], "settings": s["settings"]})
    atomic.write_json(job.out / "curve.json", {"step": [], "series": {}, "summary": {}})
    write_description(job.out, signature=reward.signature, report={})
