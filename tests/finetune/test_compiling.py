"""torch.compile in the engine: the same numbers, and a number of compiled pieces that does not grow with the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_runs import build, timeless
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_inductor_cache

from drlbench.errors import MissingPrerequisite
from drlbench.finetune.train import train

# Chunks of 3 rows leave the outlier mask's second pass unequally many rows at every update.
CHUNKS = {"micro_batch": 3, "outlier_quantile": 0.5, "rollout_batch": 4}


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()
    counters.clear()


def same(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, rel=1e-4, abs=1e-6), (name, mine["update"])


@pytest.mark.long  # half a minute of compiling: adjoint matching has a piece for every shape of its chunks
def test_a_compiled_run_gives_the_same_losses_from_few_pieces() -> None:
    plain = timeless(train(build("adjoint-matching", **CHUNKS), 10))
    run = build("adjoint-matching", compile=True, **CHUNKS)
    found = timeless(train(run, 2))
    pieces = counters["stats"]["unique_graphs"]
    found += [{**row, "update": row["update"] + 2} for row in timeless(train(run, 8))]
    assert counters["stats"]["unique_graphs"] <= pieces + 1, "one more where a piece first has rows to settle"
    assert not counters["graph_break"]
    same(found, plain)


def test_blocks_are_compiled_once_between_them_and_losses_and_names_stay() -> None:
    run = build("sft", compile=True)
    names = set(run.state_dict())
    found = timeless(train(run, 3))
    assert counters["stats"]["unique_graphs"] == 1, "two blocks, one piece of code"
    same(found, timeless(train(build("sft"), 3)))
    assert names == set(build("sft").state_dict())
    finished = run.finished_policy()
    assert all(block._compiled_call_impl is None for block in finished.net.blocks)  # type: ignore[attr-defined, union-attr] # of TinyNet


def test_a_machine_without_a_compiler_is_told_what_to_set(tmp_path: Path) -> None:
    nothing = {"cpp.cxx": (None, str(tmp_path / "no-compiler"))}
    wanted = pytest.raises(MissingPrerequisite, match=r"no-compiler.*Set compile: false")
    with torch._inductor.config.patch(nothing), fresh_inductor_cache(), wanted:
        train(build("sft", compile=True), 1)
