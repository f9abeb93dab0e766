"""Rows of the table: suites, names and data that lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from lab import SUITE, Found, Lab


def suite_mutations(lab: Lab) -> Found:
    """Mutations of every shipped suite through `validate` and `plan` in one process."""
    from test_suite_fuzz import fuzz

    found, count = Found(), lab.count(5000, 30)
    place = lab.place()
    bad = fuzz(count, 4, place)
    found.trials = found.happened = count
    found.lost = bad
    return found


def hostile_data(lab: Lab) -> Found:
    """Headers that lie, pickles that nest or expand, image bombs, dangling links, absurd labels."""
    import test_hostile_data as hostile

    found = Found()
    try:
        hostile.test_hostile_data_cost_one_message(lab.place())
        wrong = None
    except AssertionError as error:
        wrong = str(error)[:300]
    found.hold("all", wrong)
    found.trials = found.happened = 2 * len(hostile.IMAGES) + len(hostile.REFERENCES)
    return found


EDITS = {
    "lambda twice": ("lambda: [1, 2]", "lambda: [1, 1]"),
    "spaces twice": ("spaces: [pixels]", "spaces: [pixels, pixels]"),
    "metrics twice": ("metrics: [fd, stats]", "metrics: [fd, fd]"),
    "encoders twice": ("encoders: [pixels], fakes", "encoders: [pixels, pixels], fakes"),
    "n of 10^30": ("n: 30", "n: 1000000000000000000000000000000"),
    "n of 10^15": ("n: 30", "n: 1000000000000000"),
    "steps of 10^18": ("steps: 20, batch: 16}", "steps: 1000000000000000000, batch: 16}"),
    "resamples of 10^12": ("resamples: 20", "resamples: 1000000000000"),
    "suite ..": ("suite: least", "suite: .."),
    "suite -rf": ("suite: least", "suite: -rf"),
    "suite =cmd": ("suite: least", "suite: '=cmd|x'"),
    "suite with a newline": ("suite: least", 'suite: "a\\nb"'),
    "suite with an escape": ("suite: least", 'suite: "a\\e[31mb"'),
    "run x?": ("  drl: {reward: drl,", "  x?: {reward: drl,"),
    "run with a slash": ("  drl: {reward: drl,", "  a/b: {reward: drl,"),
    "number as text": ("learning_rate: 1e-3, batch: 32", "learning_rate: '1e-3', batch: 32"),
    "true for an integer": ("updates: 3", "updates: true"),
    "1.0 for an integer": ("updates: 3", "updates: 3.0"),
    "NaN": ("learning_rate: 1e-3, batch: 32", "learning_rate: .nan, batch: 32"),
    "guidance with an escape": ("kl_samples: 20", 'guidance: [{name: "a\\e[2J", cfg: 1}]\nkl_samples: 20'),
    "date": ("updates: 3", "updates: 2020-01-01"),
    "tag": ("updates: 3", "updates: !!python/object/apply:os.system ['touch hit']"),
    "duplicate key": ("resamples: 20", "resamples: 20\nresamples: 30"),
    "unknown key": ("resamples: 20", "resamples: 20\nresample: 30"),
    "tab": ("resamples: 20", "\tresamples: 20"),
}


def refused_values(lab: Lab) -> Found:
    """Values that were once accepted without a word: doubled, absurd, dangerous, of another type."""
    found, at = Found(), lab.place()
    text = SUITE.read_text()
    for name, (old, new) in EDITS.items():
        path = at / "suite.yaml"
        path.write_text(text.replace(old, new))
        changed = None if old in text and text != path.read_text() else "the suite was not changed"
        ends = [lab.run(at, verb, "suite.yaml").ends(2, says="suite.yaml:") for verb in ("validate", "plan")]
        hit = "code was executed" if (at / "hit").exists() else None
        found.hold(name, changed, *ends, hit)
    for name, path in (("/dev/zero", Path("/dev/zero")), ("a pipe", at / "pipe")):
        if not path.exists():
            os.mkfifo(path)
        found.hold(name, lab.run(at, "validate", path).ends(2))
    for name, good in (
        ("1e-3 unquoted", text),
        ("1e-5", text.replace("1e-3", "1e-5")),
        ("lambdas that are nearly equal", text.replace("lambda: [1, 2]", "lambda: [1, 1.0000001]")),
    ):
        (at / "suite.yaml").write_text(good)
        found.hold(name, lab.run(at, "validate", "suite.yaml").ends(0))
    lab.drop(at)
    return found


def names_and_locales(lab: Lab) -> Found:
    """Titles, folders and paths that are not ASCII, under ASCII and Latin-5 locales without UTF-8 mode."""
    found = Found()
    assert lab.wanted
    text = SUITE.read_text() + 'title: "Ünïcödé ☃ \\u202e"\n'
    for name, env in {
        "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "POSIX, ascii streams": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        "latin-5 streams": {"PYTHONIOENCODING": "iso8859-9"},
    }.items():
        at = lab.place() / "плaсе ☃"
        at.mkdir()
        (at / "süite.yaml").write_text(text.replace("\\u202e", ""), encoding="utf-8")
        words = ["run", "süite.yaml", "--store", "störe", "--out", "öut", "--workers", "2"]
        done = lab.command(at, *words, env=env).wait()
        found.hold(name, done.ends(0), lab.same(at, "öut", "störe"))
        raw = (done.out + done.err).encode(errors="replace")
        found.hold(f"{name}: terminal", "an escape character" if b"\x1b" in raw else None)
        lab.drop(at)
    return found


def ten_thousand_cells(lab: Lab) -> Found:
    """`validate` and `plan` of 10,000 cells."""
    found, at = Found(), lab.place()
    lambdas = ", ".join(str(1 + i) for i in range(2500))
    text = SUITE.read_text().replace("lambda: [1, 2]", f"lambda: [{lambdas}], seeds: [0, 1, 2, 3]")
    (at / "suite.yaml").write_text(text)
    for verb in ("validate", "plan"):
        measure = ["/usr/bin/env", "python3", "-c", _MEASURE, sys.executable, "-m", "drlbench", verb, "suite.yaml"]
        done = subprocess.run(measure, cwd=at, capture_output=True, text=True, check=False)
        wrong = None if done.returncode == 0 else done.stderr[-300:]
        found.hold(verb, wrong)
        found.note += f"{verb} {done.stdout.strip().splitlines()[-1]}; " if not wrong else ""
    lab.drop(at)
    return found


_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{used.ru_utime + used.ru_stime:.1f} CPU s, {used.ru_maxrss / 1e3:.0f} MB")
sys.exit(code)
"""


def constant_sets(lab: Lab) -> Found:
    """Precision, recall and Fréchet distance of identical and of constant sets."""
    from drlbench.metrics.frechet import frechet_distance
    from drlbench.metrics.manifold import density_coverage, precision_recall

    found = Found()
    same = np.random.default_rng(0).normal(size=(60, 5))
    constant = np.ones((60, 5))
    for name, a, b, wanted in (("identical", same, same, 1.0), ("constant", constant, constant, 1.0)):
        # With open balls, as in Naeem et al.'s code, a point with k copies of itself has no neighbourhood: 0 there.
        closed = "torch-fidelity"
        values = {
            m.metric: m.value
            for m in (*precision_recall(a, b, convention=closed), density_coverage(a, b, convention=closed).coverage)
        }
        bad = {k: v for k, v in values.items() if v != wanted}
        distance = frechet_distance(a, b).value
        found.hold(name, f"{bad}" if bad else None, None if abs(distance) < 1e-6 else f"FD {distance}")
    return found


ROWS = {
    "suite-mutations": (suite_mutations, "0 or 2, never a traceback, each under 1 CPU s"),
    "refused-values": (refused_values, "2 with file, line and column; nothing executed"),
    "hostile-data": (hostile_data, "one message, 2 or 5, under 2 s and 300 MB"),
    "names-and-locales": (names_and_locales, "0, results equal, nothing raw to the terminal"),
    "ten-thousand-cells": (ten_thousand_cells, "0; what it took"),
    "constant-sets": (constant_sets, "1, 1, 1 and 0"),
}
