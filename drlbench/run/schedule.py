"""Walk a graph of stages: inputs before users, each stage made by one process of all that share the store.

Executors only carry stages out. The cost of a stage here does not grow with their number.
"""

from __future__ import annotations

import heapq
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from drlbench.errors import Locked
from drlbench.plan.node import Node
from drlbench.run.executors.base import Executor, Listener, Outcome, WorkerLost
from drlbench.run.signals import stopped
from drlbench.store import lease
from drlbench.store.layout import Store

TURN = 0.2  # seconds between looks at progress and at what other runs are making
SEEN = ("failed", "skipped")


def execute(nodes: Sequence[Node], store: Store, executor: Executor, listen: Listener) -> dict[str, Outcome]:
    """Make every stage whose result is not in the store, up to `executor.slots` at a time.

    A stage that another live run is making is waited for and taken. A failed stage never stops the others; its users
    are `skipped`. The executor is closed, whatever happens.

    Args:
        nodes: the stages in an order in which inputs come before their users.
        listen: called with ("start" | "progress" | "wait" | "takeover" | "end", node, outcome, fraction or text).

    Returns:
        key -> outcome for every node.

    Raises:
        Locked: this process was away for so long that another one took a stage over.
    """
    walk = _Walk(nodes, store, executor, listen)
    try:
        while walk.open:
            walk.begin()
            walk.follow()
    except BaseException:
        executor.close(at_once=True)
        raise
    else:
        executor.close(at_once=False)
    finally:
        for held in walk.leases.values():
            held.release()
    return walk.outcomes


class _Walk:
    """The state of one walk over the graph."""

    def __init__(self, nodes: Sequence[Node], store: Store, executor: Executor, listen: Listener) -> None:
        self.store, self.executor, self.listen = store, executor, listen
        self.by_key = {n.key: n for n in nodes}
        self.outcomes: dict[str, Outcome] = {}
        self.leases: dict[str, lease.Lease] = {}
        self.deaths: Counter[str] = Counter()
        self.running: dict[Future[Outcome], Node] = {}
        self.elsewhere: dict[str, str] = {}  # key -> who makes it
        self.looked = 0.0
        self.users: dict[str, list[str]] = defaultdict(list)
        self.unmet: dict[str, int] = {}
        self.order = {n.key: i for i, n in enumerate(nodes)}
        self.ready: list[tuple[int, str]] = []
        for node in nodes:
            upstream = {key for _, key in (*node.inputs.values(), *node.after)}
            self.unmet[node.key] = len(upstream)
            for key in upstream:
                self.users[key].append(node.key)
            if not upstream:
                heapq.heappush(self.ready, (self.order[node.key], node.key))

    @property
    def open(self) -> bool:
        return len(self.outcomes) < len(self.by_key)

    def begin(self) -> None:
        """Start what can be started."""
        if self.elsewhere and time.monotonic() - self.looked > 1.0:
            self.looked = time.monotonic()
            for key in self.elsewhere:
                heapq.heappush(self.ready, (self.order[key], key))
        while self.ready and len(self.running) < self.executor.slots:
            node = self.by_key[heapq.heappop(self.ready)[1]]
            if node.key not in self.outcomes:
                self._begin(node)

    def _begin(self, node: Node) -> None:
        upstream = (*node.inputs.values(), *node.after)
        if any(self.outcomes[key].status in SEEN for _, key in upstream):
            return self._settle(node, Outcome("skipped", error="a stage it needs failed"))
        if self.store.has(node.kind, node.key):
            self._tidy(node)
            return self._settle(node, Outcome("cached"))
        try:
            held = self.store.claim(node.key)
        except lease.Held as other:
            if self.elsewhere.get(node.key) != str(other):
                self.elsewhere[node.key] = str(other)
                self.listen("wait", node, str(other))
            return
        self.elsewhere.pop(node.key, None)
        self.leases[node.key] = held
        if held.previous is not None:
            self.listen("takeover", node, str(held.previous))
        if self.store.has(node.kind, node.key):  # made between the look and the lease
            return self._settle(node, Outcome("cached"))
        self.listen("start", node, None)
        self.running[self.executor.submit(node)] = node

    def _tidy(self, node: Node) -> None:
        """Clear what a run has left that was killed between the last rename of a stage and its end."""
        path, partial = self.store.lease(node.key), self.store.partial(node.key)
        if path.exists() or partial.exists():
            try:
                held = lease.acquire(path)
            except lease.Held:
                return  # its owner lives and will do it
            shutil.rmtree(partial, ignore_errors=True)
            held.release()

    def follow(self) -> None:
        """Wait for a turn or for a stage to end, and take in what happened."""
        if self.running:
            done, _ = wait(self.running, timeout=TURN, return_when=FIRST_COMPLETED)
        else:
            done = set()
            if self.open and not self.ready:
                time.sleep(TURN)
        if (stop := stopped()) is not None:
            raise stop
        for future in done:
            node = self.running.pop(future)
            try:
                self._settle(node, future.result())
            except WorkerLost as lost:
                self._lost(node, lost)
        for key, fraction in self.executor.progress():
            self.listen("progress", self.by_key[key], fraction)
        for key, held in self.leases.items():
            if held.lost:
                label = self.by_key[key].label
                raise Locked(f"{label}: another run took it over while this process was paused; run again")

    def _lost(self, node: Node, lost: WorkerLost) -> None:
        """Nobody can say which stage killed its worker, so each gets a second chance."""
        self.deaths[node.key] += 1
        if self.deaths[node.key] > 1:
            self._settle(node, Outcome("failed", error=f"{lost}, twice", code=lost.code))
        else:
            self.running[self.executor.submit(node)] = node

    def _settle(self, node: Node, outcome: Outcome) -> None:
        self.outcomes[node.key] = outcome
        self.elsewhere.pop(node.key, None)
        if (held := self.leases.pop(node.key, None)) is not None:
            held.release()
        for user in self.users[node.key]:
            self.unmet[user] -= 1
            if not self.unmet[user]:
                heapq.heappush(self.ready, (self.order[user], user))
        self.listen("end", node, outcome)
