"""The honest table (one checkpoint a row over all spaces and rewards), and tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import best_of, means
from drlbench.report.results import DATA, csv_text
from drlbench.report.rundata import CellKey, RunData
from drlbench.report.words import digits, metric_name

PRINTED = ("fd", "coverage")
# What a run paid and what of its objective it attained: of each its own reward, so that none is best.
PAID = ("kl_nats", "nats_per_reward", "attainable_share", "tilt_gap_nats")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Table:
    """Cells of text or numbers under a header; `note` says what the reader must know."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""

    def to_csv(self) -> str:
        """CSV, numbers exact, text shielded."""
        return csv_text(self.header, self.rows)

    def _numeric(self) -> list[bool]:
        return [all(isinstance(row[i], int | float | None) for row in self.rows) for i in range(len(self.header))]

    def to_markdown(self) -> str:
        """A GitHub table; pipes and angle brackets escaped, numbers right-aligned and rounded."""
        rule = _md_row(["--:" if numeric else ":--" for numeric in self._numeric()], raw=True)
        lines = [f"**{_md(self.title)}**", "", _md_row(self.header), rule]
        lines += [_md_row([as_text(v) for v in row]) for row in self.rows]
        return "\n".join([*lines, *(["", _md(self.note)] if self.note else [])]) + "\n"

    def to_latex(self) -> str:
        """A booktabs tabular with caption."""
        align = "".join("r" if numeric else "l" for numeric in self._numeric())
        body = [" & ".join(_latex(as_text(v)) for v in row) + r" \\" for row in self.rows]
        head = " & ".join(_latex(h) for h in self.header) + r" \\"
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.title)}. {_latex(self.note)}}}",
                rf"\begin{{tabular}}{{{align}}}",
                *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def as_text(value: object) -> str:
    """A cell as people read it: numbers rounded, nothing for None."""
    if value is None:
        return ""
    return digits(float(value), 4) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _md(text: str) -> str:
    for c in "\\|<>*_`[]":
        text = text.replace(c, f"\\{c}")
    return text.replace("\n", " ")


def _md_row(cells: Sequence[str], raw: bool = False) -> str:
    return "| " + " | ".join(c if raw else _md(c) for c in cells) + " |"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text.replace("\n", " "))


def checkpoint_rows(run: RunData) -> list[tuple[str, str, float | None, str, int, str]]:
    """(backbone, run, lambda, guidance, number of seeds, rewards it was trained on) of every row of the table."""
    rows = []
    measured = {(r.backbone, r.run, r.lambda_, r.guidance, r.seed) for r in run.rows}
    counted = Counter(m[:4] for m in measured)
    for backbone in run.backbones:
        for name in run.runs:
            for lambda_ in run.lambdas(backbone, name):
                cells = run.seeds(backbone, name, lambda_)
                optimised = "+".join(dict.fromkeys(r for c in cells for r in run.optimised(c)))
                for guidance in run.guidances:
                    n = counted[backbone, name, lambda_, guidance]
                    if n:
                        rows.append((backbone, name, lambda_, guidance, n, optimised))
    return rows


def numbers_of(run: RunData) -> list[tuple[str, str]]:
    """Every (space, metric) of a run: the spaces in order, then rewards, then what is left."""
    found = dict.fromkeys((r.space, r.metric) for r in run.rows)
    spaced = [k for s in run.spaces for k in found if k[0] == s]
    rewards = [("", r) for r in run.rewards]
    return spaced + rewards + [k for k in found if k not in spaced and k not in rewards]


def column(run: RunData, space: str, metric: str) -> str:
    """`fd@pixels (optimised)`: a number's name, saying whether some reward of the run had it in view."""
    if space:
        return f"{metric}@{space} ({'held out' if run.held_out_space(space) else 'optimised'})"
    if metric in run.rewards:
        return f"{metric} ({'held out' if run.held_out_reward(metric) else 'optimised'})"
    return metric


def honest_table(run: RunData) -> Table:
    """table.csv: for each number the mean over seeds, its 95 % sampling interval and the spread between seeds.

    A space is `optimised` when any reward of the run looks through it, a reward when any run maximises it; the column
    `optimised` says which rewards the row's own checkpoints were trained on. The last row holds the real images.
    """
    keys = numbers_of(run)
    header = ["backbone", "run", "lambda", "guidance", "n_seeds", "optimised"]
    for space, metric in keys:
        header += [f"{column(run, space, metric)}{end}" for end in ("", " low", " high", " seed_sd")]
    rows: list[tuple[object, ...]] = []
    for backbone, name, lambda_, guidance, n, optimised in checkpoint_rows(run):
        row: list[object] = [backbone, name, lambda_, guidance, n, optimised]
        cells = run.seeds(backbone, name, lambda_)
        samples = [run.sample(cells, guidance, space, metric)[:2] for space, metric in keys]
        for e, (values, _) in zip(means(samples), samples, strict=True):
            spread = float(values.std(ddof=1)) if len(values) > 1 else None
            row += [_known(e.value), _known(e.low), _known(e.high), spread]
        rows.append(tuple(row))
    real: list[object] = ["", DATA, None, "", 0, ""]
    for space, metric in keys:
        r = run.data_row(space, metric)
        real += [r.value, r.low, r.high, None] if r else [None] * 4
    rows.append(tuple(real))
    return Table("One checkpoint a row", tuple(header), tuple(rows))


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def printed_table(run: RunData, guidance: str) -> Table:
    """The honest table as people print it, `value ± half interval`.

    FD and coverage in every space, rewards, KL, and what was attained of the objective.
    """
    keys = printed_keys(run)
    header = ("backbone", "run", "lambda", "seeds", *(_printed_name(run, s, m) for s, m in keys))
    better = {(r.space, r.metric): r.better for r in run.rows if r.metric not in PAID}
    every, rows = checkpoint_rows(run), []
    for backbone in run.backbones:
        own = [row for row in every if (row[0], row[3]) == (backbone, guidance)]
        found = [_numbers(run, run.seeds(*row[:3]), guidance, keys) for row in own]
        best = [best_of([e[i] for e in found], better.get(key, "")) for i, key in enumerate(keys)]
        for j, (row, numbers) in enumerate(zip(own, found, strict=True)):
            cells = [plus_minus(e) + (" *" if best[i] == j else "") for i, e in enumerate(numbers)]
            rows.append((*row[:2], "" if row[2] is None else f"{row[2]:g}", str(row[4]), *cells))
    real = [run.data_row(s, m) for s, m in keys]
    rows.append(("", "real images", "", "", *(digits(r.value) if r else "" for r in real)))
    note = (
        f"Guidance: {guidance}. One checkpoint a row, the same in every column; mean over seeds ± half the 95 % "
        "sampling interval. Columns marked † are held out: nothing was trained on them. * best of its backbone, its "
        "interval over seeds clear of every other's."
    )
    return Table("One checkpoint a row", header, tuple(rows), note)


def _numbers(run: RunData, cells: Sequence[CellKey], guidance: str, keys: Sequence[tuple[str, str]]) -> list[Estimate]:
    """Means over the seeds of a row.

    Numbers without replicates (a KL, a share) have the mean of their seeds' ends, wide enough whatever the seeds share.
    """
    found = means([run.sample(cells, guidance, *key)[:2] for key in keys])
    for i, key in enumerate(keys):
        rows = [r for c in cells if (r := run.row(c, guidance, *key)) is not None and np.isfinite(r.value)]
        ends = [(r.low, r.high) for r in rows if r.low is not None and r.high is not None]
        if rows and len(ends) == len(rows) and not np.isfinite(found[i].low):
            low, high = np.mean(ends, axis=0)
            found[i] = replace(found[i], low=float(low), high=float(high))
    return found


def printed_keys(run: RunData) -> list[tuple[str, str]]:
    """(space, metric) of the printed table's columns."""
    known = numbers_of(run)
    keys = [(s, m) for m in PRINTED for s in run.spaces if (s, m) in known]
    return keys + [("", m) for m in (*run.rewards, *PAID) if ("", m) in known]


def _printed_name(run: RunData, space: str, metric: str) -> str:
    held_out = run.held_out_space(space) if space else metric in run.rewards and run.held_out_reward(metric)
    return f"{metric_name(metric)}{f' {space}' if space else ''}{'†' if held_out else ''}"


def plus_minus(e: Estimate) -> str:
    """`0.87 ± 0.04`, the value alone where no interval is known."""
    if not np.isfinite(e.value):
        return ""
    half = (e.high - e.low) / 2
    return f"{digits(e.value)} ± {digits(half, 2)}" if np.isfinite(half) else digits(e.value)
