"""What run.json says of a suite's cells, spaces, rewards and backbones: from the suite, and from what stages say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drlbench.errors import IntegrityError
from drlbench.run.reading import Reader
from drlbench.suite.cells import matched, origin, policy, teacher

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Plan
    from drlbench.plan.node import Node

ROUGH = 0.5  # cosine of a reward's gradients below which a run warns (docs/cifar10.md: .32 where nothing moved)


def cell_entry(plan: Plan, reader: Reader, cell: CellPlan, kl: float | None, grids: dict[str, str]) -> dict[str, Any]:
    """One cell.

    Args:
        kl: nats from its base, where that was measured.
        grids: guidance -> path of its picture.
    """
    spec = plan.spec.runs[cell.cell.run]
    needed = [cell.model, *(n for m in cell.measured.values() for n, _ in m.numbers()), *([cell.kl] if cell.kl else [])]
    trained = [n for _, n in cell.training if reader.has(n)]
    terms = [*spec.with_, *([spec.reward] if spec.reward else [])]
    start = origin(plan.spec, cell.cell)
    if start is not None and (reward := plan.spec.runs[start.run].reward):
        terms.append(reward)
    settings = plan.spec.algorithms[spec.algorithm].settings if spec.algorithm else {}
    return {
        "id": cell.cell.id,
        "backbone": cell.cell.backbone,
        "run": cell.cell.run,
        "reward": spec.reward,
        "algorithm": plan.spec.algorithms[spec.algorithm].kind if spec.algorithm else None,
        "lambda": cell.cell.lambda_,
        "seed": cell.cell.seeds,
        "model": [cell.model.kind, cell.model.key],
        "status": "ok" if all(map(reader.has, needed)) else "missing",
        "error": "",
        "optimised": terms,
        "start": None if start is None else start.id,
        "teacher": None if (source := teacher(plan.spec, cell.cell)) is None else source.id,
        "settings": {k: settings[k] for k in ("integrator", "steps") if k in settings},
        "policy": None if (added := policy(plan.spec, cell.cell)) is None else added.model_dump(),
        "updates": next((n.settings["updates"] for _, n in cell.training if n.kind == "finetune"), None),
        "matched": None if (equal := matched(plan.spec, cell.cell)) is None else equal.id,
        "seconds": round(sum(_seconds(reader, n) for n in trained), 1),
        "training_seconds": round(
            sum(reader.described(n).get("training_seconds", 0.0) for n in trained if n.kind == "finetune"), 1
        ),
        "kl_nats": kl,
        "grids": grids,
    }


def space_entry(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    """One space, and whether a reward looks through it."""
    used = looked_through(plan)
    about = reader.described(plan.encoders[name])
    return {
        "name": name,
        "kind": plan.spec.encoders[name].kind,
        "dim": about.get("dim"),
        "signature": about.get("signature", ""),
        "held_out": name not in used,
        "kin": _kin(plan, reader, name, used),
    }


def reward_entry(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    """One reward, and whether a run maximises it."""
    about = reader.described(plan.rewards[name]) if name in plan.rewards else {}
    settings = plan.spec.rewards[name].settings
    trained = {"scratch": "from scratch"}.get(settings.get("encoder_weights", ""), "fine-tuned")
    return {
        **({"encoder_training": trained} if settings.get("encoder_learning_rate") else {}),
        "name": name,
        "kind": plan.spec.rewards[name].kind,
        "held_out": name not in _optimised(plan),
        "description": plan.spec.rewards[name].description,
        "encoders": plan.spec.rewards[name].encoders,
        "signature": about.get("signature", ""),
        "report": {**about.get("report", {}), **{k: v for k, v in settings.items() if k == "r1"}},
    }


def backbone_entry(plan: Plan, reader: Reader, name: str) -> dict[str, Any]:
    """One backbone; its size where the plan has the base itself."""
    spec = plan.spec.backbones[name]
    base = next((c.model for c in plan.cells if c.cell.backbone == name and not c.training), None)
    about = reader.described(base) if base else {}
    return {"name": name, "family": spec.family, "parameters": about.get("parameters"), "description": spec.description}


def weights_taken(plan: Plan, reader: Reader) -> dict[str, None]:
    """Per base from a checkpoint, which copy of its weights was taken, where there was anything to choose."""
    found: dict[str, None] = {}
    for node in plan.nodes.values():
        if node.kind == "base" and (note := reader.described(node).get("weights")):
            found[f"{node.label}: {note}"] = None
    return found


def rough_rewards(plan: Plan, reader: Reader) -> dict[str, None]:
    """Per discriminator whose gradient turns within a few grey levels of noise, that it can hardly be followed."""
    found: dict[str, None] = {}
    for node in plan.nodes.values():
        if node.kind == "reward":
            cosine = reader.described(node).get("report", {}).get("gradient_cosine", 1.0)
            if cosine < ROUGH:
                found[
                    f"{node.label}: its gradient turns within 4 grey levels of noise (cosine {cosine:.2f}), so that "
                    "adjoint matching can hardly follow it; `noise` or a higher `r1` smooths it"
                ] = None
    return found


def looked_through(plan: Plan) -> set[str]:
    """Spaces that a maximised reward or an algorithm looks through."""
    spec = plan.spec
    own = {e for run in spec.runs.values() if run.algorithm for e in spec.algorithms[run.algorithm].encoders}
    return own | {e for r in _optimised(plan) for e in spec.rewards[r].encoders}


def _kin(plan: Plan, reader: Reader, name: str, used: set[str]) -> str:
    """What a held-out space shares with the spaces that rewards look through; empty when nothing is known."""

    def taught(encoder: str) -> str:
        return str(reader.described(plan.encoders[encoder]).get("learned_from", ""))

    others = [other for other in sorted(used - {name}) if taught(other) == taught(name)]
    return f"{taught(name)}, as {', '.join(others)}" if taught(name) and others and name not in used else ""


def _optimised(plan: Plan) -> set[str]:
    """Rewards that some run of the suite maximises."""
    return {r for run in plan.spec.runs.values() for r in [*run.with_, *([run.reward] if run.reward else [])]}


def _seconds(reader: Reader, node: Node) -> float:
    try:
        return reader.record(node, "seconds.json", float)
    except IntegrityError:
        return 0.0  # noted
