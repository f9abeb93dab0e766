"""The figures of docs/scaling.md: `python tests/bench/scaling.py [look-ups|walk|stages|plan|ray] ...` prints tables.

Each table ends with the exponent p of cost ~ n^p, by least squares on the logarithms. Nothing here is a test.
Times are the processor's unless a column says wall, so that a busy machine tells the same.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path

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


def stages(most: int, executor: Callable[[Store], object]) -> Iterable[Sequence[float]]:
    """Real stages of a few milliseconds: processor time of the driver, and of the workers with the stages' own work."""
    for count in (n for n in (100, 300, 1000) if n <= most):
        with tempfile.TemporaryDirectory() as place:
            store, failed = Store(Path(place)), []

            def listen(what: str, node: Node, outcome: object, failed: list = failed) -> None:
                if isinstance(outcome, Outcome) and outcome.status != "made":
                    failed.append(outcome)

            before = spent(resource.RUSAGE_SELF), spent(resource.RUSAGE_CHILDREN), time.time()
            execute(tiny(count), store, executor(store), listen)  # type: ignore[arg-type] # one of two classes
            assert not failed, failed[0]
            driver, workers = spent(resource.RUSAGE_SELF) - before[0], spent(resource.RUSAGE_CHILDREN) - before[1]
            yield count, driver, workers, time.time() - before[2], driver / count * 1e3


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
    import subprocess

    suite = Path(__file__).resolve().parents[2] / "tests" / "fault" / "tiny.yaml"
    for count in (n for n in (100, 1000, 10_000) if n <= most):
        command = [sys.executable, "-c", code, str(suite), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield tuple(float(word) for word in done.stdout.split())


def local(store: Store) -> LocalExecutor:
    return LocalExecutor(Work(store.root, "cpu"), 2)


def on_ray(store: Store) -> object:
    from drlbench.run.executors.ray import RayExecutor, connect

    connect(None, 2, "cpu", 1)
    return RayExecutor(Work(store.root, "cpu"))


def main(names: Sequence[str]) -> None:
    print(f"load {os.getloadavg()[0]:.1f} of {len(os.sched_getaffinity(0))} cores")
    if "look-ups" in names:
        columns = ("artefacts", "there, CPU us", "absent, CPU us", "every file compared, CPU us")
        table("Look-ups in a store", columns, look_ups(100_000), 1)
    if "walk" in names:
        table("The driver alone", ("stages", "CPU s", "CPU ms a stage", "peak MB"), walk(100_000), 1)
    if "plan" in names:
        table("Planning", ("cells", "stages", "CPU s", "peak MB"), plans(10_000), 2)
    columns = ("stages", "driver, CPU s", "workers, CPU s", "wall, s", "driver for one, CPU ms")
    if "stages" in names:
        table("Stages of two worker processes", columns, stages(1000, local), 1)
    if "ray" in names:
        table("Stages of two Ray workers", columns, stages(1000, on_ray), 1)


if __name__ == "__main__":
    main(sys.argv[1:] or ["look-ups", "walk", "plan", "stages", "ray"])
