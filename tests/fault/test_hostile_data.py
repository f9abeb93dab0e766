"""Data that lies about its size or expands: one message, exit code 2 or 5, in under 2 s and 300 MB.

Each case runs in a process of its own whose memory may not grow by more than the limit, so that a reader which
allocates what a header claims dies here and is not saved by a machine that has it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

SECONDS, MEGABYTES = 2.0, 300

# Reads every case of a list; the address space may grow by MEGABYTES over what the imports took.
READER = f"""
import json, resource, sys, time
from pathlib import Path
import numpy as np, pyarrow.parquet, PIL.Image
from drlbench.data.images import open_images
from drlbench.data.sources import load_dataset
from drlbench.features.reference import read_reference
from drlbench.errors import UserError
PIL.Image.init()
open_images(sys.argv[1])  # a good folder: everything that is imported late is there now
try: open_images(sys.argv[1] + "/no.parquet")
except UserError: pass

def held():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

def suite(path):
    kinds = {{".npz": "npz", ".parquet": "parquet", ".tar": "tar"}}
    load_dataset({{"kind": kinds.get(Path(path).suffix, "folder"), "path": path}})

def score(path):
    for _ in open_images(path).batches(): pass

doors = {{"eval": score, "suite": suite, "reference": read_reference}}
for name, door, path in json.loads(sys.argv[2]):
    limit = held() + {MEGABYTES}_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    start = time.process_time()
    try:
        doors[door](path)
        said = [0, ""]
    except UserError as error:
        said = [error.exit_code, str(error)]
    except BaseException as error:
        said = [1, repr(error)]
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps([name, door, time.process_time() - start, *said]), flush=True)
"""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int, depth: int, colour: int, lines: int | None = None) -> bytes:
    """A PNG of zeros that is small on disk."""
    row = b"\0" + bytes((width * depth * (3 if colour == 2 else 1) + 7) // 8)
    packer, parts = zlib.compressobj(1), []
    for _ in range(height if lines is None else lines):
        parts.append(packer.compress(row))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"".join([*parts, packer.flush()])) + chunk(b"IEND", b"")


def good() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(out, "PNG")
    return out.getvalue()


def npy(shape: str, dtype: str, content: bytes = b"") -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def folder(place: Path, name: str, content: bytes) -> Path:
    (place / "a").mkdir(parents=True)
    (place / "a" / "0.png").write_bytes(good())
    (place / "a" / name).write_bytes(content)
    return place


def images_in_npz(path: Path, labels: bytes) -> Path:
    return npz(path, arr_0=npy("(4, 8, 8, 3)", "|u1", bytes(768)), arr_1=labels)


def tar_header(kind: bytes, size: bytes) -> bytes:
    entry = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    entry[156:157], entry[124:136] = kind, size
    entry[148:156] = b"        "
    entry[148:156] = b"%06o\0 " % sum(entry)
    return bytes(entry)


def labelled(path: Path, label: bytes, ending: str) -> Path:
    files = {"0.png": good(), f"0.{ending}": label, "1.png": good(), "1.cls": b"0"}
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def parquet(path: Path, labels: pa.Array) -> Path:
    rows = [{"bytes": good(), "path": ""}] * len(labels)
    pq.write_table(pa.table({"image": rows, "label": labels}), path)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def dangling(place: Path, target: str) -> Path:
    root = folder(place, "1.png", good())
    os.symlink(target, root / "a" / "2.png")
    os.symlink("2.png", root / "a" / "3.png")
    return root


def unpacking(path: Path) -> Path:
    rows = pa.array([{"bytes": bytes(250_000_000), "path": ""}])
    pq.write_table(pa.table({"image": rows, "label": [0]}), path, compression="zstd")
    return path


def expanding(width: int, depth: int) -> bytes:
    inner: object = (0.0,)
    for _ in range(depth):
        inner = (inner,) * width
    return pickle.dumps({"mu": inner, "sigma": inner}, 4)


GB8 = b"%011o\0" % (8**11 - 1)
IMAGES: dict[str, Callable[[Path], Path]] = {
    "196 megapixels": lambda p: folder(p, "1.png", bomb(14000, 14000, 1, 0, lines=14000)),
    "39 megapixels of colour": lambda p: folder(p, "1.png", bomb(6500, 6000, 8, 2)),
    "39 megapixels of 16 bits": lambda p: folder(p, "1.png", bomb(6500, 6000, 16, 2, lines=9)),
    "a header of 2^31 by 2^31": lambda p: folder(p, "1.png", bomb(2**31 - 1, 2**31 - 1, 1, 0, lines=0)),
    "text that expands": lambda p: folder(
        p, "1.png", good()[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(30_000_000), 1)) + good()[33:]
    ),
    "a dangling link": lambda p: dangling(p, "nowhere.png"),
    "links in a circle": lambda p: dangling(p, "3.png"),
    "npz of 10^9 images": lambda p: npz(p.with_suffix(".npz"), arr_0=npy("(1000000000, 64, 64, 3)", "|u1", bytes(99))),
    "npz of 10^12 labels": lambda p: images_in_npz(p.with_suffix(".npz"), npy("(1000000000000,)", "<i8", bytes(32))),
    "npz label 10^12": lambda p: images_in_npz(
        p.with_suffix(".npz"), npy("(4,)", "<i8", np.array([0, 1, 2, 10**12]).tobytes())
    ),
    "npz label NaN": lambda p: images_in_npz(p.with_suffix(".npz"), npy("(4,)", "<f8", np.full(4, np.nan).tobytes())),
    "npz of negative shape": lambda p: npz(p.with_suffix(".npz"), arr_0=npy("(-4, 8, 8, 3)", "|u1", bytes(768))),
    "tar member of 8 GB": lambda p: written(p.with_suffix(".tar"), tar_header(b"0", GB8) + bytes(1024)),
    "tar name of 8 GB": lambda p: written(p.with_suffix(".tar"), tar_header(b"L", GB8) + bytes(1024)),
    "tar attributes of 8 GB": lambda p: written(p.with_suffix(".tar"), tar_header(b"x", GB8) + bytes(1024)),
    "tar member of negative size": lambda p: written(
        p.with_suffix(".tar"), tar_header(b"0", b"\xff" * 12) + bytes(1024)
    ),
    "tar label 10^12": lambda p: labelled(p.with_suffix(".tar"), b"1000000000000", "cls"),
    "tar label NaN": lambda p: labelled(p.with_suffix(".tar"), b'{"label": NaN}', "json"),
    "tar label infinite": lambda p: labelled(p.with_suffix(".tar"), b'{"label": Infinity}', "json"),
    "tar label of 10^5 digits": lambda p: labelled(p.with_suffix(".tar"), b"9" * 100_000, "cls"),
    "tar label nested": lambda p: labelled(p.with_suffix(".tar"), b"[" * 100_000, "json"),
    "parquet label 10^12": lambda p: parquet(p.with_suffix(".parquet"), pa.array([0, 10**12, 0, 1])),
    "parquet label NaN": lambda p: parquet(p.with_suffix(".parquet"), pa.array([0.0, float("nan"), 0.0, 1.0])),
    "parquet that expands": lambda p: unpacking(p.with_suffix(".parquet")),
    "parquet cut": lambda p: written(
        p.with_suffix(".parquet"),
        parquet(p.with_suffix(".pq"), pa.array([0, 1])).read_bytes()[:-8] + b"\xff\xff\xff\x7fPAR1",
    ),
}
REFERENCES: dict[str, Callable[[Path], bytes]] = {
    "nested tuples": lambda p: b"\x80\x04)" + b"\x85" * 1_000_000 + b".",
    "nested lists": lambda p: b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "8^60 shared lists": lambda p: expanding(8, 60),
    "8^18 shared tuples": lambda p: expanding(8, 18),
    "three million numbers": lambda p: b"\x80\x02(" + b"K\x01" * 3_000_000 + b"t.",
    "a number of 5 million digits": lambda p: b"\x80\x02I" + b"9" * 5_000_000 + b"\n.",
    "moments of 10^11": lambda p: npz(
        p, mu=npy("(100000000000,)", "<f8"), sigma=npy("(3, 3)", "<f8", bytes(72))
    ).read_bytes(),
    "moments that expand": lambda p: npz(
        p, mu=npy("(3000,)", "<f8", bytes(24_000)), sigma=npy("(3000, 3000)", "<f8", bytes(72_000_000))
    ).read_bytes(),
    "NaN in the moments": lambda p: npz(
        p, mu=npy("(3,)", "<f8", np.full(3, np.nan).tobytes()), sigma=npy("(3, 3)", "<f8", bytes(72))
    ).read_bytes(),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is set through /proc")
def test_hostile_data_cost_one_message(tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    folder(safe, "1.png", good())
    cases = [(name, str(make(tmp_path / f"i{k}"))) for k, (name, make) in enumerate(IMAGES.items())]
    asked = [(name, door, path) for name, path in cases for door in ("eval", "suite")]
    for k, (name, content) in enumerate(REFERENCES.items()):
        raw = content(tmp_path / f"scratch{k}.npz")
        asked.append((name, "reference", str(written(tmp_path / f"r{k}.{'npz' if raw[:2] == b'PK' else 'pkl'}", raw))))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(safe), json.dumps(asked)],
        capture_output=True, text=True, check=False, timeout=100, env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(asked), done.stderr[-2000:]
    for name, door, seconds, code, message in told:
        assert code in (2, 5), (name, door, code, message)
        assert seconds < SECONDS, (name, door, seconds)
        assert "\n" not in message and len(message) < 600 and "object at 0x" not in message, (name, message)
