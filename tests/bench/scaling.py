"""The figures of docs/scaling.md: `python tests/bench/scaling.py [look-ups|walk|plan|page|stages|ray] ...`.

Each table ends with the exponent p of cost ~ n^p, by least squares on the logarithms. Nothing here is a test.
Times are the processor's unless a column says wall, so that a busy machine tells the same.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import psutil

from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, Work
from drlbench.run.executors.local import LocalExecutor
from drlbench.run.schedule import execute
from drlbench.store import atomic, records
from drlbench.store.keys import stage_key
from drlbench.store.layout import Store


def key_of(number: int) -> str:
    return stage_key("encoder", 1, {"number": number}, {})


def fit(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """p of cost ~ n^p."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[float]], fitted: int) -> None:
    """Print as Markdown, row by row; the fit is of the column `fitted`."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---:|' * len(columns)}", flush=True)
    seen = []
    for row in rows:
        print("| " + " | ".join(f"{v:,.4g}" if v < 1e4 else f"{v:,.0f}" for v in row) + " |", flush=True)
        seen.append(row)
    p = fit([r[0] for r in seen], [r[fitted] for r in seen])
    print(f"\n{columns[fitted]} ~ {columns[0]}^{p:.2f}", flush=True)


def fabricate(store: Store, first: int, last: int) -> None:
    """Finished stages with one small file each, written without the care that real ones take."""
    data = json.dumps(0.1)
    for number in range(first, last):
        key = key_of(number)
        folder = store.folder("encoder", key)
        folder.mkdir(parents=True)
        (folder / "seconds.json").write_text(data)
        files = {"seconds.json": atomic.describe(folder / "seconds.json")}
        (folder / atomic.MARKER).write_text(records.sealed({"key": key, "kind": "encoder", "files": files}))


def look_ups(most: int) -> Iterable[Sequence[float]]:
    with tempfile.TemporaryDirectory() as place:
        store, there = Store(Path(place)), 0
        for count in (10**e for e in range(2, round(math.log10(most)) + 1)):
            fabricate(store, there, count)
            there = count
            step = max(count // 500, 1)
            keys = [key_of(n) for n in range(0, count, step)]
            absent = [key_of(n) for n in range(count, count + len(keys))]
            yield (
                count,
                _each(lambda k: store.has("encoder", k), keys),
                _each(lambda k: store.has("encoder", k), absent),
                _each(lambda k: atomic.check(store.folder("encoder", k), k), keys),
            )


def _each(what: Callable[[str], object], keys: Sequence[str]) -> float:
    """Microseconds of processor time of one, the best of three rounds."""
    best = math.inf
    for _ in range(3):
        started = time.process_time()
        for key in keys:
            what(key)
        best = min(best, (time.process_time() - started) / len(keys))
    return best * 1e6


class Instant:
    """An executor whose stages take no time and leave nothing."""

    slots = 1000

    def submit(self, node: Node) -> Future[Outcome]:
        done: Future[Outcome] = Future()
        done.set_result(Outcome("made"))
        return done

    def progress(self) -> list[tuple[str, float]]:
        return []

    def close(self, at_once: bool) -> None:
        pass


def silent(what: str, node: Node, outcome: object) -> None:
    pass


def chains(count: int) -> list[Node]:
    """Stages in chains of four, as cells are."""
    nodes: list[Node] = []
    for number in range(count):
        before = {"before": (nodes[-1].kind, nodes[-1].key)} if number % 4 else {}
        nodes.append(Node(key_of(number), "encoder", 1, {}, before, str(number)))
    return nodes


def walk(most: int) -> Iterable[Sequence[float]]:
    """The driver alone: order, look-ups and leases of stages that take no time."""
    for count in (n for n in (100, 1000, 10_000, 100_000) if n <= most):
        nodes = chains(count)
        with tempfile.TemporaryDirectory() as place:
            started = time.process_time()
            execute(nodes, Store(Path(place)), Instant(), silent)
            seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        yield count, seconds, seconds / count * 1e3, peak


def tiny(count: int) -> list[Node]:
    data = {"kind": "digits"}
    settings = [{"kind": "pixels", "seed": i, "settings": {}, "data": data} for i in range(count)]
    return [Node(stage_key("encoder", 1, s, {}), "encoder", 1, s, {}, str(i)) for i, s in enumerate(settings)]


def spent(who: int) -> float:
    """Processor seconds of this process, or of those that it has started and seen end."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def alone(count: int) -> tuple[float, float]:
    """Seconds of wall and of processor that the work of one of `tiny` takes without a store; the medians."""
    import torch

    from drlbench.run.executors.devices import run_stage
    from drlbench.stages import Job

    torch.set_num_threads(1)
    took = []
    for node in tiny(count + 1):
        with tempfile.TemporaryDirectory() as place:
            started, before = time.monotonic(), time.process_time()
            run_stage(node.kind, Job(node.settings, {}, Path(place), Path(place) / "partial", "cpu", lambda done: None))
            took.append((time.monotonic() - started, time.process_time() - before))
    return sorted(t for t, _ in took[1:])[count // 2], sorted(t for _, t in took[1:])[count // 2]


def busy() -> float:
    """Processor seconds so far of this process and of all that lives below it: workers, and what Ray has started."""
    total = 0.0
    for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            used = one.cpu_times()
            total += used.user + used.system
    return total


def stages(most: int, executor: Callable[[Store, int], object], workers: int) -> Iterable[Sequence[float]]:
    """Real stages of a few milliseconds, timed from the first one's end: workers have started by then."""
    for count in (n for n in (100, 300, 1000) if n <= most):
        with tempfile.TemporaryDirectory() as place:
            store, failed, ends = Store(Path(place)), [], []
            at = (workers, count)  # ends at which all processes are looked at

            def listen(
                what: str, node: Node, outcome: object, failed: list = failed, ends: list = ends, at: tuple = at
            ) -> None:
                if isinstance(outcome, Outcome):
                    ends.append((time.monotonic(), spent(resource.RUSAGE_SELF), busy() if len(ends) + 1 in at else 0.0))
                    if outcome.status != "made":
                        failed.append(outcome)

            execute(tiny(count), store, executor(store, workers), listen)  # type: ignore[arg-type] # one of two classes
            assert not failed, failed[0]
        first, last = ends[workers - 1], ends[-1]
        wall, driver, everything = ((last[i] - first[i]) / (count - workers) * 1e3 for i in range(3))
        own = [1e3 * seconds for seconds in alone(50)]
        yield count, last[0] - first[0], wall * workers, own[0], driver, everything, everything - own[1]


def plans(most: int) -> Iterable[Sequence[float]]:
    """Planning so many cells, in a process each for its memory."""
    code = (
        "import sys, time, resource\n"
        "from pathlib import Path\n"
        "from drlbench.suite.load import load_suite\n"
        "from drlbench.plan.pipeline import lay_out\n"
        "started = time.process_time()\n"
        "lambdas = [round(0.5 + i / 1000, 3) for i in range(int(sys.argv[2]))]\n"
        "suite = load_suite(Path(sys.argv[1]), (f'runs.drl.lambda={lambdas}',))\n"
        "plan = lay_out(suite)\n"
        "print(len(plan.cells), len(plan.nodes), time.process_time() - started,"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)\n"
    )
    suite = Path(__file__).resolve().parents[2] / "tests" / "fault" / "tiny.yaml"
    for count in (n for n in (100, 1000, 10_000) if n <= most):
        yield told([sys.executable, "-c", code, str(suite), str(count)])


def page(most: int) -> Iterable[Sequence[float]]:
    """Tables, figures and page of a run of so many cells, each under 37 guidances, in a process each."""
    code = (
        "import sys, time, resource\n"
        "from pathlib import Path\n"
        "from paper_runs import SPACES, cell, row, write_run\n"
        "from drlbench.report.build import build_report\n"
        "cells = [cell('base', None), *(cell('drl', 0.1 * i) for i in range(1, int(sys.argv[2])))]\n"
        "sweep = [('none', 1.0), *((f'cfg{i}', 1 + i / 9) for i in range(1, 37))]\n"
        "rows = [row(c, s, m, 9 + (g[1] - 2) ** 2 + i / 9, g)"
        " for i, c in enumerate(cells) for s in SPACES for m in ('fd', 'fd_val', 'kd_x1000') for g in sweep]\n"
        "write_run(Path(sys.argv[1]), cells, rows)\n"
        "started = time.process_time()\n"
        "build_report(Path(sys.argv[1]))\n"
        "size = (Path(sys.argv[1]) / 'report.html').stat().st_size / 1e6\n"
        "print(len(cells), len(rows), time.process_time() - started, size,"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)\n"
    )
    made_up = str(Path(__file__).resolve().parents[1] / "report")
    for count in (n for n in (13, 26, 52) if n <= most):
        with tempfile.TemporaryDirectory() as place:
            paths = os.pathsep.join([made_up, os.environ.get("PYTHONPATH", "")])
            yield told([sys.executable, "-c", code, f"{place}/run", str(count)], os.environ | {"PYTHONPATH": paths})


def told(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, ...]:
    """The numbers that a process prints last."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(float(word) for word in done.stdout.splitlines()[-1].split())


def local(store: Store, workers: int) -> LocalExecutor:
    return LocalExecutor(Work(store.root, "cpu"), workers)


def on_ray(store: Store, workers: int) -> object:
    from drlbench.run.executors.ray import RayExecutor, connect

    connect(None, workers, "cpu", 1)
    return RayExecutor(Work(store.root, "cpu"), dict.fromkeys((n.key for n in tiny(1000)), 7e8))


def main(names: Sequence[str]) -> None:
    print(f"load {os.getloadavg()[0]:.1f} of {len(os.sched_getaffinity(0))} cores")
    if "look-ups" in names:
        columns = ("artefacts", "there, CPU us", "absent, CPU us", "every file compared, CPU us")
        table("Look-ups in a store", columns, look_ups(100_000), 1)
    if "walk" in names:
        table("The driver alone", ("stages", "CPU s", "CPU ms a stage", "peak MB"), walk(100_000), 1)
    if "plan" in names:
        table("Planning", ("cells", "stages", "CPU s", "peak MB"), plans(10_000), 2)
    if "page" in names:
        table("Report", ("cells", "rows", "CPU s", "page MB", "peak MB"), page(52), 2)
    columns = ("stages", "wall s", "of a stage, ms", "its work, ms", "driver, CPU ms", "all, CPU ms", "above its work")
    for workers in (1, 2):
        if "stages" in names:
            table(f"Stages of {workers} worker processes", columns, stages(1000, local, workers), 1)
        if "ray" in names:
            table(f"Stages of {workers} Ray workers", columns, stages(1000, on_ray, workers), 1)


if __name__ == "__main__":
    main(sys.argv[1:] or ["look-ups", "walk", "plan", "page", "stages", "ray"])
