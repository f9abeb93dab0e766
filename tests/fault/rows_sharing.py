"""Rows of the table: two runs, deletion beside a run, signals, what `status` says, leftovers."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

from lab import SUITE, Found, Lab, Started

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def two_runs(lab: Lab) -> Found:
    """Two runs with two folders on one store, started together, fine-tunes in progress included."""
    found = Found()
    assert lab.wanted
    for trial in range(lab.count(20, 1)):
        at = lab.place()
        both = [lab.start(at, *lab.suite_run(at, out=name)) for name in ("a", "b")]
        wrong = [run.wait().ends(0) for run in both]
        if any(wrong):
            found.hold(f"pair {trial}", *wrong)
            continue
        made = sum(
            json.loads(line).get("status") == "made"
            for name in ("a", "b")
            for line in (at / name / "events.jsonl").read_text().splitlines()
        )
        stages = len(json.loads((at / "a" / "run.json").read_text())["stages"])
        twice = None if made == stages else f"{made} stages made, {stages} needed"
        found.hold(f"pair {trial}", lab.same(at, "a"), lab.same(at, "b"), twice)
        lab.drop(at)
    return found


def gc_beside_a_run(lab: Lab) -> Found:
    """`cache gc` that keeps another run, again and again while a run uses the store."""
    found = Found()
    assert lab.wanted
    for trial in range(lab.count(5, 1)):
        at = lab.place()
        lab.run(at, *lab.suite_run(at, "--limit", "1", out="kept"))
        run, wrong, hits = lab.start(at, *lab.suite_run(at)), [], 0
        while run.poll() is None:
            done = lab.run(at, "cache", "gc", "--keep", "kept", "--store", "store")
            hits += run.poll() is None
            wrong.append(done.ends(0))
        end = run.wait()
        if hits:
            # A gc after the run's end rightly deletes what is not kept, so the store is filled once more.
            found.hold(f"run {trial}", *wrong, end.ends(0), lab.run(at, *lab.suite_run(at)).ends(0), lab.same(at))
        else:
            found.missed()
        lab.drop(at)
    return found


def one_folder(lab: Lab) -> Found:
    """A second run in a folder in use: 4, with pid; after SIGKILL of the first it takes over."""
    found = Found()
    assert lab.wanted
    for _ in range(lab.count(5, 1)):
        at = lab.place()
        first = lab.start(at, *lab.suite_run(at))
        _until(first, at / "out" / "events.jsonl")
        second = lab.run(at, *lab.suite_run(at, store="other"))
        there = first.poll() is None
        first.send(signal.SIGKILL)
        killed = first.wait().code == -signal.SIGKILL
        if there and killed:
            found.hold(
                "second",
                second.ends(4, says=f"process {first.pid}"),
                lab.run(at, *lab.suite_run(at)).ends(0),
                lab.same(at),
            )
        else:
            found.missed()
        lab.drop(at)
    return found


def signals_any_instant(lab: Lab) -> Found:
    """One SIGINT, SIGTERM or SIGHUP at random instants of the real command, imports and report included."""
    found, rng = Found(), random.Random(2)
    assert lab.wanted
    at = lab.place()
    whole = lab.command(at, *lab.suite_run(at)).wait().seconds
    for trial in range(lab.count(24, 3)):
        stop = STOPS[trial % 3]
        at = lab.place()
        run = lab.command(at, *lab.suite_run(at))
        time.sleep(rng.uniform(0.15, whole * 0.95))  # before 0.15 s it is Python that starts, not drlbench
        _one_stop(lab, found, at, run, stop, twice=False)
    return found


def signals_twice(lab: Lab) -> Found:
    """The same signal twice, a tenth of a second apart."""
    found, rng = Found(), random.Random(3)
    assert lab.wanted
    for trial in range(lab.count(12, 1)):
        at = lab.place()
        run = lab.start(at, *lab.suite_run(at))
        time.sleep(rng.uniform(0.2, lab.seconds))
        _one_stop(lab, found, at, run, STOPS[trial % 3], twice=True)
    return found


def _one_stop(lab: Lab, found: Found, at: Path, run: Started, stop: signal.Signals, twice: bool) -> None:
    if run.poll() is not None:
        found.missed()
        return
    sent = time.monotonic()
    run.send(stop)
    if twice:
        time.sleep(0.1)
        run.send(stop)
    done = run.wait(20)
    took = time.monotonic() - sent
    if done.code == 0:  # it was over before the signal was heard
        found.missed()
    else:
        time.sleep(0.4)
        slow = f"took {took:.1f} s" if took > (3 if twice else 10) else None
        orphans = f"orphans {left}" if (left := run.orphans()) else None
        said = done.ends(128 + stop, says="interrupted")
        resumed = lab.run(at, *lab.suite_run(at))
        found.hold(f"{stop.name} after {sent - run.begun:.2f} s", said, slow, orphans, resumed.ends(0), lab.same(at))
    lab.drop(at)


def status_tells(lab: Lab) -> Found:
    """`status` of a run that goes on, was killed, was stopped by a signal, and is finished."""
    found = Found()
    at = lab.copy()
    found.hold("finished", _status(lab, at, "complete"))
    for stop, word in ((signal.SIGKILL, "killed"), (signal.SIGHUP, "interrupted"), (signal.SIGTERM, "interrupted")):
        at = lab.place()
        run = lab.start(at, *lab.suite_run(at))
        _until(run, at / "out" / "events.jsonl")
        alive = _status(lab, at, "running")
        run.send(stop)
        if run.wait().code == 0:
            found.missed()
        else:
            found.hold(stop.name, alive, _status(lab, at, word))
        lab.drop(at)
    return found


def _status(lab: Lab, at: Path, word: str) -> str | None:
    done = lab.run(at, "status", "out", "--json")
    return done.ends(0) or (None if json.loads(done.out)["status"] == word else f"says {done.out[:200]}, not {word}")


def stale_pictures(lab: Lab) -> Found:
    """The suite is edited and run again into its finished folder."""
    found = Found()
    at = lab.copy()
    suite = at / "least.yaml"
    suite.write_text(SUITE.read_text().replace("lambda: [1, 2]", "lambda: [1, 3]"))
    before = {p.name for p in (at / "out" / "samples").iterdir()}
    done = lab.run(at, "run", suite, "--store", "store", "--out", "out", "--workers", "2")
    after = {p.name for p in (at / "out" / "samples").iterdir()}
    named = set(json.dumps(json.loads((at / "out" / "run.json").read_text())["cells"]).split('"'))
    stale = sorted(name for name in after if f"samples/{name}" not in named)
    gone = None if before - after else "no picture went away"
    found.hold("lambda 2 to 3", done.ends(0), gone, f"stale {stale}" if stale else None, lab.verified(at))
    lab.drop(at)
    return found


def other_places(lab: Lab) -> Found:
    """A store that was copied or is a link, other TZ, locale, umask, HOME and TMPDIR: the same results."""
    found = Found()
    assert lab.wanted
    nowhere = {"HOME": "/nowhere", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}
    for name, env in {
        "TZ": {"TZ": "Pacific/Kiritimati"},
        "Turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "no HOME, no TMPDIR": nowhere,
        "umask 077": {},
    }.items():
        at = lab.place()
        run = lab.command(at, *lab.suite_run(at), env=env, shell="umask 077" if name == "umask 077" else "")
        found.hold(name, run.wait().ends(0), lab.same(at))
        lab.drop(at)
    at = lab.copy()
    os.rename(at / "store", at / "real")
    os.symlink("real", at / "store")
    found.hold("copied and linked store", lab.run(at, *lab.suite_run(at, out="again")).ends(0), lab.same(at, "again"))
    lab.drop(at)
    return found


def _until(run: Started, log: Path) -> None:
    """Wait until a run has begun its first stage."""
    while run.poll() is None and not (log.is_file() and '"start"' in log.read_text()):
        time.sleep(0.01)


def owners_of_another_host(lab: Lab) -> Found:
    """A lease of another host: waited for while it is touched, taken over with a word when it is stale."""
    found = Found()
    assert lab.wanted
    at = lab.copy()
    stage = next(p for p in (at / "store" / "scores").glob("*/*"))
    lab.drop(stage)
    path = at / "store" / "leases" / stage.name
    owner = {
        "pid": 1, "birth": 1, "host": "elsewhere", "place": "elsewhere|boot|pid", "since": "2026-01-01T00:00:00Z",
        "token": "t", "keys": [],
    }  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(owner))
    run = lab.start(at, *lab.suite_run(at))
    time.sleep(3 + lab.seconds)
    waits = "did not wait" if run.poll() is not None else None
    os.utime(path, (1, 1))
    done = run.wait()
    found.hold("lease", waits, done.ends(0, says="takes over from dead process 1 on elsewhere"), lab.same(at))
    lab.drop(at)
    return found


ROWS = {
    "two-runs": (two_runs, "both 0, equal results, every stage made once"),
    "gc-beside-a-run": (gc_beside_a_run, "nothing in use is deleted; the run 0"),
    "one-folder": (one_folder, "4 names the owner; a dead owner is taken over"),
    "other-host": (owners_of_another_host, "waits; then takes over and says so"),
    "signals": (signals_any_instant, "130/143/129 within 10 s, one sentence, no orphan, resumable"),
    "signals-twice": (signals_twice, "at once, no orphan, resumable"),
    "status": (status_tells, "running, killed, interrupted, complete: as it is"),
    "stale-pictures": (stale_pictures, "no picture of a cell that is gone"),
    "other-places": (other_places, "the same results, byte for byte"),
}
