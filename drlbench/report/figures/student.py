"""A flow-matching student beside its DRL teacher (the paper's Figure 10), and the gap of a distillation (4)."""

from __future__ import annotations

import math

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Picture,
    fd_name,
    file_name,
    footnote,
    new_figure,
    run_styles,
)
from drlbench.report.fronts import BASE
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import RunData

Line = tuple[str, str, float | None]  # what is written, family, lambda


def student_of_teacher(run: RunData, guidance: str) -> list[Picture]:
    """FD of the base, the teacher, its student and the control in every space, and how much of the gain is kept."""
    pictures = []
    for backbone in run.backbones:
        taught = [c for c in run.cells if c.backbone == backbone and run.cell_record(c).teacher]
        if not taught:
            continue
        teachers = [c for c in run.cells if c.id in {run.cell_record(t).teacher for t in taught}]
        lines: list[Line] = [(BASE, BASE, None)]
        lines += dict.fromkeys((f"{c.run} (teacher)", c.run, c.lambda_) for c in teachers)
        lines += dict.fromkeys((f"{c.run} (student)", c.run, c.lambda_) for c in taught)
        seen = {family for _, family, _ in lines}
        controls = [n for n in run.runs if n not in seen and run.lambdas(backbone, n) == (None,)]
        lines += [(f"{n} (control)", n, None) for n in controls]
        note = f"{backbone}. {_kept(run, backbone, lines, guidance)}"
        caption = f"FD of {backbone}: a flow-matching student beside its DRL teacher"
        pictures.append(_dots(run, backbone, lines, guidance, f"student_{file_name(backbone)}", caption, note))
    return pictures


def _kept(run: RunData, backbone: str, lines: list[Line], guidance: str) -> str:
    """How much of the teacher's gain the student keeps, on a logarithmic scale, space by space."""
    teacher = next((x for x in lines if x[0].endswith("(teacher)")), None)
    student = next(x for x in lines if x[0].endswith("(student)"))
    if teacher is None:
        return ""
    said = []
    for space in run.spaces:
        base, best, own = (
            mean_over_seeds(run, backbone, n, w, guidance, space, "fd").value
            for _, n, w in (lines[0], teacher, student)
        )
        if min(base, best, own) > 0 and best < base:
            said.append(f"{space} {math.log(base / own) / math.log(base / best):.0%}")
    return f"Share of the teacher's gain in log FD that {student[1]} keeps: {', '.join(said)}. " if said else ""


def distillation_gap(run: RunData, guidance: str) -> list[Picture]:
    """FD of every run to the samples of its data's teacher, and the floor: other samples of that teacher."""
    teacher = run.record.teacher
    if not teacher:
        return []
    pictures = []
    for backbone in run.backbones:
        lines: list[Line] = []
        for name in run.runs:
            weight = headline_lambda(run, backbone, name, guidance) if run.lambdas(backbone, name) else None
            lines += [(name if weight is None else f"{name} λ={weight:g}", name, weight)]
        note = f"{backbone}, student of {teacher}. Dotted: the teacher itself (other samples of it), the floor. "
        caption = f"FD of {backbone} to samples of its teacher {teacher}"
        pictures.append(_dots(run, backbone, lines, guidance, f"distillation_{file_name(backbone)}", caption, note))
    return pictures


def _dots(run: RunData, backbone: str, lines: list[Line], guidance: str, name: str, caption: str, note: str) -> Picture:
    """One panel per space, one line per run: FD with its sampling interval, and the data's own FD as a dotted line."""
    look = run_styles(run)
    figure, grid = new_figure(1.5 + 2.4 * len(run.spaces), 0.9 + 0.34 * len(lines), 1, len(run.spaces))
    for column, (space, axes) in enumerate(zip(run.spaces, grid[0], strict=True)):
        for y, (_, family, weight) in enumerate(lines):
            e: Estimate = mean_over_seeds(run, backbone, family, weight, guidance, space, "fd")
            if math.isfinite(e.low):
                axes.plot([e.low, e.high], [-y, -y], color=look[family].light, lw=3, alpha=0.4, solid_capstyle="butt")
            if math.isfinite(e.value):
                axes.plot([e.value], [-y], look[family].marker, color=look[family].light, mfc="white", ms=6)
        if (floor := run.data_row(space, "fd")) is not None and math.isfinite(floor.value):
            axes.axvline(floor.value, color=MUTED, lw=1.2, ls=":")
        axes.set_xlim(left=0)
        axes.set_ylim(-len(lines) + 0.4, 0.6)
        axes.set_yticks([-y for y in range(len(lines))], [told for told, _, _ in lines] if column == 0 else [])
        axes.grid(axis="y", visible=False)
        axes.set_title(fd_name(run, space), loc="left")
        axes.set_xlabel("FD (left is better)")
    floor_note = "" if "floor" in note else "Dotted: held-out images. "
    footnote(figure, f"{note}{floor_note}Bars 95 % sampling interval. {DAGGER} held out. Guidance: {guidance}.")
    return Picture(name, caption, figure)
