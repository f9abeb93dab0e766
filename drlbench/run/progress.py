"""What the reader sees while a run is under way, and the log that outlives the terminal.

stdout carries results only; this writes to stderr. Without a terminal there are no bars, one line per stage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from drlbench.cost.clock import clock
from drlbench.cost.remaining import Remaining
from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome
from drlbench.store.disk import refusal

QUIET = 60.0  # seconds that a stage may be silent where there are no bars


class Watcher:
    """Listens to an executor: events.jsonl, a bar per running stage, and an estimate of the time left.

    Args:
        expected: key -> seconds of every stage that is to be made, as `drlbench plan` says them; 0 where one cannot be
            counted.
    """

    def __init__(self, nodes: list[Node], workers: int, events: Path, expected: Mapping[str, float]) -> None:
        self.nodes, self.workers, self.events = nodes, workers, events
        self.left = {n.key for n in nodes}
        self.remaining = Remaining({n.key: n.kind for n in nodes if n.key in expected}, expected)
        self.bars: dict[str, TaskID] = {}
        self.begun: dict[str, float] = {}  # key -> when the stage began, and when it was last spoken of
        self.said: dict[str, float] = {}
        console = Console(stderr=True)
        self.live = console.is_terminal
        clip = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # a long label never pushes the clock out
        self.bar = Progress(
            TextColumn("{task.description}", table_column=clip),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            console=console,
            disable=not self.live,
            expand=True,
        )
        # The page is one more piece of work: what is not on it yet is not finished.
        self.total = self.bar.add_task("all stages", total=len(nodes) + 1, left="")

    def __enter__(self) -> Watcher:
        there, expected = len(self.nodes) - self.remaining.count, self._words(self.estimate())
        known = f", {there} of them in the store" if there else ""
        hands = f"{self.workers} worker{'s' * (self.workers > 1)}"
        print(f"{len(self.nodes)} stages{known}; {expected} on {hands}", file=sys.stderr, flush=True)
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def write(self, event: str, **facts: Any) -> None:
        """Append one line to events.jsonl; a line that a kill has cut is dropped first."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": stamp, "event": event, **facts}, ensure_ascii=False) + "\n"
        try:
            with self.events.open("ab+") as file:
                if event == "run":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
                file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise refusal(error, self.events, len(line)) or error from error

    def reporting(self) -> None:
        """All stages have ended; the tables and the page are being made."""
        self.bar.update(self.total, description="tables, figures and page", left="")
        if not self.live:
            print("writing the results, figures and page", file=sys.stderr)

    def reported(self) -> None:
        """The page is there."""
        self.bar.update(self.total, advance=1)

    def estimate(self) -> float:
        """Seconds until the run is done."""
        return self.remaining.seconds() / self.workers

    def __call__(self, what: str, node: Node, outcome: Outcome | float | str | None) -> None:
        if what in ("wait", "takeover"):
            said = "waits for" if what == "wait" else "takes over from dead"
            self.write(what, stage=node.kind, key=node.key, label=node.label, owner=str(outcome))
            print(f"{node.label}: {said} {outcome}", file=sys.stderr)
        elif what == "progress" and isinstance(outcome, float):
            self._progressed(node, outcome)
        elif what == "start":
            self.write("start", stage=node.kind, key=node.key, label=node.label)
            self.begun[node.key] = self.said[node.key] = time.monotonic()
            if self.live:
                self.bars[node.key] = self.bar.add_task(node.label[:60], total=1.0, left="")
        elif isinstance(outcome, Outcome):
            self._ended(node, outcome)

    def _progressed(self, node: Node, done: float) -> None:
        now = time.monotonic()
        self.remaining.progress(node.key, done, now - self.begun.get(node.key, now))
        if node.key in self.bars:
            self.bar.update(self.bars[node.key], completed=done)
        elif not self.live and now - self.said.get(node.key, now) > QUIET:
            self.said[node.key] = now
            print(f"  {node.label}: {done:.0%}, {self._words(self.estimate())}", file=sys.stderr)

    def _ended(self, node: Node, outcome: Outcome) -> None:
        self.left.discard(node.key)
        self.remaining.end(node.key, outcome.seconds if outcome.status == "made" else None)
        if node.key in self.bars:
            self.bar.remove_task(self.bars.pop(node.key))
        left = self.estimate()
        done = outcome.status in ("made", "cached")
        self.bar.update(self.total, advance=int(done), left=self._words(left) if self.left else "")
        facts: dict[str, Any] = {"stage": node.kind, "key": node.key, "label": node.label, "status": outcome.status}
        if outcome.error:
            facts["error"] = outcome.error
        self.write("end", **facts, seconds=round(outcome.seconds, 2), left=round(left))
        if outcome.status == "failed":
            print(f"failed: {node.label}: {outcome.error}", file=sys.stderr)
            if outcome.detail:
                log = self.events.parent / "logs" / f"{node.kind}-{node.key[:12]}.log"
                log.parent.mkdir(exist_ok=True)
                log.write_text(outcome.detail, encoding="utf-8", errors="backslashreplace")
                print(f"  traceback in {log}", file=sys.stderr)
        elif not self.live and outcome.status == "made":
            count = len(self.nodes) - len(self.left)
            print(
                f"[{count}/{len(self.nodes)}] {node.label}: {outcome.seconds:.1f} s, {self._words(left)}",
                file=sys.stderr,
            )

    def _words(self, left: float) -> str:
        """Time left, for people; more where stages are left that cannot be counted."""
        return f"{'over' if self.remaining.uncounted else 'about'} {clock(left)} left"


@contextmanager
def bars() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr per name told, with the fraction done."""
    share = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn("{task.description}"), BarColumn(), share, TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as shown:

        def tell(name: str, done: float) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=1.0)
            shown.update(tasks[name], completed=done)

        yield tell


@contextmanager
def spoken() -> Iterator[Callable[[str], None]]:
    """A line on stderr per piece of work told, with the time since the start; a spinner while it goes on."""
    console, started = Console(stderr=True), time.monotonic()
    with console.status("") as status:

        def tell(what: str) -> None:
            status.update(what)
            console.print(f"{time.monotonic() - started:7.1f} s  {what}", highlight=False)

        yield tell
