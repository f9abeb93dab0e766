"""A store in an object store (`s3://bucket/prefix`): stages work in a local folder, are sent up, and brought on demand.

The rules are those of a folder. Data first: under a name made of the marker's checksum, so that two makers of one key
never mix their files. Marker last, and only where there is none (`If-None-Match`). Every file is compared with its
checksum when it is brought. A lease is an object that only one of several can create or take over (`If-Match`), and
that its owner writes anew while it lives; ages are told by the server's clock.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.store import atomic, garbage, lease, records
from drlbench.store.disk import make_folder
from drlbench.store.layout import Store, folder_size

SCHEME = "s3:/"  # as it stands in a path: pathlib has taken one of its slashes
CACHE_GB = 100.0
REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "At least one of the pre-conditions", "File exists")


def open_store(where: Path) -> Store:
    """A store by its folder or address.

    Raises:
        MissingPrerequisite: it is an address, and s3fs is not installed.
    """
    text = str(where)
    if not text.startswith(SCHEME):
        return Store(where)
    address = "s3://" + text.removeprefix(SCHEME).lstrip("/")
    return BucketStore(cache_of(address), where, address)


def cache_of(address: str) -> Path:
    """Where copies of an address are kept on this machine: in $DRLBENCH_STORE_CACHE, or the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "drlbench" / "stores"
    given = os.environ.get("DRLBENCH_STORE_CACHE")
    return (Path(given).expanduser() if given else home) / hashlib.sha256(address.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BucketStore(Store):
    """A store whose results lie in a bucket; `root` is this machine's copy of some of them.

    Attributes:
        where: the address as the command line has it. address: s3://bucket/prefix.
    """

    where: Path = field(default=Path())
    address: str = ""

    @property
    def place(self) -> Path:
        return self.where

    @cached_property
    def files(self) -> Any:
        """The file system of fsspec; credentials and endpoint are those of the AWS tools."""
        try:
            import fsspec

            return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise MissingPrerequisite(f"--store {self.address}: pip install 'drlbench[s3]' ({error})") from error

    def _object(self, *parts: str) -> str:
        return "/".join([self.address.rstrip("/"), *parts])

    @cached_property
    def _seen(self) -> set[str]:
        """Keys whose markers were seen in the bucket."""
        return set()

    def has(self, kind: str, key: str) -> bool:
        """True when the result is in the bucket; a copy here that was never sent does not count."""
        if key not in self._seen and self.files.exists(self._object(kind, key, atomic.MARKER)):
            self._seen.add(key)
        return key in self._seen

    def bring(self, kind: str, key: str) -> Path:
        """The folder of a finished result on this machine, with every file compared as it came.

        Raises:
            IntegrityError: it is not in the bucket, or not what was written.
        """
        folder = self.folder(kind, key)
        if atomic.is_complete(folder):
            os.utime(folder / atomic.MARKER)  # the last use, for `trim`
            return folder
        make_folder(folder.parent)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}.", suffix=".tmp"))
        try:
            content = self._get(kind, key, atomic.MARKER)
            (scratch / atomic.MARKER).write_bytes(content)
            for name in atomic.read_marker(scratch).files:
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                self.files.get_file(self._object(kind, key, _data_name(content), name), str(path))
            atomic.check(scratch, key)
            os.chmod(scratch, 0o755)
            try:
                os.rename(scratch, folder)
            except OSError:
                if not atomic.is_complete(folder):
                    raise
        except FileNotFoundError as error:
            raise IntegrityError(f"{self._object(kind, key)}: missing ({error})") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def _get(self, *parts: str) -> bytes:
        return bytes(self.files.cat_file(self._object(*parts)))

    def send(self, kind: str, key: str) -> None:
        """Put a finished result into the bucket; another maker's is kept where it was first."""
        folder = self.folder(kind, key)
        content = (folder / atomic.MARKER).read_bytes()
        for name in atomic.read_marker(folder).files:
            self.files.put_file(str(folder / name), self._object(kind, key, _data_name(content), name))
        self._put(content, kind, key, atomic.MARKER, IfNoneMatch="*")

    def _put(self, content: bytes, *parts: str, **condition: str) -> bool:
        """Write an object; False where its condition does not hold."""
        try:
            self.files.pipe_file(self._object(*parts), content, **condition)
        except (OSError, ValueError) as error:
            if (condition and any(word in str(error) for word in REFUSED)) or isinstance(error, FileExistsError):
                return False
            raise
        return True

    def discard(self, folder: Path) -> None:
        """Take a result out of the bucket, marker first, and off this machine."""
        super().discard(folder)
        self._seen.discard(folder.name)
        kind, key = folder.parent.parent.name, folder.name
        if folder.parent.parent.parent == self.root:
            for name in (self._object(kind, key, atomic.MARKER), self._object(kind, key)):
                if self.files.exists(name):
                    self.files.rm(name, recursive=True)

    @contextmanager
    def used_by_this_run(self, keys: list[str]) -> Iterator[None]:
        """Nothing is deleted from a bucket but by `--repair`; this machine's copies may go at any time."""
        make_folder(self.root)
        yield
        self.trim()

    @contextmanager
    def in_use(self, keys: list[str]) -> Iterator[None]:
        """These copies stay on this machine meanwhile; afterwards those that were used longest ago may go."""
        with super().used_by_this_run(keys):
            yield
        self.trim()

    def trim(self) -> None:
        """Delete the copies that were not used for longest, until the rest is within $DRLBENCH_STORE_CACHE_GB."""
        limit = float(os.environ.get("DRLBENCH_STORE_CACHE_GB", CACHE_GB)) * 1e9
        found = [(path, folder_size(path)) for _, path in self.entries()]
        total = sum(size for _, size in found)
        if total <= limit:
            return
        with self.settled():
            kept = garbage.in_use(self)
            for path, size in sorted(found, key=lambda one: _last_used(one[0])):
                if total > limit and path.name not in kept:
                    super().discard(path)
                    total -= size

    def claim(self, key: str) -> lease.Lease:
        """See `Store`."""
        return BucketLease.acquire(self, key)

    def usage(self) -> str:
        """See `Store`; of the bucket."""
        sizes: dict[str, list[int]] = {}
        kinds: dict[str, int] = {}
        for name, facts in self.files.find(self.address, detail=True).items():
            kind = name.removeprefix(self.address.removeprefix("s3://")).strip("/").split("/")[0]
            sizes.setdefault(kind, []).append(int(facts["size"]))
            kinds[kind] = kinds.get(kind, 0) + name.endswith(f"/{atomic.MARKER}")
        lines = [f"{k:12} {kinds[k]:5} results {sum(s) / 1e6:9.1f} MB" for k, s in sorted(sizes.items()) if kinds[k]]
        return "\n".join(lines) or f"{self.address}: nothing stored yet"


def _data_name(marker: bytes) -> str:
    return hashlib.sha256(marker).hexdigest()[:16]


def _last_used(folder: Path) -> float:
    try:
        return (folder / atomic.MARKER).stat().st_mtime
    except OSError:
        return 0.0


class BucketLease(lease.Lease):
    """A lease that is an object; its owner writes it anew while it lives."""

    def __init__(self, store: BucketStore, key: str, owner: lease.Owner, previous: lease.Owner | None) -> None:
        super().__init__(Path("leases") / key, owner, previous)
        self.store, self.key = store, key

    @classmethod
    def acquire(cls, store: BucketStore, key: str) -> BucketLease:
        """Take the lease of a stage, also from an owner that is dead.

        Raises:
            Held: its owner lives.
        """
        me, previous = lease.me([]), None
        text = me.model_dump_json().encode()
        while not store._put(text, "leases", key, IfNoneMatch="*"):
            try:
                facts = store.files.info(store._object("leases", key))
                owner = records.parse(store._get("leases", key), lease.Owner, f"lease {key}")
            except FileNotFoundError:
                continue
            here = lease.is_here(owner)
            if lease.birth(owner.pid) == owner.birth if here else _age(store, facts) < lease.STALE:
                raise lease.Held(owner)
            if here:
                time.sleep(lease.GRACE)
            if store._put(text, "leases", key, IfMatch=facts["ETag"]):
                previous = owner
                break
        held = cls(store, key, me, previous)
        lease.keep(held)
        return held

    def _is_mine(self) -> bool:
        try:
            found = records.parse(self.store._get("leases", self.key), lease.Owner, f"lease {self.key}")
        except (FileNotFoundError, IntegrityError):
            return False
        return found.token == self.owner.token

    def release(self) -> None:
        """See `Lease`."""
        lease.forget(self)
        try:
            if self._is_mine():
                self.store.files.rm_file(self.store._object("leases", self.key))
        except OSError:
            return  # a bucket that is away: the next run takes it from a dead owner

    def beat(self) -> None:
        """See `Lease`."""
        if self._is_mine():
            self.store._put(self.owner.model_dump_json().encode(), "leases", self.key)
        else:
            self.lost = True
            lease.forget(self)


def _age(store: BucketStore, facts: dict[str, Any]) -> float:
    """Seconds since an object was written, by the server's clock."""
    probe = f"probe-{uuid.uuid4().hex}"
    store._put(b"x", "leases", probe)
    try:
        now = store.files.info(store._object("leases", probe))["LastModified"]
    finally:
        store.files.rm_file(store._object("leases", probe))
    return float((now - facts["LastModified"]).total_seconds())


def check_folder_store(store: Path) -> None:
    """Refuse an address where only a folder will do.

    Raises:
        UserError: names what takes an address.
    """
    if str(store).startswith(SCHEME):
        raise UserError("--store s3://...: `run`, `plan`, `verify` and `cache ls` take an address; this wants a folder")
