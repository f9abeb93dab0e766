"""Rows of the table: disks that are full, limits, read-only places, names that no file system takes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inject import Fault
from lab import Done, Found, Lab

ERRORS = ("ENOSPC", "EDQUOT", "EROFS", "EIO")


def no_room_at_writes(lab: Lab) -> Found:
    """ENOSPC, EDQUOT, EROFS or EIO from the n-th write on, in the store or in the folder; then there is room again."""
    found = Found(note="injected; from that call on all fail")
    assert lab.wanted
    for where, who in (("store", "any"), ("out", "parent")):
        points = lab.count(20, 2)
        for i in range(points):
            act = ERRORS[i % len(ERRORS)] if lab.full else "ENOSPC"
            at = lab.place()
            (at / where).mkdir()
            number = 1 + round(i * (150 if where == "store" else 25) / points)
            fault = Fault(who, number, act, at / where, at / "proof", lasting=True)
            done = lab.run(at, *lab.suite_run(at), before=fault.install)
            if not (at / "proof").is_file():
                found.missed()
            else:
                wrong = done.ends(6, says=str(where))
                name = f"{act} {(at / 'proof').read_text().strip().replace(str(at), '')}"
                resumed = lab.run(at, *lab.suite_run(at)).ends(0)
                found.hold(name, wrong, resumed, lab.same(at))
            lab.drop(at)
    return found


@contextmanager
def _small_disk(at: Path, size: str) -> Iterator[bool]:
    """A file system of so many bytes at `at`; False where this machine does not let us mount one."""
    at.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "faults", str(at)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(at)], check=True)


def full_disk(lab: Lab) -> Found:
    """A real file system that fills while a run writes to it, the store's or the folder's; then there is room again."""
    found = Found(note="tmpfs, filled beside the run to leave a few hundred kB")
    assert lab.wanted
    for where in ("store", "out"):
        for spare in (100_000, 500_000, 900_000)[: lab.count(3, 1)]:
            at = lab.place()
            with _small_disk(at / where, "16m") as mounted:
                if not mounted:
                    found.note = "not tried: this machine allows no mount"
                    found.missed()
                    continue
                run = lab.start(at, *lab.suite_run(at, "--workers", "1"), before=lambda at=at: _roomy(at))
                ballast, filled = at / where / "ballast", False
                while run.poll() is None and not filled:
                    if any((at / where).rglob("*.json")):
                        filled = _fill(ballast, at / where, spare)
                done = run.wait()
                left = shutil.disk_usage(at / where).free
                if done.code == 0 or not filled:
                    found.missed()
                else:
                    wrong = done.ends(6, says="is full")
                    whole = _whole(at)
                    ballast.unlink()
                    resumed = lab.run(at, *lab.suite_run(at), before=lambda at=at: _roomy(at))
                    found.hold(f"{where}, {left} bytes left", wrong, whole, resumed.ends(0), lab.same(at))
            lab.drop(at)
    return found


def _roomy(at: Path) -> None:
    """In the forked process: the preflight sees a disk that is empty, as it was when the run began."""
    from drlbench.run import perform

    perform.preflight = lambda *given, **more: None  # type: ignore[assignment] # a stand-in


def _fill(path: Path, disk: Path, spare: int) -> bool:
    """Write until so many bytes are left."""
    more = shutil.disk_usage(disk).free - spare
    if more > 0:
        with path.open("ab") as file:
            file.write(bytes(more))
    return True


def _whole(at: Path) -> str | None:
    """Whether every sealed result and every file that is there under its own name can be read."""
    import json

    from drlbench.errors import UserError
    from drlbench.store import atomic
    from drlbench.store.layout import Store

    for _, folder in Store(at / "store").entries():
        try:
            atomic.check(folder, folder.name)
        except UserError as error:
            return str(error)
    for path in (at / "out").glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError as error:
            return f"{path.name}: {error}"
    return None


def preflight(lab: Lab) -> Found:
    """A disk of 100 kB: refused before any work, with the bytes needed and free."""
    found, at = Found(), lab.place()
    with _small_disk(at / "store", "100k") as mounted:
        if mounted:
            done = lab.run(at, *lab.suite_run(at))
            made = None if not any((at / "store").glob("*/*/*")) else "work was done"
            found.hold("100 kB", done.ends(6, says="needed"), done.ends(6, says="free"), made)
        else:
            found.missed()
            found.note = "not tried: this machine allows no mount"
    lab.drop(at)
    return found


def limits(lab: Lab) -> Found:
    """ulimit -f (file size), ulimit -v (addresses) of 0.3 to 3 GB, ulimit -n (open files), by the real command."""
    found = Found()
    assert lab.wanted
    for shell in ["ulimit -f 8", "ulimit -f 100", *(f"ulimit -v {kb}" for kb in (300_000, 1_000_000, 2_500_000))][
        : 9 if lab.full else 2
    ] + (["ulimit -n 16"] if lab.full else []):
        at = lab.place()
        done = lab.command(at, *lab.suite_run(at), shell=shell).wait()
        resumed = lab.run(at, *lab.suite_run(at)).ends(0)
        found.hold(shell, done.ends(0, 6), None if done.code == 0 else done.ends(6, says=""), resumed, lab.same(at))
        lab.drop(at)
    return found


def bad_places(lab: Lab) -> Found:
    """Store or folder on a file, under a file, under /proc, with a name too long, in a circle of links."""
    found = Found()
    at = lab.copy()
    (at / "file").write_text("mine")
    os.symlink("circle", at / "circle")
    places = ["file", "file/below", "/proc/x", "n" * 300, f"{'d' * 200}/{'e' * 300}", "circle", "circle/x", "/dev/null"]
    for place in places:
        for words in (lab.suite_run(at, out=place), lab.suite_run(at, store=place, out="new")):
            found.hold(f"{words[3:6]}"[:60], lab.run(at, *words).ends(6, says=place[:20]))
    kept = None if (at / "file").read_text() == "mine" else "the file was changed"
    found.hold("the file", kept)
    lab.drop(at)
    return found


def read_only(lab: Lab) -> Found:
    """A store or a folder that is mounted read-only, empty and full."""
    found = Found()
    assert lab.wanted
    for where in ("store", "out"):
        at = lab.copy()
        bound = subprocess.run(["mount", "--bind", at / where, at / where], capture_output=True, check=False)
        if os.geteuid() or bound.returncode:
            found.missed()
            found.note = "not tried: this machine allows no mount"
            continue
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", at / where], check=True)
            done = lab.run(at, *lab.suite_run(at))
            told = done.ends(6, says="read-only")
            reads = [lab.run(at, *verb).ends(0) for verb in (["status", "out"], ["verify", "out", "--store", "store"])]
        finally:
            subprocess.run(["umount", "-l", at / where], check=True)
        found.hold(where, told, *reads, lab.same(at))
        lab.drop(at)
    return found


def hang_ups(lab: Lab) -> Found:
    """stdout closed by its reader (| head -c 1), stderr closed, no terminal, a terminal of 20 columns."""
    found = Found()
    assert lab.wanted
    lines: dict[str, Callable[[Path], Done]] = {
        "stdout closed": lambda at: _shell(lab, at, "exec >&-"),
        "stderr closed": lambda at: _shell(lab, at, "exec 2>&-"),
        "20 columns, no colour": lambda at: _shell(lab, at, "export COLUMNS=20 NO_COLOR=1 TERM=dumb"),
    }
    for name, do in lines.items():
        at = lab.place()
        found.hold(name, do(at).ends(0), lab.same(at))
        lab.drop(at)
    return found


def _shell(lab: Lab, at: Path, shell: str) -> Done:
    return lab.command(at, *lab.suite_run(at), shell=shell).wait()


def lost_worker_memory(lab: Lab) -> Found:
    """A limit on addresses that a worker meets in the middle of its stage (60 MB above what the run held)."""
    found = Found()
    assert lab.wanted

    def tight() -> None:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 60_000_000, resource.RLIM_INFINITY))

    at = lab.place()
    done = lab.run(at, *lab.suite_run(at), before=tight)
    resumed = lab.run(at, *lab.suite_run(at)).ends(0)
    found.hold("60 MB more than it has", done.ends(0, 6), resumed, lab.same(at))
    lab.drop(at)
    return found


ROWS = {
    "no-room-at-writes": (
        no_room_at_writes,
        "6 with the place; old files whole; the same command resumes; results equal",
    ),
    "full-disk": (full_disk, "as above"),
    "preflight": (preflight, "6, bytes needed and free, before any stage"),
    "limits": (limits, "6 (or 0), one message, no traceback; resumes; equal"),
    "memory": (lost_worker_memory, "6 (or 0); resumes; equal"),
    "bad-places": (bad_places, "6, the place named; the file in the way is untouched"),
    "read-only": (read_only, "6; reading verbs work"),
    "hang-ups": (hang_ups, "results equal"),
}
