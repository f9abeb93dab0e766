"""A graph of stages: inputs first, failures contained, dead workers told, cached results reused."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from drlbench.plan.node import Node
from drlbench.run.executors import local
from drlbench.run.executors.base import Outcome, Work
from drlbench.run.executors.local import InProcessExecutor, LocalExecutor, default_workers, shares
from drlbench.run.schedule import execute
from drlbench.store.keys import stage_key
from drlbench.store.layout import Store

DATA = {"kind": "digits"}


def node(kind: str, settings: dict, **inputs: Node) -> Node:
    key = stage_key(kind, 1, settings, {n: i.key for n, i in inputs.items()})
    return Node(key, kind, 1, settings, {n: (i.kind, i.key) for n, i in inputs.items()}, f"{kind} {settings}")


def pixels(seed: int) -> Node:
    return node("encoder", {"kind": "pixels", "seed": seed, "settings": {}, "data": DATA})


def quiet(what: str, about: Node, outcome: Outcome | float | str | None) -> None:
    pass


def run_all(nodes: list[Node], store: Store, workers: int = 0) -> dict[str, Outcome]:
    """In so many worker processes; none: in this one, where processes prove nothing."""
    work = Work(store.root, "cpu")
    return execute(nodes, store, LocalExecutor(work, workers) if workers else InProcessExecutor(work, "cpu"), quiet)


def test_inputs_come_first_failures_stay_local_and_results_are_kept(tmp_path: Path) -> None:
    good, bad = pixels(1), node("encoder", {"kind": "pixels", "seed": 1, "settings": {"no": 1}, "data": DATA})
    nodes = [good, bad, node("reference", {"data": DATA}, encoder=good), node("reference", {"data": DATA}, encoder=bad)]
    outcomes = run_all(nodes, Store(tmp_path), 2)
    assert [outcomes[n.key].status for n in nodes] == ["made", "failed", "made", "skipped"]
    assert "unknown setting 'no'" in outcomes[bad.key].error
    again = run_all(nodes[:1] + nodes[2:3], Store(tmp_path))
    assert {o.status for o in again.values()} == {"cached"}


def test_an_altered_input_is_not_used(tmp_path: Path) -> None:
    store, good = Store(tmp_path), pixels(2)
    run_all([good], store)
    weights = store.folder(good.kind, good.key) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    user = node("reference", {"data": DATA}, encoder=good)
    outcomes = run_all([good, user], store, 1)
    assert outcomes[user.key].status == "failed"
    assert "does not match its checksum" in outcomes[user.key].error
    assert outcomes[user.key].code == 5


SCRIPT = """
import sys
from pathlib import Path
from drlbench.plan.node import Node
from drlbench.run.executors.base import Work
from drlbench.run.executors.local import LocalExecutor
from drlbench.run.schedule import execute
from drlbench.store.layout import Store
if __name__ == "__main__":
    def listen(what, node, outcome):
        if what == "end":
            print("ended", flush=True)
    settings = [{"kind": "pixels", "seed": i, "settings": {}, "data": {"kind": "digits"}} for i in range(400)]
    nodes = [Node(f"{i:064}", "encoder", 1, s, {}, str(i)) for i, s in enumerate(settings)]
    store = Store(Path(sys.argv[1]))
    execute(nodes, store, LocalExecutor(Work(store.root, "cpu"), 2), listen)
"""


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "go.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "ended\n"
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=15)
    assert len(gone) >= 2
    assert not alive


def test_workers_take_gpus_in_turn_and_see_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert shares("cuda") == [("cuda:0", "0"), ("cuda:0", "1"), ("cuda:0", "2"), ("cuda:0", "3")]
    assert shares("cuda", gpus=2) == [("cuda:0", "0"), ("cuda:0", "1")]
    assert shares("cuda", ranks=2) == [("cuda", "0,1"), ("cuda", "2,3")], "a GPU for each rank"
    assert shares("cuda", ranks=2, gpus=3) == [("cuda", "0,1")]
    assert shares("cuda:1") == [("cuda:1", None)]
    assert default_workers("cuda") == 4 and default_workers("cuda", gpus=3) == 3 and default_workers("cuda", 2) == 2
    assert default_workers("cuda:1") == default_workers("cpu", 2) == 1
    assert default_workers("cpu") == len(os.sched_getaffinity(0))


def test_gpus_that_a_scheduler_has_given_are_the_only_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5e, 7")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert shares("cuda") == [("cuda:0", "GPU-5e"), ("cuda:0", "7")]


def where(meet: str) -> tuple[str, str]:
    """The device of the worker this runs in and the GPUs it sees, once the other worker is here too."""
    Path(meet, str(os.getpid())).touch()
    for _ in range(3000):
        if len(list(Path(meet).iterdir())) == 2:
            return local._place, os.environ["CUDA_VISIBLE_DEVICES"]
        time.sleep(0.01)
    raise TimeoutError


def test_every_worker_has_the_device_it_was_given(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for share in (("cpu", "0"), ("cpu:0", "1")):
        free.put(share)
    with ProcessPoolExecutor(2, context, local._enter_worker, (context.Queue(), os.getpid(), free)) as pool:
        found = [pool.submit(where, str(tmp_path)) for _ in range(2)]
        assert sorted(f.result(timeout=60) for f in found) == [("cpu", "0"), ("cpu:0", "1")]
