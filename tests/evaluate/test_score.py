"""Scoring image sets against references: values, warnings, failures that keep the rest, and the files written."""

from __future__ import annotations

import csv
import io
import itertools
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from drlbench.data.images import open_images
from drlbench.encoders.base import Encoder
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.evaluate.names import encoder_for, named_encoder, of_reference, paths_of
from drlbench.evaluate.score import evaluate
from drlbench.evaluate.table import Row, Table
from drlbench.features.extract import extract
from drlbench.features.moments import Moments
from drlbench.metrics import frechet_distance, kernel_distance
from drlbench.metrics.signature import make_signature, read_signature, why_not_comparable
from drlbench.rewards.base import Reward


class Probe(Encoder):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 5, 3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        self.dim, self.signature, self.seen = 5, "probe:0", 0
        self.freeze()

    def forward(self, images):
        self.seen += len(images)
        return self.net(images).relu().mean((2, 3))


class Bright(Reward):
    name, signature = "pickscore", "bright:1"

    def forward(self, images, y):
        return images.mean((1, 2, 3)) + 0.0 * y


class Several(Probe):
    """Three outputs of one pass, as Inception has them."""

    outputs = ("2048", "logits_unbiased", "spatial")

    def forward_all(self, images):
        x = self.forward(images)
        return {"2048": x, "logits_unbiased": 9 * x, "spatial": x[:, :3]}

    def signature_of(self, output):
        return f"several/{output}"


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    real = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    fake = (0.8 * rng.integers(0, 256, (60, 8, 8, 3))).astype(np.uint8)
    np.savez(tmp_path / "fake.npz", arr_0=fake, arr_1=labels)
    np.savez(tmp_path / "real.npz", arr_0=real, arr_1=labels)
    return tmp_path, fake, real


def by_name(table):
    return {row.metric: row for row in table.rows}


def test_numbers_intervals_and_signatures(sets):
    folder, fake, real = sets
    probe = Probe()
    table = evaluate(
        folder / "fake.npz",
        folder / "real.npz",
        ["fd", "kd", "prdc", "stats", "pickscore"],
        {"probe": lambda: probe},
        rewards={"pickscore": Bright},
    )
    assert not table.failures and table.exit_code == 0
    rows = by_name(table)
    a, b = extract(probe, fake), extract(probe, real)
    assert rows["fd"].value == pytest.approx(frechet_distance(a, b).value, rel=1e-9)
    assert rows["kd_x1000"].value == pytest.approx(1000 * kernel_distance(a, b).value, rel=1e-9)
    assert rows["pickscore"].value == pytest.approx(fake.mean() / 255, rel=1e-5)
    assert rows["brightness"].details["drift"] < 0
    assert {"precision", "recall", "density", "coverage", "class_coverage", "whiteness"} <= rows.keys()
    for row in table.rows:
        assert row.low <= row.value <= row.high and row.n == 60
    parts = read_signature(rows["fd"].signature)
    assert parts["enc"] == "probe:0" and parts["ref"].startswith("real:") and parts["n"] == "60"
    assert "reward" in read_signature(rows["pickscore"].signature)


def test_one_pass_cache_and_batch_sizes(sets, tmp_path):
    folder, _, _ = sets
    probe = Probe()
    tables = []
    for size in (1, 7, 64):
        probe.seen = 0
        tables.append(
            evaluate(
                folder / "fake.npz", folder / "real.npz", ["fd", "prdc", "stats"], {"p": lambda: probe}, batch_size=size
            )
        )
        assert probe.seen == 120
    for other in tables[1:]:
        for first, second in zip(tables[0].rows, other.rows, strict=True):
            assert second.value == pytest.approx(first.value, rel=1e-4, abs=1e-7)
    for expected in (120, 0):
        probe.seen = 0
        evaluate(folder / "fake.npz", folder / "real.npz", ["fd"], {"p": lambda: probe}, cache=tmp_path / "cache")
        assert probe.seen == expected


def test_unsound_comparisons_are_said_to_be(sets):
    folder, _, real = sets
    np.savez(folder / "small.npz", arr_0=real[:4, :6, :6])
    table = evaluate(folder / "fake.npz", folder / "small.npz", ["fd"], {"p": Probe})
    text = "\n".join(table.warnings)
    for part in ("8 x 8, the reference 6 x 6", "60 images against 4", "biased upwards"):
        assert part in text
    assert len(table.rows) == 1


def test_statistics_files(sets):
    folder, fake, real = sets
    features = extract(Probe(), real)
    moments = Moments.of(features)
    np.savez(folder / "jit_in256_stats.npz", mu=moments.mean, sigma=moments.covariance)
    table = evaluate(folder / "fake.npz", folder / "jit_in256_stats.npz", ["fd", "kd"], {"inception-v3": Probe})
    assert by_name(table)["fd"].value == pytest.approx(frechet_distance(extract(Probe(), fake), moments).value)
    assert "ref:jit_in256_stats:" in table.rows[0].signature
    assert any("does not say how its images were resized" in w for w in table.warnings)
    assert [what for what, _ in table.failures] == ["kd in inception-v3"]
    np.savez(folder / "wide.npz", mu=np.zeros(7), sigma=np.eye(7))
    wide = evaluate(folder / "fake.npz", folder / "wide.npz", ["fd"], {"inception-v3": Probe})
    assert "7 dimensions, the encoder 5" in str(wide.failures[0][1])


def test_a_failure_keeps_the_rest(sets):
    folder, _, _ = sets

    def gated():
        raise MissingPrerequisite("DINOv3-L: access refused. Accept the licence")

    table = evaluate(folder / "fake.npz", folder / "real.npz", ["fd", "stats"], {"dinov3": gated, "p": Probe})
    assert table.exit_code == 6 and "fd" in by_name(table) and "brightness" in by_name(table)
    np.savez(
        folder / "plain.npz", arr_0=np.zeros((5, 8, 8, 3), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    )
    table = evaluate(folder / "plain.npz", None, ["pickscore", "stats"], {}, rewards={"pickscore": Bright})
    assert "has no labels" in str(table.failures[0][1]) and "brightness" in by_name(table)


def test_usage_errors(sets):
    folder, fake, _ = sets
    with pytest.raises(UserError, match=r"unknown metric 'fdd'.*did you mean 'fd'"):
        evaluate(folder / "fake.npz", folder / "real.npz", ["fdd"], {"p": Probe})
    np.savez(folder / "one.npz", arr_0=fake[:1])
    with pytest.raises(UserError, match="only 1 image"):
        evaluate(folder / "one.npz", folder / "real.npz", ["fd"], {"p": Probe})
    with pytest.raises(UserError, match="no such file"):
        evaluate(folder / "none.npz", folder / "real.npz", ["fd"], {"p": Probe})
    with pytest.raises(UserError, match="no such file"):
        evaluate(folder / "fake.npz", folder / "none", ["fd"], {"p": Probe})


def test_files_are_safe_and_complete(tmp_path):
    table = Table(warnings=["w"], failures=[("x", UserError("why"))])
    table.rows.append(Row("=cmd()", "fd", 1.23456789012345, None, None, 9, "lower", "fd|n:9"))
    table.write(tmp_path)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "eval.csv").read_text()))
    assert row["space"] == "'=cmd()" and row["low"] == "" and row["value"] == "1.23457"
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found["rows"][0]["value"] == 1.23456789012345
    assert found["failures"] == [{"what": "x", "why": "why"}] and found["warnings"] == ["w"]


def test_tables_against_several_references_become_one():
    one, two = Table(warnings=["w"]), Table(warnings=["w", "v"], failures=[("x", UserError("why"))])
    one.rows.append(Row("s", "fd", 1.0, None, None, 9, "lower", "fd|ref:jit|n:9"))
    two.rows.append(Row("s", "fd", 2.0, None, None, 9, "lower", "fd|ref:adm|n:9"))
    one.extend(two)
    one.extend(Table(failures=two.failures))
    assert [row.value for row in one.rows] == [1.0, 2.0] and one.warnings == ["w", "v"] and len(one.failures) == 1
    assert of_reference(["is", "fd", "pickscore", "stats"]) == ["fd", "stats"]


def test_signatures_compare():
    one = make_signature("fd", {"enc": "a:1", "ref": "r:2", "n": 50})
    two = make_signature("fd", {"enc": "a:1", "ref": "r:3", "n": 60})
    assert why_not_comparable(one, one) == []
    assert why_not_comparable(one, two) == ["reference: r:2 against r:3", "number of samples: 50 against 60"]
    odd = make_signature("fd", {"ref": "a|b%\n", "enc": "x:y"})
    assert read_signature(odd)["ref"] == "a|b%\n" and read_signature(odd)["enc"] == "x:y"


def test_a_reference_is_named_by_the_content_of_its_images(sets):
    folder, _, real = sets
    np.savez(folder / "again.npz", arr_0=real)
    np.savez(folder / "other.npz", arr_0=np.concatenate([real[:-1], real[:1]]))

    def ref(name, size):
        table = evaluate(folder / "fake.npz", folder / name, ["fd"], {"p": Probe}, batch_size=size)
        return read_signature(table.rows[0].signature)["ref"].partition(":")[2]

    assert ref("real.npz", 64) == ref("again.npz", 7) != ref("other.npz", 64)


def test_metrics_with_an_output_of_their_own(sets):
    folder, _, _ = sets
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["is", "sfid", "fid", "kid"], {"inception-v3": Several})
    found = {(row.space, row.metric) for row in table.rows}
    assert found == {
        ("inception-v3/logits_unbiased", "inception_score"),
        ("inception-v3/spatial", "sfid"),
        ("inception-v3", "fd"),
        ("inception-v3", "kd_x1000"),
    }
    assert not table.failures and table.rows[0].value > 1
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["is", "stats"], {"p": Probe})
    assert (
        "p gives no logits_unbiased from the weights at hand; inception-v3 from" in str(table.failures[0][1])
        and table.rows
    )
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["fd", "stats"], {})
    assert "no encoder is in the spaces asked for" in str(table.failures[0][1]) and table.rows


def test_the_encoder_is_asked_for_what_the_metrics_need(monkeypatch):
    made = []
    monkeypatch.setattr(
        "drlbench.encoders.inception.InceptionV3.__init__",
        lambda self, variant=None, outputs=None, weights=None: made.append((variant, outputs, weights)),
    )
    monkeypatch.setattr("drlbench.encoders.inception.InceptionV3.freeze", lambda self: self)
    encoder_for("inception-v3", ["is", "fd"])()
    encoder_for("inception-v3/clean", ["sfid"], "w.pth")()
    assert made == [(None, ["2048", "logits_unbiased"], None), ("clean", ["2048", "spatial"], "w.pth")]


def test_spaces_and_weights_by_name():
    assert named_encoder("inception-v3/clean") == ("inception-v3", {"variant": "clean"})
    preset = "dinov3-vitl16/224/bicubic-8bit/cls@1"
    assert named_encoder(preset) == ("dinov3", {"preset": preset}) and named_encoder("clip") == ("clip", {})
    with pytest.raises(UserError, match="did you mean 'dinov3'"):
        named_encoder("dinov33")
    assert paths_of(["a=x/y=z", "b=w"], [], ["a", "b"]) == {"a": "x/y=z", "b": "w"}
    spaces = ["inception-v3", "inception-v3/clean"]
    for pairs, clean in ((["inception-v3=p"], "p"), (["inception-v3/clean=q", "inception-v3=p"], "q")):
        assert paths_of(pairs, spaces, []) == {"inception-v3": "p", "inception-v3/clean": clean}
    assert paths_of(["inception-v3=p"], ["inception-v3/clean"], []) == {"inception-v3/clean": "p"}
    with pytest.raises(UserError, match="NAME=PATH"):
        paths_of(["a"], [], ["a"])
    with pytest.raises(UserError, match="'c', which is not asked for"):
        paths_of(["c=x"], [], ["a"])


def test_what_a_suite_has_to_fit_is_told(sets):
    folder, _, _ = sets
    table = evaluate(
        folder / "fake.npz",
        folder / "real.npz",
        ["fd", "bradley-terry"],
        {"d": encoder_for("small-dae", ["fd"]), "p": Probe},
    )
    assert [what for what, _ in table.failures] == ["d", "bradley-terry"] and "fd" in by_name(table)
    assert all("is fitted by a suite" in str(error) for _, error in table.failures)


def test_standard_error_and_rank_reach_the_files(sets, tmp_path):
    folder, _, _ = sets
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["fd", "kd"], {"p": Probe})
    table.write(tmp_path / "out")
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO((tmp_path / "out" / "eval.csv").read_text()))}
    assert float(rows["kd_x1000"]["standard_error"]) == pytest.approx(
        by_name(table)["kd_x1000"].details["standard_error"], rel=1e-5
    )
    assert rows["fd"]["rank_deficient"] == "no" and rows["fd"]["standard_error"] == ""
    document = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert {"rank_a", "rank_deficient"} <= document["rows"][0]["details"].keys()


def test_statistics_with_images_or_features_beside_them(sets):
    folder, fake, real = sets
    features = extract(Probe(), real)
    moments = Moments.of(features)
    np.savez(folder / "VIRTUAL.npz", mu=moments.mean, sigma=moments.covariance, arr_0=real[:40])
    rows = by_name(evaluate(folder / "fake.npz", folder / "VIRTUAL.npz", ["fd", "kd"], {"inception-v3": Probe}))
    own = extract(Probe(), fake)
    assert rows["fd"].value == pytest.approx(frechet_distance(own, moments).value)  # all of the statistics' images
    assert rows["kd_x1000"].value == pytest.approx(1000 * kernel_distance(own, features[:40]).value)
    np.savez(folder / "kept.npz", features=features)
    rows = by_name(evaluate(folder / "fake.npz", folder / "kept.npz", ["fd", "kd"], {"p": Probe}))
    assert rows["kd_x1000"].value == pytest.approx(1000 * kernel_distance(own, features).value)
    assert rows["fd"].value == pytest.approx(frechet_distance(own, features).value)
    np.savez(folder / "nan.npz", mu=np.full(5, np.nan), sigma=np.eye(5))
    with pytest.raises(UserError, match="not finite moments"):
        evaluate(folder / "fake.npz", folder / "nan.npz", ["fd"], {"p": Probe})


class Broken(Probe):
    """NaN for images brighter than a limit."""

    limit = 0.45

    def forward(self, images):
        return torch.where((images.mean((1, 2, 3)) > self.limit)[:, None], torch.nan, super().forward(images))


def test_nan_features_cost_their_space_only(sets):
    folder, _, _ = sets
    for limit, where in ((0.3, "images"), (0.45, "reference")):  # the reference is the brighter set
        broken = Broken()
        broken.limit = limit
        spaces = {"broken": lambda broken=broken: broken, "p": Probe}
        table = evaluate(folder / "fake.npz", folder / "real.npz", ["fd", "stats"], spaces)
        (failure,) = table.failures
        assert failure[0] == f"broken on the {where}" and "hold NaN or infinity" in str(failure[1])
        assert [row.space for row in table.rows if row.metric == "fd"] == ["p"] and "brightness" in by_name(table)


def test_lone_classes_keep_the_other_numbers(sets):
    folder, _, real = sets
    np.savez(folder / "lone.npz", arr_0=real, arr_1=np.arange(60))
    table = evaluate(folder / "fake.npz", folder / "lone.npz", ["prdc"], {"p": Probe})
    assert list(by_name(table)) == ["precision", "recall", "density", "coverage"] and not table.failures
    assert any("class_coverage is left out: class 0 has 1" in w for w in table.warnings)
    np.savez(folder / "few.npz", arr_0=real[:4])
    table = evaluate(folder / "fake.npz", folder / "few.npz", ["fd", "prdc"], {"p": Probe})
    assert "the reference has 4 samples; k = 5 neighbours need at least 6" in str(table.failures[0][1])
    assert "fd" in by_name(table)


def png_16_bit(path, size=8):
    """An RGB image of 16 bits per channel, which Pillow can read but not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = b"".join(b"\0" + bytes(range(6 * size)) for _ in range(size))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def test_16_bit_colour_is_not_cut_down_in_silence(sets):
    folder, fake, _ = sets
    (folder / "deep").mkdir()
    for i in range(3):
        Image.fromarray(fake[i]).save(folder / "deep" / f"{i}.png")
    png_16_bit(folder / "deep" / "1.png")
    table = evaluate(folder / "deep", folder / "real.npz", ["fd"], {"p": Probe})
    assert any("1 of 3 images have 16 bits per channel and are divided by 257" in text for text in table.warnings)
    deep = np.frombuffer(bytes(range(48)), ">u2").reshape(8, 3)
    (found,) = open_images(folder / "deep").batches()
    np.testing.assert_array_equal(found[1], np.broadcast_to(np.rint(deep / 257), (8, 8, 3)))


@pytest.mark.long
def test_the_csv_does_not_depend_on_batch_size_or_workers(tmp_path):
    """Inception with random weights on 66 and 65 image files: the same text for all six ways of running it."""
    from drlbench.encoders.inception import InceptionV3
    from drlbench.encoders.inception_graph import Conv, Network

    torch.manual_seed(0)
    network = Network()
    for module in network.modules():
        if isinstance(module, Conv):  # activations of order 1 all the way, as trained weights have them
            nn.init.kaiming_normal_(module.conv.weight)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    rng = np.random.default_rng(0)
    for name, count, gain in (("fake", 66, 0.8), ("real", 65, 1.0)):
        (tmp_path / name).mkdir()
        for i in range(count):
            coarse = Image.fromarray((gain * rng.integers(0, 256, (9, 9, 3))).astype(np.uint8))
            coarse.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / name / f"{i:03d}.png")
    texts, features = [], []
    asked = ["fd", "sfid", "kd", "prdc", "is", "stats"]
    encoder = InceptionV3(outputs=["2048", "logits_unbiased", "spatial"], weights=tmp_path / "weights.pth")
    for size, workers in itertools.product((1, 7, 64), (1, 2)):
        table = evaluate(
            tmp_path / "fake",
            tmp_path / "real",
            asked,
            {"inception-v3": lambda: encoder},
            batch_size=size,
            workers=workers,
        )
        assert not table.failures
        texts.append(table.csv())
    for size in (1, 7, 64):
        features.append(
            extract(encoder, np.stack([np.asarray(Image.open(p)) for p in sorted((tmp_path / "real").iterdir())]), size)
        )
    for other in features[:-1]:
        assert np.linalg.norm(other - features[-1]) / np.linalg.norm(features[-1]) < 1e-5
    assert len(set(texts)) == 1
    assert float(texts[0].splitlines()[1].split(",")[2]) > 1e-3  # the sets do differ


def test_fd_infinity_and_mind_by_name(sets):
    folder, _, real = sets
    table = evaluate(folder / "fake.npz", folder / "real.npz", ["fid-infinity", "mind", "fd"], {"p": Probe})
    assert not table.failures
    rows = by_name(table)
    assert set(rows) == {"fd_infinity", "mind", "fd"}
    assert rows["fd_infinity"].details["fd"] == pytest.approx(rows["fd"].value)
    assert all(row.low < row.value < row.high for row in table.rows)
    moments = Moments.of(extract(Probe(), real))
    np.savez(folder / "jit_in256_stats.npz", mu=moments.mean, sigma=moments.covariance)
    # Moments of the reference suffice for the first, not for the second.
    table = evaluate(
        folder / "fake.npz", folder / "jit_in256_stats.npz", ["fd-infinity", "mind"], {"inception-v3": Probe}
    )
    assert [row.metric for row in table.rows] == ["fd_infinity"]
    assert [what for what, _ in table.failures] == ["mind in inception-v3"]
