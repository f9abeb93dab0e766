"""Rows of the table: SIGKILL at any instant, at every write, of the run, its workers and of deletions."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from inject import Fault
from lab import Done, Found, Lab


def kill_any_instant(lab: Lab) -> Found:
    """SIGKILL of the run, or of it and its workers, at random instants, the same folder again and again."""
    found, rng = Found(note="one in 25 from the real command, the others after its imports"), random.Random(1)
    assert lab.wanted
    wanted, least = lab.count(200, 4), lab.count(4, 2)
    while found.happened < wanted:
        at, kills = lab.place(), 0
        for turn in range(lab.count(10, 4)):
            real = found.happened % 25 == 24
            words = lab.suite_run(at)
            run = lab.command(at, *words) if real else lab.start(at, *words)
            time.sleep(rng.uniform(0.0, lab.seconds * (3.0 if real else 1.0 if turn < least else 0.6)))
            run.send(signal.SIGKILL, group=rng.random() < 0.5)
            done = run.wait()
            if done.code == -signal.SIGKILL:
                found.trials, found.happened, kills = found.trials + 1, found.happened + 1, kills + 1
            else:
                found.missed()
                if wrong := done.ends(0):
                    found.lost.append(f"run that was not hit: {wrong}")
                break
        last = lab.run(at, *lab.suite_run(at))
        wrong = last.ends(0) or lab.same(at)
        found.lost += [f"after {kills} kills: {wrong}"] if wrong else []
        lab.drop(at)
    return found


def kill_parent_writes(lab: Lab) -> Found:
    """SIGKILL of the run at its n-th fsync, replace, rename, mkdir, rmdir, unlink or open for writing."""
    return _at_writes(lab, "parent", _resumed)


def kill_worker_writes(lab: Lab) -> Found:
    """SIGKILL of a worker at its n-th such call; the run must notice, make the stage again and end with 0."""
    return _at_writes(lab, "worker", _survived)


def kill_resume_writes(lab: Lab) -> Found:
    """SIGKILL of a resumed run at its n-th such call: run.json and all pictures are there, half a store is not."""
    return _at_writes(lab, "parent", _resumed, started=True)


def _at_writes(lab: Lab, who: str, judge: Callable[[Lab, Path, Done], str | None], started: bool = False) -> Found:
    found = Found()
    assert lab.wanted

    def attempt(number: int, act: str) -> tuple[Path, Path, Done]:
        at = lab.copy() if started else lab.place()
        if started:
            for kind in ("scores", "samples", "finetune"):
                lab.drop(at / "store" / kind)
        proof = at / "proof"
        fault = Fault(who, number, act, at, proof)
        # One worker, so that the same number means the same call.
        return at, proof, lab.run(at, *lab.suite_run(at, "--workers", "1"), before=fault.install)

    at, proof, _ = attempt(0, "count")
    calls = max(int(line.split()[1]) for line in proof.read_text().splitlines() if line.startswith(who))
    lab.drop(at)
    points = lab.count(20 if started else 60, 2)
    for number in sorted({1 + round(i * (calls - 1) / max(1, points - 1)) for i in range(points)}):
        at, proof, done = attempt(number, "kill")
        if not proof.is_file():
            found.missed()
        else:
            name = f"{who} {proof.read_text().strip().replace(str(at), '')}"
            proof.unlink()
            found.hold(name, judge(lab, at, done))
        lab.drop(at)
    found.note = f"{calls} such calls in a run of {who}s"
    return found


def _resumed(lab: Lab, at: Path, done: Done) -> str | None:
    if done.code != -signal.SIGKILL:
        return f"was not killed: exit {done.code}"
    return lab.run(at, *lab.suite_run(at)).ends(0) or lab.same(at)


def _survived(lab: Lab, at: Path, done: Done) -> str | None:
    return done.ends(0) or lab.same(at)


def kill_gc(lab: Lab) -> Found:
    """SIGKILL of `cache gc` at every call that changes something, until none is left; then a run and a second gc."""
    found = Found()
    assert lab.wanted
    number = 1
    while True:
        at = lab.copy()
        proof = at / "proof"
        (at / "empty").mkdir()
        fault = Fault("parent", number, "kill", at / "store", proof)
        words = ["cache", "gc", "--keep", "kept", "--store", "store"]
        # What is kept is a run of the base alone: everything else goes.
        kept = lab.run(at, *lab.suite_run(at, "--limit", "1", out="kept"))
        if kept.code:
            raise RuntimeError(f"the kept run ended with {kept.code}: {kept.err}")
        done = lab.run(at, *words, before=fault.install)
        if not proof.is_file():
            found.lost += [f"gc without a fault: {wrong}"] if (wrong := done.ends(0)) else []
            lab.drop(at)
            break
        name = proof.read_text().strip().replace(str(at), "")
        again = lab.run(at, *words) if number % 2 else None
        run = lab.run(at, *lab.suite_run(at))
        found.hold(name, again and again.ends(0), run.ends(0), lab.same(at))
        lab.drop(at)
        number += 1 if lab.full and lab.share == 1 else 9
    found.note = "every call" if lab.full and lab.share == 1 else "every ninth call"
    return found


ROWS = {
    "kill-any-instant": (kill_any_instant, "the same command: 0; results equal byte for byte; nothing left behind"),
    "kill-parent-writes": (kill_parent_writes, "as above"),
    "kill-worker-writes": (kill_worker_writes, "the run itself: 0; results equal; nothing left behind"),
    "kill-resume-writes": (kill_resume_writes, "as above, from a store that is half there"),
    "kill-gc": (kill_gc, "the store heals: run and gc 0, results equal, nothing left behind"),
}
