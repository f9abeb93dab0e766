"""A Ray cluster of several nodes on this machine: each a `ray start` of its own, so that it can be killed alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}  # of these clusters, which end with the test
ENVIRONMENT = os.environ | TOKEN | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Nodes by number: 0 is the head."""

    def __init__(self, folder: Path, workers: int, cpus: int = 1) -> None:
        self.folder, self.cpus, self.port = folder, cpus, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        try:
            self.start_head()
            for _ in range(workers):
                self.join()
        except BaseException:
            self.end()
            raise

    def start_head(self) -> None:
        self._start("--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}")

    def join(self) -> None:
        self._start(f"--address={self.address}")

    def _start(self, *arguments: str) -> None:
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command = [*ray, f"--num-cpus={self.cpus}", "--object-store-memory=80000000", *arguments]
        log = self.folder / f"node{len(self.nodes)}.log"
        with log.open("wb") as file:
            # A session of its own: what Ctrl-C and `kill` hit is the run, not the cluster.
            process = subprocess.Popen(
                command, env=ENVIRONMENT, stdout=file, stderr=file, start_new_session=True, cwd=self.folder
            )
        self.nodes.append(process)
        deadline = time.monotonic() + 180
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, "no node"
            time.sleep(0.2)

    def kill(self, number: int) -> None:
        """SIGKILL to a node and everything it has started."""
        process = self.nodes[number]
        assert process.poll() is None, "it had ended before it could be killed"
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with suppress(psutil.Error):
                one.send_signal(signal.SIGKILL)
        process.wait()

    def processes(self, words: str) -> list[psutil.Process]:
        """Processes of the cluster whose title or command has these words."""
        found = []
        for node in self.nodes:
            if node.poll() is None:
                for one in psutil.Process(node.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if words in " ".join(one.cmdline()):
                            found.append(one)
        return found

    def end(self) -> None:
        for number, process in enumerate(self.nodes):
            if process.poll() is None:
                self.kill(number)


@contextmanager
def cluster(workers: int, cpus: int = 1) -> Iterator[Cluster]:
    """The head and so many further nodes; all of them are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets have short names only
    nodes = None
    try:
        nodes = Cluster(folder, workers, cpus)
        yield nodes
    finally:
        if nodes is not None:
            nodes.end()
        shutil.rmtree(folder, ignore_errors=True)


def drlbench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "drlbench", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
