"""A store in a bucket, against an S3 server on loopback: the rules of a folder, and the same numbers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drlbench.errors import IntegrityError, UserError
from drlbench.store import atomic, lease
from drlbench.store.bucket import BucketStore, cache_of, check_folder_store, open_store
from drlbench.store.layout import Store

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "fault" / "tiny.yaml"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def where(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty prefix of a bucket; the server takes any name and key."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("DRLBENCH_STORE_CACHE", str(tmp_path / "cache"))
    address = f"s3://bucket-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}/prefix"
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(address.removeprefix("s3://").split("/")[0])
    return Path(address)


def opened(where: Path) -> BucketStore:
    store = open_store(where)
    assert isinstance(store, BucketStore)
    return store


def make(store: BucketStore, key: str, content: bytes = b"data") -> None:
    with atomic.artefact(store.folder("kl", key), {"key": key, "kind": "kl"}) as out:
        (out / "sub").mkdir()
        (out / "sub" / "numbers").write_bytes(content)
    store.send("kl", key)


def elsewhere(store: BucketStore, tmp_path: Path, name: str = "other") -> BucketStore:
    """The same bucket from a machine that has no copies."""
    return BucketStore(tmp_path / name, store.where, store.address)


def test_an_address_survives_the_command_line() -> None:
    assert isinstance(open_store(Path(".drlbench")), Store)
    assert opened(Path("s3://bucket/a/b")).address == "s3://bucket/a/b"
    assert cache_of("s3://bucket/a") != cache_of("s3://bucket/b")
    with pytest.raises(UserError, match="this wants a folder"):
        check_folder_store(Path("s3://bucket/a"))


def test_what_is_sent_is_brought_and_nothing_is_there_before_its_marker(where: Path, tmp_path: Path) -> None:
    store, key = opened(where), "a" * 64
    there = elsewhere(store, tmp_path)
    with atomic.artefact(store.folder("kl", key), {"key": key, "kind": "kl"}) as out:
        (out / "numbers").write_bytes(b"data")
    assert not store.has("kl", key), "a copy that was never sent is no result"
    with pytest.raises(IntegrityError, match="missing"):
        there.bring("kl", key)
    store.send("kl", key)
    assert store.has("kl", key) and there.has("kl", key)
    assert (there.bring("kl", key) / "numbers").read_bytes() == b"data"
    atomic.check(there.folder("kl", key), key)
    assert list((tmp_path / "other").rglob("*.tmp")) == []


def test_the_first_of_two_makers_is_kept_whole(where: Path, tmp_path: Path) -> None:
    first, key = opened(where), "b" * 64
    second, third = elsewhere(first, tmp_path), elsewhere(first, tmp_path, "third")
    make(first, key, b"first")
    make(second, key, b"second")
    assert (third.bring("kl", key) / "sub" / "numbers").read_bytes() == b"first"


def test_a_changed_object_is_not_used(where: Path, tmp_path: Path) -> None:
    store, key = opened(where), "c" * 64
    make(store, key)
    (name,) = (n for n in store.files.find(store.address) if n.endswith("numbers"))
    store.files.pipe_file(name, b"dat4")
    there = elsewhere(store, tmp_path)
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        there.bring("kl", key)
    assert not there.folder("kl", key).exists()
    store.discard(store.folder("kl", key))
    assert not there.has("kl", key) and not store.has("kl", key)


def test_one_of_several_has_a_lease_and_a_dead_owner_loses_it(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, key = opened(where), "d" * 64
    held = store.claim(key)
    with pytest.raises(lease.Held, match=str(os.getpid())):
        store.claim(key)
    held.beat()
    assert not held.lost
    held.release()
    store.claim(key).release()

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = lease.me([]).model_copy(update={"pid": gone.pid, "birth": 1})
    store.files.pipe_file(f"{store.address}/leases/{key}", dead.model_dump_json().encode())
    taken = store.claim(key)
    assert taken.previous == dead
    taken.release()

    far = dead.model_copy(update={"place": "another machine", "host": "far"})
    store.files.pipe_file(f"{store.address}/leases/{key}", far.model_dump_json().encode())
    with pytest.raises(lease.Held, match="far"):
        store.claim(key)
    monkeypatch.setattr(lease, "STALE", 1.0)
    time.sleep(2.5)  # the server tells whole seconds
    taken = store.claim(key)
    assert taken.previous == far
    store.files.pipe_file(f"{store.address}/leases/{key}", far.model_dump_json().encode())
    taken.beat()
    assert taken.lost


def test_copies_are_bounded_and_what_is_in_use_stays(
    where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(where)
    keys = [letter * 64 for letter in "123"]
    for age, key in enumerate(keys):
        make(store, key, bytes(10_000))
        os.utime(store.folder("kl", key) / atomic.MARKER, (1000 + age, 1000 + age))
    monkeypatch.setenv("DRLBENCH_STORE_CACHE_GB", "0.000012")
    with store.in_use([keys[0]]):
        store.trim()
    assert [store.folder("kl", key).exists() for key in keys] == [True, False, False]
    assert all(store.has("kl", key) for key in keys)
    atomic.check(store.bring("kl", keys[1]), keys[1])


@pytest.mark.parametrize("suite", [TINY, pytest.param(ROOT / "suites" / "digits-small.yaml", marks=pytest.mark.long)])
def test_a_suite_gives_the_same_numbers_from_a_bucket_and_from_a_folder(
    where: Path, tmp_path: Path, suite: Path
) -> None:
    def run(store: str, out: str, cache: str) -> str:
        command = [sys.executable, "-m", "drlbench", "run", str(suite), "--store", store, "--out", out]
        env = os.environ | {"DRLBENCH_STORE_CACHE": str(tmp_path / cache), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    address = str(where).replace("s3:/", "s3://")
    run("store", "folder", "none")
    run(address, "bucket", "first")
    for name in ("results.csv", "table.csv", "frontier.csv"):
        assert (tmp_path / "bucket" / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()
    told = run(address, "again", "second")
    assert "[1/" not in told, "a machine without copies makes nothing again"
    assert (tmp_path / "again" / "results.csv").read_bytes() == (tmp_path / "folder" / "results.csv").read_bytes()
