"""A suite on a Ray cluster of several nodes: the same numbers as here, whatever is lost on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")
from ray_nodes import ENVIRONMENT, ROOT, Cluster, cluster, drlbench

TINY = ROOT / "tests" / "fault" / "tiny.yaml"
SMALL = ROOT / "suites" / "digits-small.yaml"
PRINTED = ("results.csv", "table.csv", "frontier.csv")


def start(folder: Path, suite: Path, out: str, *arguments: str) -> subprocess.Popen[str]:
    return drlbench(folder, "run", str(suite), "--store", f"{out}-store", "--out", out, *arguments)


def finish(process: subprocess.Popen[str]) -> str:
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return err


def on(nodes: Cluster) -> tuple[str, ...]:
    return ("--executor", "ray", "--address", nodes.address)


def digest(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in PRINTED}


def events(folder: Path) -> list[dict[str, object]]:
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def made(folder: Path) -> int:
    return sum(e["event"] == "end" and e["status"] == "made" for e in events(folder))


def until(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not what():
        assert process.poll() is None, f"it ended before: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def working(nodes: Cluster, number: int) -> list[str]:
    """What the workers of a node are doing: Ray puts a task's name into the title of its process."""
    titles = []
    for one in psutil.Process(nodes.nodes[number].pid).children(recursive=True):
        try:
            titles.append(" ".join(one.cmdline()))
        except psutil.Error:
            continue
    return [t for t in titles if t.startswith("ray::") and not t.startswith(("ray::IDLE", "ray::Reports"))]


def markers(store: Path) -> dict[str, int]:
    return {str(p.parent): p.stat().st_mtime_ns for p in store.glob("*/*/*/COMPLETE.json")}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_lost_machine_and_a_lost_head_leave_no_trace(tmp_path: Path) -> None:
    finish(start(tmp_path, SMALL, "local"))
    with cluster(2) as nodes:
        run = start(tmp_path, SMALL, "ray", *on(nodes))
        until(lambda: made(tmp_path / "ray") >= 5, run)
        until(lambda: any("drlbench" not in t and "Agent" not in t for t in working(nodes, 2)), run)
        nodes.kill(2)
        already = made(tmp_path / "ray")
        until(lambda: made(tmp_path / "ray") >= already + 8, run)
        assert nodes.nodes[2].poll() is not None and nodes.nodes[1].poll() is None
        nodes.kill(0)
        _, err = run.communicate(timeout=120)
        assert run.returncode == 6, err
        assert "the head of the Ray cluster" in err and "Traceback" not in err
        before = markers(tmp_path / "ray-store")
        attempt = len(events(tmp_path / "ray"))
    assert len(before) >= 13
    with cluster(2) as nodes:
        finish(start(tmp_path, SMALL, "ray", *on(nodes)))
    after = markers(tmp_path / "ray-store")
    assert {path: after[path] for path in before} == before, "what is finished is not made again"
    began = {e["key"] for e in events(tmp_path / "ray")[attempt:] if e["event"] == "start"}
    assert began and not began & {Path(path).name for path in before}
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")
    assert not [p for p in (tmp_path / "ray-store").rglob("*.tmp")]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ranks_on_two_machines_and_one_of_them_killed(tmp_path: Path) -> None:
    ranks = ("--ranks", "2", "--set", "algorithms.am.updates=150", "--cells", "*/drl/lambda=1/*")
    finish(start(tmp_path, TINY, "local", *ranks))
    with cluster(1) as nodes:
        run = start(tmp_path, TINY, "ray", *on(nodes), *ranks)
        until(lambda: any(t.startswith("ray::_Rank.run") for t in working(nodes, 1)), run)
        time.sleep(1.0)
        rank = nodes.processes("ray::_Rank.run")
        assert len(rank) == 2, "a process on each node"
        rank[1].kill()
        _, err = run.communicate(timeout=600)
        assert run.returncode == 1, err
        assert "rank" in err and "died (killed, or out of memory)" in err
        finish(start(tmp_path, TINY, "ray", *on(nodes), *ranks))
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")


@pytest.mark.long
def test_two_stages_that_do_not_fit_one_machine_wait_for_one_another(tmp_path: Path) -> None:
    code = (
        "import sys, time, ray\n"
        "from pathlib import Path\n"
        "from drlbench.plan.node import Node\n"
        "from drlbench.run.executors.base import Work\n"
        "from drlbench.run.executors.ray import RayExecutor\n"
        "ray.init('local', num_cpus=2, _memory=10**9, include_dashboard=False, object_store_memory=10**8)\n"
        "for share in (0.4e9, 0.6e9):\n"
        "    one = {'kind': 'pixels', 'settings': {}, 'data': {'kind': 'digits'}}\n"
        "    settings = [one | {'seed': int(share) + i} for i in (0, 1)]\n"
        "    nodes = [Node(f'{int(share)}{i}', 'encoder', 1, s, {}, 'a stage') for i, s in enumerate(settings)]\n"
        "    executor = RayExecutor(Work(Path(sys.argv[1]), 'cpu'), {n.key: share for n in nodes})\n"
        "    ends, most = [executor.submit(n) for n in nodes], 0.0\n"
        "    while not all(e.done() for e in ends):\n"
        "        most = max(most, 2 - ray.available_resources().get('CPU', 0))\n"
        "        time.sleep(0.02)\n"
        "    print([e.result().status for e in ends], int(most))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["['made', 'made'] 2", "['made', 'made'] 1"]


@pytest.mark.parametrize(
    "asked, rooms, ranks, given",
    [
        (2e9, [(8e9, 4), (8e9, 4)], 1, 2e9),
        (20e9, [(4e9, 4), (8e9, 4)], 1, 8e9),  # more than any machine has: the largest, for itself
        (6e9, [(8e9, 4)], 2, 4e9),
        (6e9, [(8e9, 1), (8e9, 1)], 2, 6e9),
        (6e9, [(8e9, 1), (2e9, 8)], 3, 1e9),
        (6e9, [(0.0, 4)], 1, 0.0),
        (6e9, [], 1, 0.0),
    ],
)
def test_no_stage_asks_for_more_memory_than_there_is(
    asked: float, rooms: list[tuple[float, int]], ranks: int, given: float
) -> None:
    from drlbench.run.executors.ray import fitting

    assert fitting(asked, rooms, ranks) == pytest.approx(given)


@pytest.mark.long
def test_ray_on_this_machine_makes_the_run_of_worker_processes_and_stops_at_a_signal(tmp_path: Path) -> None:
    few = ("--cells", "*/base/*")
    finish(start(tmp_path, TINY, "local", *few))
    run = start(tmp_path, TINY, "ray", "--executor", "ray", *few)
    until(lambda: made(tmp_path / "ray") >= 1, run)
    children = psutil.Process(run.pid).children(recursive=True)
    assert any("raylet" in " ".join(c.cmdline()) for c in children)
    run.terminate()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143, err
    assert "the same command goes on from here" in err
    gone, alive = psutil.wait_procs(children, timeout=15)
    assert gone and not alive, "Ray ends with the run that has started it"
    finish(start(tmp_path, TINY, "ray", "--executor", "ray", *few))
    assert digest(tmp_path / "ray") == digest(tmp_path / "local")


@pytest.mark.long
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_ray_starts_is_one_sentence(tmp_path: Path, stop: signal.Signals) -> None:
    run = start(tmp_path, TINY, "ray", "--executor", "ray")
    here = psutil.Process(run.pid)
    until(lambda: any("gcs_server" in " ".join(c.cmdline()) for c in here.children(recursive=True)), run)
    children = here.children(recursive=True)
    run.send_signal(stop)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 128 + stop, err
    assert err.endswith("drlbench: interrupted\n") and "Traceback" not in err and "[1/" not in err
    assert not psutil.wait_procs(children, timeout=15)[1]


@pytest.mark.long
def test_doctor_names_both_versions_where_the_head_has_another_ray(tmp_path: Path) -> None:
    code = (
        "import sys, json, ray\n"
        "from ray._private import worker\n"
        "ray.init(sys.argv[1], logging_level='error')\n"
        "kept = worker.global_worker.gcs_client\n"
        "where = (b'CLUSTER_METADATA', b'cluster')\n"
        "told = json.loads(kept.internal_kv_get(*where)) | {'ray_version': '2.1.0'}\n"
        "kept.internal_kv_put(where[0], json.dumps(told).encode(), True, where[1])\n"
    )
    with cluster(0) as nodes:
        command = [sys.executable, "-c", code, nodes.address]
        subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        asked = drlbench(tmp_path, "doctor", "--device", "cpu", "--workers", "1", "--address", nodes.address)
        out, err = asked.communicate(timeout=120)
    assert asked.returncode == 6, err
    assert "Ray: 2.1.0" in out and f"Ray: {version('ray')}" in out and "install the head's versions" in out


def test_an_address_without_a_cluster_is_a_resource_that_is_missing(tmp_path: Path) -> None:
    run = start(tmp_path, TINY, "ray", "--executor", "ray", "--address", "127.0.0.1:9")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 6, err
    assert "no Ray cluster to join" in err and "Traceback" not in err
    assert os.listdir(tmp_path) == []
