"""Classes of generated images, of references and of prompts in `eval`: matched by name, said once, recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.evaluate import evaluate
from drlbench.rewards.base import Reward


class Mean(Encoder):
    dim, signature = 3, "mean:0"

    def forward(self, images):
        return images.mean((2, 3))


class ByIndex(Reward):
    """The class index that it is asked for, whatever the class is called."""

    name, signature = "pickscore", "index:1"

    def forward(self, images, y):
        return y.float() + 0 * images.mean((1, 2, 3))


class ByClass(Reward):
    """The class index that it is asked for."""

    name, signature = "pickscore", "class:1"
    class_names = tuple(f"name {k}" for k in range(1000))

    def forward(self, images, y):
        return y.float() + 0 * images.mean((1, 2, 3))


COLOURS = {"a": 30, "b": 120, "c": 210}


def folder(place, names, count=12):
    rng = np.random.default_rng(0)
    for name, own in COLOURS.items():
        for i in range(count):
            image = (own + rng.integers(-15, 15, (8, 8, 3))).astype(np.uint8)
            if name in names:
                path = place / names[name] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return place


def covered(images, reference):
    table = evaluate(images, reference, ["prdc"], {"mean": Mean}, resamples=10)
    rows = {row.metric: row.value for row in table.rows}
    return rows.get("class_coverage"), table


def test_a_set_that_lacks_a_class_covers_the_others(tmp_path):
    reference = folder(tmp_path / "ref", {c: c for c in "abc"})
    value, table = covered(folder(tmp_path / "gen", {c: c for c in "bc"}), reference)
    assert value == pytest.approx(2 / 3)
    assert any("are matched with those of" in note and "by name" in note for note in table.notes)
    assert json.loads(json.dumps(table.document()))["data"][0]["used"] == 24


@pytest.mark.parametrize(
    ("generated", "real"),
    [
        ({"b": "1", "c": "2"}, {"a": "0", "b": "1", "c": "2"}),
        ({"b": "B class", "c": "C class"}, {"a": "a_class", "b": "b_class", "c": "c_class"}),
        ({"b": "n01443537", "c": "n01484850"}, {"a": "n01440764", "b": "n01443537", "c": "n01484850"}),
        ({"b": "goldfish", "c": "great white shark"}, {"a": "n01440764", "b": "n01443537", "c": "n01484850"}),
        ({"b": "c2", "c": "c10"}, {"a": "c1", "b": "c2", "c": "c10"}),
    ],
)
def test_the_same_in_other_words(tmp_path, generated, real):
    reference = folder(tmp_path / "ref", real)
    assert covered(folder(tmp_path / "gen", generated), reference)[0] == pytest.approx(2 / 3)


def test_indices_of_an_array_against_folders(tmp_path):
    reference = folder(tmp_path / "ref", {c: c for c in "abc"})
    rng = np.random.default_rng(0)
    images = np.concatenate([(v + rng.integers(-15, 15, (12, 8, 8, 3))).astype(np.uint8) for v in (30, 120, 210)])
    np.savez(tmp_path / "g.npz", arr_0=images[12:], arr_1=np.repeat([1, 2], 12))
    value, table = covered(tmp_path / "g.npz", reference)
    assert value == pytest.approx(2 / 3) and any("integer index" in note for note in table.notes)
    np.savez(tmp_path / "h.npz", arr_0=images, arr_1=np.repeat([0, 1, 7], 12))
    value, table = covered(tmp_path / "h.npz", reference)
    assert value is None and "a, b, c" in str(table.failures[0][1]) and table.exit_code == 2


def test_classes_that_do_not_match_are_refused_and_the_rest_is_measured(tmp_path):
    reference = folder(tmp_path / "ref", {c: c for c in "abc"})
    value, table = covered(folder(tmp_path / "gen", {"a": "x", "b": "b"}), reference)
    assert value is None and table.exit_code == 2
    ((what, error),) = table.failures
    assert what == "class_coverage" and "x among b, x" in str(error) and "has a, b, c" in str(error)
    assert {row.metric for row in table.rows} == {"precision", "recall", "density", "coverage"}


@pytest.mark.parametrize(
    ("names", "indices"),
    [({"a": "207", "b": "5"}, [207, 5]), ({"a": "n02099601", "b": "n01440764"}, [207, 0]), ({"a": "name 3"}, [3])],
)
def test_prompts_are_those_of_the_folders_classes(tmp_path, names, indices):
    images = folder(tmp_path / "gen", names, 4)
    for reward in (ByClass, ByIndex) if names["a"] != "name 3" else (ByClass,):
        table = evaluate(images, None, ["pickscore"], {}, rewards={"pickscore": reward}, resamples=10)
        assert table.rows[0].value == pytest.approx(np.mean(indices))
    assert any("matched with its own by" in note for note in table.notes)


def test_classes_without_a_prompt_are_refused(tmp_path):
    images = folder(tmp_path / "gen", {"a": "cat", "b": "dog"}, 4)
    table = evaluate(images, None, ["pickscore"], {}, rewards={"pickscore": ByClass})
    assert not table.rows and isinstance(table.failures[0][1], UserError)
    assert "the prompts of pickscore has name 0" in str(table.failures[0][1])


def test_nothing_is_built_that_no_metric_needs(tmp_path):
    images = folder(tmp_path / "gen", {"a": "a"}, 4)

    def missing():
        raise AssertionError("the encoder was built")

    table = evaluate(images, None, ["stats"], {"inception-v3": missing})
    assert table.rows and not table.failures
