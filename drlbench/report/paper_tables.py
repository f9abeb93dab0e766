"""Tables 2-5 of arXiv 2606.19162v1 in the paper's layout, a run's numbers beside the printed ones, and figure 9's.

Tables 2 and 3 quote a lambda (and a guidance) chosen per feature space by FD, as the paper does: the best cell of a
sweep, not one checkpoint. `tables.honest_table` is the other one.
"""

from __future__ import annotations

from collections.abc import Iterable

from drlbench.report.effects import mean_over_seeds
from drlbench.report.published import Published, comparable, normal, paper_backbone, published
from drlbench.report.rundata import SUBSET, RunData
from drlbench.report.summary import plain_guidance
from drlbench.report.tables import Table

METRICS = ("fd", "fd_val", "kd_x1000", "precision", "recall", "density", "coverage")
TITLES = {
    "2": "Distances without guidance",
    "3": "Distances at the best guidance",
    "4": "Preference rewards",
    "5": "Encoder of the discriminator",
}
METHODS = ("base", "drl_lambda1", "drl_best_lambda")
Choice = tuple[str, float | None, str]  # run, lambda, guidance


def as_printed(p: Published) -> str:
    """The printed digits, with the standard error where one was printed."""
    return f"{p.value} ± {p.stderr}" if p.stderr else p.value


def paper_table(run: RunData, number: str) -> Table | None:
    """The same table from a run, `<metric>` beside `<metric> (paper)`; None when the run has none of its rows."""
    rows = list(_distances(run, number) if number in "23" else _rewards(run) if number == "4" else _encoders(run))
    if not rows:
        return None
    metrics = tuple(dict.fromkeys(m for _, _, values in rows for m in values))
    paper = comparable(run)
    header = ["backbone", "feature_space", "method", "setting", "run", "lambda", "guidance"]
    header += [name for m in metrics for name in ((m, f"{m} (paper)") if paper else (m,))]
    table = []
    for (backbone, space, method, setting), (name, lambda_, guidance), values in rows:
        row: list[object] = [backbone, space, method, setting, name, lambda_, guidance]
        for m in metrics:
            row.append(values.get(m))
            if paper:
                row.append(_printed(run, number, backbone, space, method, setting, m))
        table.append(tuple(row))
    note = "" if paper else "The paper's numbers are left out: this run is not on ImageNet's 1000 classes."
    return Table(f"Table {number}: {TITLES[number]}", tuple(header), tuple(table), note)


def statistics_table(run: RunData) -> Table | None:
    """Image statistics of every checkpoint beside the real images', as the paper counts them; None where nothing is.

    The paper prints them as figure 9 alone. A suite's `stats_per_class` measures them by its protocol.
    """
    metrics = [m for m in run.drifts if m.endswith(SUBSET)]
    if not metrics:
        return None
    guidance = plain_guidance(run)
    rows: list[tuple[object, ...]] = [
        (backbone, name, lambda_, *(_known(_value(run, backbone, (name, lambda_, guidance), "", m)) for m in metrics))
        for backbone in run.backbones
        for name in run.runs
        for lambda_ in run.lambdas(backbone, name)
    ]
    rows.append(("", "real images", None, *(_known(run.best("", m)) for m in metrics)))
    header = ("backbone", "run", "lambda", *(m.removesuffix(SUBSET) for m in metrics))
    counts = sorted({r.n for r in run.rows if r.metric in metrics})
    note = (
        f"Guidance: {guidance}. On the first samples of each class: {' or '.join(map(str, counts))} images, whose seeds"
    )
    return Table("Image statistics (figure 9)", header, tuple(rows), f"{note} all checkpoints share.")


def _known(value: float) -> float | None:
    return value if value == value else None


Found = tuple[tuple[str, str, str, str], Choice, dict[str, float]]


def _without_r1(run: RunData) -> str | None:
    """The family whose one discriminator was fitted without R1, beside `drl`; None where the run has none."""
    for name in (n for n in run.runs if n != "drl"):
        paid = dict.fromkeys(r for c in run.cells if c.run == name for r in run.optimised(c))
        rewards = [run.reward_record(r) for r in paid]
        if len(rewards) == 1 and not run.is_preference(rewards[0].name) and rewards[0].report.get("r1") == 0:
            through = [run.reward_record(r).encoders for c in run.cells if c.run == "drl" for r in run.optimised(c)]
            if rewards[0].encoders in through:
                return name
    return None


def _choices(run: RunData, backbone: str, method: str, guidances: Iterable[str]) -> list[Choice]:
    """The (run, lambda, guidance) a method may choose from.

    The paper's rows at lambda 1 have no R1: they are the family fitted without it where the run has one, and the best
    lambda is the best over both.
    """
    plain_r1 = _without_r1(run)
    names = {
        "base": ["base"],
        "drl_lambda1": [plain_r1 or "drl"],
        "drl_best_lambda": ["drl", *([plain_r1] if plain_r1 else [])],
    }.get(method, ["drl"])
    fixed = {"drl_lambda1": 1.0, "drl_lambda10": 10.0}
    return [(n, v, g) for n in names for v in run.lambdas(backbone, n) if v == fixed.get(method, v) for g in guidances]


def _value(run: RunData, backbone: str, choice: Choice, space: str, metric: str) -> float:
    return mean_over_seeds(run, backbone, *choice, space, metric).value


def _distances(run: RunData, number: str) -> Iterable[Found]:
    plain = plain_guidance(run)
    guidances = [plain] if number == "2" else list(run.guidances)
    if number == "3" and len(guidances) < 2:
        return
    setting = "no_cfg" if number == "2" else "best_cfg"
    for backbone in run.backbones:
        for space in run.spaces:
            for method in METHODS:
                options = _choices(run, backbone, method, guidances)
                scored = [(v, c) for c in options if (v := _value(run, backbone, c, space, "fd")) == v]
                if not scored:
                    continue
                choice = min(scored, key=lambda pair: pair[0])[1]
                values = {m: v for m in METRICS if (v := _value(run, backbone, choice, space, m)) == v}
                yield (backbone, space, method, setting), choice, values


def _rewards(run: RunData) -> Iterable[Found]:
    rewards = [r for r in run.rewards if run.is_preference(r)]
    for backbone in run.backbones:
        for method in ("base", "drl_lambda10"):
            for setting, guidances in (("no_cfg", [plain_guidance(run)]), ("best_cfg", list(run.guidances))):
                options = _choices(run, backbone, method, guidances)
                if not options or not rewards or (setting == "best_cfg" and len(guidances) < 2):
                    continue
                values: dict[str, float] = {}
                for r in rewards:
                    found = [v for c in options if (v := _value(run, backbone, c, "", r)) == v]
                    values |= {r: max(found)} if found else {}
                choice = options[0] if setting == "no_cfg" else (options[0][0], options[0][1], "best per reward")
                yield (backbone, "", method, setting), choice, values


def _encoders(run: RunData) -> Iterable[Found]:
    """Families whose discriminators look through different encoders, at lambda 1 and without guidance."""
    guidance = plain_guidance(run)
    arms = {name: through for name in run.runs if (through := discriminator_encoder(run, name))}
    if len(set(arms.values())) < 2:
        return
    for backbone in run.backbones:
        for space in run.spaces:
            for name, method in [("base", "base"), *((n, f"drl_lambda1:disc={e}") for n, e in arms.items())]:
                lambdas = run.lambdas(backbone, name)
                lambda_ = 1.0 if 1.0 in lambdas else None
                choice = (name, lambda_, guidance)
                values = {m: v for m in ("fd", "kd_x1000") if (v := _value(run, backbone, choice, space, m)) == v}
                if values:
                    yield (backbone, space, method, "no_cfg"), choice, values


def discriminator_encoder(run: RunData, name: str) -> str:
    """The encoders a family's discriminator looks through, joined by +, and how its fit trained them if it did.

    Empty for any other family.
    """
    rewards = dict.fromkeys(r for c in run.cells if c.run == name for r in run.optimised(c))
    records = [run.reward_record(r) for r in rewards if not run.is_preference(r)]
    if len(rewards) != 1 or not records:
        return ""
    how = records[0].encoder_training
    return "+".join(records[0].encoders) + (f" {how}" if how else "")


def _printed(run: RunData, number: str, backbone: str, space: str, method: str, setting: str, metric: str) -> str:
    name = paper_backbone(run, backbone)
    for p in published():
        here = (p.table, p.backbone, p.setting) == (number, name, setting)
        same = here and normal(p.method) == normal(method) and normal(p.feature_space) == normal(space)
        if same and normal(p.metric) == normal(metric):
            return as_printed(p)
    return ""
