"""Classes matched by name: what matches, what is refused, and how two sets come to one numbering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import of_classes, write

from drlbench.data.classes import MAX_CLASSES, check_count, common, in_words, match, ordered, wnids
from drlbench.data.sources import load_dataset, survey
from drlbench.errors import UserError
from drlbench.suite.images import resolve_images
from drlbench.suite.parts import DataSpec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells


def test_classes_are_numbered_in_natural_order() -> None:
    assert ordered(["c10", "c2", "c1", "c2"]) == ("c1", "c2", "c10")
    assert ordered([str(k) for k in range(12)]) == tuple(map(str, range(12)))
    assert ordered(["007", "07", "7"]) == ("007", "07", "7")
    assert ordered(["b", "B", "a"]) == ("B", "a", "b")


def test_a_suite_knows_what_the_classes_of_its_folder_are_called(tmp_path: Path) -> None:
    write(tmp_path, of_classes(["cat", "ant", "bee"]))
    data = DataSpec.model_validate({"kind": "folder", "path": str(tmp_path), "size": 8, "held_out": 0.5})
    images = resolve_images(data)
    assert images.class_names == ("ant", "bee", "cat") and images.num_classes == 3


def test_imagenet_ids_are_said_in_words_and_other_names_stay() -> None:
    assert in_words(["n01440764", "n02099601"]) == ("tench", "golden retriever")
    assert in_words(["cat", "n02099601"]) == ("cat", "n02099601")  # not ImageNet's numbering
    assert in_words([]) == ()


@pytest.mark.parametrize(
    ("own", "known", "indices", "how"),
    [
        (["b", "c"], ["a", "b", "c"], [1, 2], "name"),
        (["Golden Retriever", "tabby-cat"], ["tabby_cat", "golden_retriever"], [1, 0], "other spelling"),
        (["tench, Tinca tinca"], ["goldfish", "tench"], [1], "other spelling"),
        (["0", "2", "11"], [f"c{k}" for k in range(12)], [0, 2, 11], "integer index"),
        (["001", "010"], [f"c{k}" for k in range(12)], [1, 10], "integer index"),
        (["2", "1"], ["2", "1"], [0, 1], "name"),
        (["n01443537"], ["n01440764", "n01443537"], [1], "name"),
        (["n01443537_goldfish"], ["n01440764", "n01443537"], [1], "ImageNet id"),
        (["n01443537", "n01440764"], ["tench", "goldfish"], [1, 0], "ImageNet id"),
        (["goldfish"], ["n01440764", "n01443537"], [1], "ImageNet id"),
        (["1"], ["n01440764", "n01443537"], [1], "ImageNet id"),
    ],
)
def test_what_matches(own: list[str], known: list[str], indices: list[int], how: str) -> None:
    place, found = match(own, known, "a", "b")
    assert place.tolist() == indices and how in found


def test_imagenet_ids_are_indices_of_a_thousand_classes() -> None:
    assert len(wnids()) == 1000 and list(wnids()) == sorted(wnids())
    known = [f"name {k}" for k in range(1000)]
    place, how = match(["n01440764", "n15075141"], known, "a", "b")
    assert place.tolist() == [0, 999] and how == "ImageNet id"


@pytest.mark.parametrize(
    ("own", "known"),
    [
        (["a", "d"], ["a", "b", "c"]),
        (["cat"], ["dog", "owl"]),
        (["1", "2", "3"], ["x", "y", "z"]),  # counted from one: 3 is no index
        (["crane"], ["crane", "crane", "owl"]),  # ambiguous
        (["Crane", "crane"], ["crane!", "CRANE"]),
        (["n99999999"], [f"name {k}" for k in range(1000)]),
        (["a", "b"], ["x", "y"]),
    ],
)
def test_what_does_not_match_is_refused_with_both_lists(own: list[str], known: list[str]) -> None:
    with pytest.raises(UserError, match="cannot be matched") as caught:
        match(own, known, "these", "those")
    assert own[0] in str(caught.value) and known[0] in str(caught.value)


def test_stored_indices_mean_positions_only_where_the_counts_agree() -> None:
    assert match(["a", "b"], ["x", "y"], "these", "those", indexed=True)[0].tolist() == [0, 1]
    for known in (["x", "y", "z"], ["b", "x"]):
        with pytest.raises(UserError):
            match(["a", "b"], known, "these", "those", indexed=True)


def labelled(names: list[str] | None, *labels: int) -> tuple[np.ndarray, tuple[str, ...] | None]:
    return np.array(labels, dtype=np.int64), None if names is None else tuple(names)


@pytest.mark.parametrize(
    ("own", "other", "same"),
    [
        # For each pair of sets: which own class stands for which of the other's, as pairs of positions in the labels.
        (labelled(["b", "c"], 0, 1), labelled(["a", "b", "c"], 0, 1, 2), {(0, 1), (1, 2)}),
        (labelled(["a", "b", "c"], 0, 1, 2), labelled(["b", "c"], 0, 1), {(1, 0), (2, 1)}),
        (labelled(["207", "5"], 0, 1), labelled(None, 5, 207), {(0, 1), (1, 0)}),
        (labelled(None, 0, 1), labelled(["cat", "dog"], 0, 1), {(0, 0), (1, 1)}),
        (labelled(None, 3, 7), labelled(None, 7, 9), {(1, 0)}),
        (labelled(["n01443537"], 0), labelled(None, 1, 0), {(0, 0)}),
    ],
)
def test_two_sets_come_to_one_numbering(own, other, same) -> None:
    mine, theirs, _ = common(own, other, "these", "those")
    found = {(i, j) for i, a in enumerate(mine.tolist()) for j, b in enumerate(theirs.tolist()) if a == b}
    assert found == same
    assert len(set(mine.tolist())) == len(mine)  # classes of one set stay apart


def test_sets_that_only_overlap_are_refused() -> None:
    with pytest.raises(UserError, match=r"x among a, x; those has a, b"):
        common(labelled(["a", "x"], 0, 1), labelled(["a", "b"], 0, 1), "these", "those")
    with pytest.raises(UserError, match="counted from 1"):
        common(labelled(["1", "2"], 0, 1), labelled(None, 0, 1), "these", "those")
    with pytest.raises(UserError):
        common(labelled(None, 0, 5), labelled(["cat", "dog"], 0, 1), "these", "those")


def test_identifiers_are_no_classes() -> None:
    check_count("x", MAX_CLASSES - 1)
    with pytest.raises(UserError, match="x: a label is 1000000000000"):
        check_count("x", 10**12)


def test_numbered_folders_beside_class_names(tmp_path: Path) -> None:
    write(tmp_path, of_classes([str(k) for k in range(12)]))
    names = [f"c{k}" for k in range(12)]
    spec = {"kind": "folder", "path": str(tmp_path), "held_out": 0.25, "class_names": names}
    data = load_dataset(spec)
    assert data.class_names == tuple(names)
    source = {p.read_bytes(): int(p.parent.name) for p in tmp_path.rglob("*.png")}
    from drlbench.data.decode import decode

    by_pixels = {decode(content, "x").tobytes(): label for content, label in source.items()}
    for images, labels in ((data.train_images, data.train_labels), (data.heldout_images, data.heldout_labels)):
        assert [by_pixels[image.tobytes()] for image in images] == labels.tolist()
    (account,) = survey(spec)
    assert "classes are matched with class_names by integer index" in account.notes


def test_a_subset_keeps_the_indices_of_class_names(tmp_path: Path) -> None:
    write(tmp_path, of_classes(["dog", "owl"]))
    spec = {"kind": "folder", "path": str(tmp_path), "class_names": ["cat", "dog", "eel", "owl"], "held_out": 0.25}
    data = load_dataset(spec)
    assert data.num_classes == 4 and set(data.train_labels.tolist()) == {1, 3}
    assert "2 of 4 classes have no images" in survey(spec)[0].notes[0]
    with pytest.raises(UserError, match="dog among dog, owl; class_names has cat, owl"):
        load_dataset({**spec, "class_names": ["cat", "owl"]})


def test_held_out_classes_are_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path, {**of_classes(["a", "b", "c"], below="train/"), **of_classes(["b", "c"], 1, below="val/")})
    assert load_dataset({"kind": "folder", "path": str(tmp_path)}).heldout_labels.tolist() == [1, 2]


def test_folders_that_carry_index_and_name() -> None:
    known = ["tench", "sea lion", "owl"]
    assert match(["0001-sea-lion", "0002-owl"], known, "a", "b")[0].tolist() == [1, 2]
    with pytest.raises(UserError, match="cannot be matched"):
        match(["0000-sea-lion", "0002-owl"], known, "a", "b")
