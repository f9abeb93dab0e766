"""Ray's part of docs/scaling.md: `python tests/bench/scaling_ray.py [MOST]`, nodes simulated on this machine.

Each node has a core and sleeping stages, so the table says what Ray and the driver cost and not what this machine can
compute. Nothing here is a test.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from scaling import busy, table, tiny

from drlbench.run.executors import ray as executor_file
from drlbench.run.executors.base import Outcome, Work
from drlbench.run.executors.ray import RayExecutor
from drlbench.store.layout import Store

NAP = 2.0  # seconds of a stage
EACH = 8  # stages a node


def asleep(*_: Any) -> Outcome:
    time.sleep(NAP)
    return Outcome("made", NAP)


def clusters(most: int) -> Iterable[Sequence[float]]:
    for count in (n for n in (1, 2, 4, 8, 16, 32) if n <= most):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
        for _ in range(count - 1):
            cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, logging_level="error")
        try:
            yield count, *naps(count)
        finally:
            ray.shutdown()
            cluster.shutdown()


def naps(count: int) -> tuple[float, ...]:
    nodes = tiny((1 + EACH) * count)
    with tempfile.TemporaryDirectory() as place:
        executor = RayExecutor(Work(Store(Path(place)).root, "cpu"), dict.fromkeys((n.key for n in nodes), 1e8))
        wait([executor.submit(n) for n in nodes[:count]])  # every node has its worker now
        started, before, own = time.monotonic(), busy(), time.process_time()
        waiting = {executor.submit(n) for n in nodes[count:]}
        while waiting:
            _, waiting = wait(waiting, timeout=0.2)
            list(executor.progress())
        wall, used = time.monotonic() - started, busy() - before
        driver, stages = time.process_time() - own, EACH * count
        held = psutil.Process().memory_info().rss / 1e6
    return stages, wall, wall - EACH * NAP, driver / stages * 1e3, used / stages * 1e3, held


if __name__ == "__main__":
    executor_file.stage = asleep  # type: ignore[assignment] # in place of a stage's work
    print(f"load {os.getloadavg()[0]:.1f} of {len(os.sched_getaffinity(0))} cores; stages of {NAP} s, {EACH} a node")
    columns = ("nodes", "stages", "wall s", "above the naps, s", "driver, CPU ms", "all, CPU ms a stage", "driver, MB")
    table("Simulated Ray nodes", columns, clusters(int(sys.argv[1]) if sys.argv[1:] else 16), 2)
