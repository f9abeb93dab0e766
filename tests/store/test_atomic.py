"""Nothing half-written is read as whole, and every altered byte is found."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from drlbench.errors import IntegrityError, MissingPrerequisite
from drlbench.store import atomic

KEY = "ab" * 32


def make(folder: Path) -> Path:
    with atomic.artefact(folder, {"key": KEY}) as out:
        (out / "numbers.bin").write_bytes(bytes(range(200)))
        (out / "inner").mkdir()
        (out / "inner" / "text.json").write_text("{}")
    return folder


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic.artefact(tmp_path / "x", {"key": KEY}) as out:
        (out / "half").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_folder_is_complete_and_checks(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    assert atomic.is_complete(folder)
    atomic.check(folder, KEY)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names what is flushed by /proc")
def test_everything_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def move(source: Path, target: Path) -> None:
        rename(source, target)
        done.append(f"to {Path(target).name}")

    monkeypatch.setattr(atomic.os, "fsync", flush)
    monkeypatch.setattr(atomic.os, "rename", move)
    make(tmp_path / "x")
    named = done.index("to x")
    assert {"numbers.bin", "text.json", "inner", atomic.MARKER} <= set(done[:named])
    assert done[named + 1 :] == [tmp_path.name]


def test_a_disk_that_takes_nothing_more_seals_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_equal_results_stays(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    before = (folder / atomic.MARKER).stat().st_ino
    make(folder)
    assert (folder / atomic.MARKER).stat().st_ino == before
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("position", [0, 99, 199])
def test_one_flipped_bit_is_found(tmp_path: Path, position: int) -> None:
    folder = make(tmp_path / "x")
    content = bytearray((folder / "numbers.bin").read_bytes())
    content[position] ^= 1
    (folder / "numbers.bin").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"numbers.bin.*checksum"):
        atomic.check(folder, KEY)


@pytest.mark.parametrize("damage", ["truncate", "delete", "add", "other key", "marker cut"])
def test_every_other_damage_is_found(tmp_path: Path, damage: str) -> None:
    folder = make(tmp_path / "x")
    if damage == "truncate":
        (folder / "numbers.bin").write_bytes(bytes(range(199)))
    elif damage == "delete":
        (folder / "inner" / "text.json").unlink()
    elif damage == "add":
        (folder / "stray").write_text("x")
    elif damage == "marker cut":
        marker = folder / atomic.MARKER
        marker.write_text(marker.read_text()[:-20])
    with pytest.raises(IntegrityError):
        atomic.check(folder, KEY if damage != "other key" else "cd" * 32)


def test_replacing_a_file_keeps_the_old_one_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    atomic.write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(MissingPrerequisite, match=r"disk is full; 3 bytes needed, .* free"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_text_is_utf8_whatever_a_file_name_brought_in(tmp_path: Path) -> None:
    named = "é→".encode().decode("ascii", "surrogateescape")  # as a POSIX locale reads it
    for text, written in ((named, "é→"), ("\udcff", "\\xff"), ("\ud800", "\\ud800")):
        atomic.write_text(tmp_path / "a", text)
        assert (tmp_path / "a").read_bytes() == written.encode()


def test_a_flip_anywhere_in_the_marker_is_found(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    marker = folder / atomic.MARKER
    whole = marker.read_bytes()
    for position in range(len(whole)):
        marker.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(IntegrityError):
            atomic.check(folder, KEY)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1e999", b"[" * 5000, b'{"key": 1}', b"\xff\xfe", b""])
def test_a_marker_of_another_shape_is_damage(tmp_path: Path, content: bytes) -> None:
    folder = make(tmp_path / "x")
    (folder / atomic.MARKER).write_bytes(content)
    with pytest.raises(IntegrityError, match=atomic.MARKER):
        atomic.check(folder, KEY)
