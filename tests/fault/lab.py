"""Where the campaign's trials happen: the command line in a process of its own, a clean run to compare with.

Most trials start in a process that is forked from this one, after its imports, because importing takes longer than the
run itself; `Lab.command` starts the real command where the start is what is attacked. Workers are then forked, too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn

SUITE = Path(__file__).with_name("least.yaml")
PRINTED = ("results.csv", "table.csv", "frontier.csv")  # what must be equal, byte for byte, whatever happened
PATIENCE = 300.0  # seconds after which a trial hangs


@dataclass
class Found:
    """What a row of the table found.

    Attributes:
        trials: attempts at the fault; `happened` of them hit (proved: the process died of it, the byte differs, ...).
        lost: one line per trial in which something was lost, wrong or silent. Must stay empty.
        note: what the reader has to know of how it was tried.
    """

    trials: int = 0
    happened: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def hold(self, name: str, *faults: str | None) -> None:
        """One trial whose fault happened, with what was wrong in it (None where nothing was)."""
        self.trials, self.happened = self.trials + 1, self.happened + 1
        self.lost += [f"{name}: {fault}" for fault in faults if fault]

    def missed(self) -> None:
        """One trial whose fault did not happen (the process had ended before it could be killed)."""
        self.trials += 1


@dataclass
class Done:
    """A command that ended: exit code (negative: the signal it died of), what it said, seconds."""

    code: int
    out: str
    err: str
    seconds: float

    def ends(self, *codes: int, says: str = "") -> str | None:
        """None where it ended as it should; else what is wrong."""
        told = self.err[-700:].replace("\n", " | ")
        if self.code not in codes:
            return f"exit {self.code}, not {' or '.join(map(str, codes))}: {told}"
        if "Traceback (most recent call last)" in self.err:
            return f"a traceback: {told}"
        return None if says in self.err + self.out else f"does not say {says!r}: {told}"


class Started:
    """A command under way in a process group of its own."""

    def __init__(self, pid: int, place: Path, begun: float) -> None:
        self.pid, self.place, self.begun = pid, place, begun
        self.code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def send(self, number: int, group: bool = False) -> None:
        """A signal to the process, or to all it has started."""
        if self.poll() is None:
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Done:
        """Its end; a process that hangs is killed and counts as exit code 999."""
        deadline = time.monotonic() + patience
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        hangs = self.code is None
        seconds = time.monotonic() - self.begun
        if hangs:
            self.send(signal.SIGKILL, group=True)
            os.waitpid(self.pid, 0)
            self.code = 999
        said = [(self.place / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return Done(int(self.code or 0), *said, seconds)

    def orphans(self) -> list[int]:
        """Processes of its group that are still alive."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.pid and fields[0] not in "ZX":
                found.append(int(stat.parent.name))
        return found


class Lab:
    """A folder for trials.

    Attributes:
        full: the long version, else the one for CI.
        share: of the long version's trials.
    """

    def __init__(self, root: Path, full: bool, share: float = 1.0) -> None:
        self.root, self.full, self.share = root, full, share
        self._count = 0

    def count(self, full: int, short: int) -> int:
        """How many trials."""
        return max(short, round(self.share * full)) if self.full else short

    def place(self) -> Path:
        """A fresh folder."""
        return Path(tempfile.mkdtemp(dir=self.root, prefix="t"))

    def start(self, at: Path, *words: str | Path, before: Callable[[], None] | None = None) -> Started:
        """`drlbench WORDS` in a forked process, in the folder `at`; `before` is called in it first."""
        sys.stdout.flush()
        sys.stderr.flush()
        said = Path(tempfile.mkdtemp(dir=self.root, prefix="said"))
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(at, said, [str(word) for word in words], before)
        return Started(pid, said, begun)

    def run(self, at: Path, *words: str | Path, before: Callable[[], None] | None = None) -> Done:
        """`start`, to its end."""
        return self.start(at, *words, before=before).wait()

    def command(self, at: Path, *words: str | Path, shell: str = "", env: dict[str, str] | None = None) -> Started:
        """`python -m drlbench WORDS` as a user gives it, after the shell commands `shell`."""
        said = Path(tempfile.mkdtemp(dir=self.root, prefix="said"))
        given = [sys.executable, "-m", "drlbench", *map(str, words)]
        line = ["bash", "-c", f'{shell}\nexec "$@"', "bash", *given] if shell else given
        begun = time.monotonic()
        with (said / "stdout").open("wb") as out, (said / "stderr").open("wb") as err:
            process = subprocess.Popen(
                line, cwd=at, env={**os.environ, **(env or {})}, stdout=out, stderr=err, start_new_session=True
            )
        process.returncode = 0  # `Started` waits for it, not the Popen object
        return Started(process.pid, said, begun)

    def suite_run(self, at: Path, *more: str | Path, out: str = "out", store: str = "store") -> list[str | Path]:
        """The words of a run of the least suite in a folder."""
        return ["run", SUITE, "--store", store, "--out", out, "--workers", "2", *more]

    @cached_property
    def clean(self) -> Path:
        """A folder with an uninterrupted run: `store` and `out`."""
        at = self.place()
        done = self.run(at, *self.suite_run(at))
        if done.code:
            raise RuntimeError(f"the clean run ended with {done.code}:\n{done.err}")
        self.seconds = done.seconds
        return at

    def copy(self) -> Path:
        """A folder of its own with a copy of the clean run."""
        return Path(shutil.copytree(self.clean, self.place() / "w", symlinks=True))

    @cached_property
    def wanted(self) -> dict[str, str]:
        """The checksums of what every run must print."""
        return digest(self.clean / "out")

    def same(self, at: Path, out: str = "out", store: str = "store") -> str | None:
        """What differs from the clean run, is damaged, or was left behind; None where nothing is."""
        if (found := digest(at / out)) != self.wanted:
            return f"other results: {sorted(n for n in found if found[n] != self.wanted.get(n))}"
        if left := leftovers(at / out) + leftovers(at / store):
            return f"left behind: {left[:3]}"
        return self.verified(at, out, store)

    def verified(self, at: Path, out: str = "out", store: str = "store") -> str | None:
        """The first damage that `verify` finds in a run that ended well."""
        from drlbench.errors import UserError
        from drlbench.run.events import run_keys
        from drlbench.store import atomic, manifest
        from drlbench.store.layout import Store

        try:
            manifest.check(at / out)
            for kind, key in run_keys(at / out):
                atomic.check(Store(at / store).folder(kind, key), key)
        except UserError as error:
            return f"verify: {error}"
        return None

    def drop(self, *places: Path) -> None:
        """Forget trials."""
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
        for said in self.root.glob("said*"):
            shutil.rmtree(said, ignore_errors=True)


def digest(folder: Path) -> dict[str, str]:
    """name -> sha256 of what a run prints; a missing file has none."""
    there = {name: folder / name for name in PRINTED if (folder / name).is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}


def leftovers(folder: Path) -> list[str]:
    """Temporary files, locks, leases, half-made folders and work that nobody goes on with."""
    found = [p for p in folder.rglob("*") if p.name.endswith(".tmp") or p.name in (".owner.json", ".lock")]
    for room in ("leases", "users", "trash", "partial"):
        found += (folder / room).glob("*")
    return [str(p) for p in found]


def flipped(path: Path, at: int | None = None, bit: int = 0) -> None:
    """Turn one bit of a file over, and see that it was."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if at is None else at
    content[place] ^= 1 << bit
    os.chmod(path, 0o644)
    path.write_bytes(content)
    if path.read_bytes() != content:
        raise RuntimeError(f"{path}: the bit was not flipped")


def _become(at: Path, said: Path, words: list[str], before: Callable[[], None] | None) -> NoReturn:
    """In the forked process: the command line from its entry point on, with forked workers."""
    import multiprocessing

    code = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(said / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644), number)
        os.chdir(at)
        sys.argv = ["drlbench", *words]
        forking = multiprocessing.get_context("fork")
        multiprocessing.get_context = lambda method=None: forking  # type: ignore[assignment, misc] # a stand-in
        if before is not None:
            before()
        from drlbench.__main__ import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
