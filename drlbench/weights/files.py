"""Weights files from a local path, the Hub or an address into a cache; offline, never from the network.

A download is taken up again where it stopped, and is a file of the cache only when whole: size and checksum first,
rename last. Nothing here imports torch.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from filelock import FileLock

from drlbench.errors import IntegrityError, MissingPrerequisite
from drlbench.store.atomic import file_sha256, fsync_directory
from drlbench.weights.asset import Asset

CHUNK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DRLBENCH_OFFLINE")

Progress = Callable[[float], None]
"""Called with the fraction done in [0, 1]."""


def is_offline() -> bool:
    """Whether the environment forbids the network (`--offline` sets it)."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in OFFLINE_VARIABLES)


def cache_folder() -> Path:
    """Where plain downloads are kept: $DRLBENCH_CACHE, or drlbench/weights in the user's cache folder."""
    if "DRLBENCH_CACHE" in os.environ:
        return Path(os.environ["DRLBENCH_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "drlbench" / "weights"


def cached(asset: Asset) -> Path | None:
    """Path of the file when it is already here; asks nobody, and runs no code of a package."""
    if asset.package:
        return _in_package(asset)
    if asset.hub:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(asset.hub, asset.filename, revision=asset.revision)
        return Path(path) if isinstance(path, str) else None
    path = place(asset)
    return path if path.is_file() else None


def _in_package(asset: Asset) -> Path | None:
    try:
        path = Path(str(distribution(asset.package).locate_file(asset.filename)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def resolve(asset: Asset, offline: bool | None = None, progress: Progress | None = None) -> Path:
    """Path of the file: from the cache, or fetched into it.

    Args:
        asset: from a card.
        offline: True never touches the network; None follows the environment.
        progress: told how far a plain download is.

    Raises:
        MissingPrerequisite: it is not here and cannot be fetched; the message names file, size, source and command.
        IntegrityError: the file has another size or checksum than its card says.
    """
    offline = is_offline() if offline is None else offline
    path = cached(asset)
    if path is None:
        if offline:
            raise MissingPrerequisite(f"{missing(asset)} (offline: the network was not touched)")
        if asset.hub:
            path = _from_hub(asset)
        elif asset.url:
            path = download(asset.url, place(asset), asset, progress)
        else:
            raise MissingPrerequisite(missing(asset))
    check(path, asset)
    return path


def missing(asset: Asset) -> str:
    """What to say when a file is not here: what, how big, where from, and the command that gets it."""
    what = f"{asset.name}: {asset.filename}{f', {human_size(asset)}' if asset.size else ''} is not in the cache"
    if asset.hub:
        return f"{what}; get it from {asset.source} with: {command(asset)}{gate(asset)}"
    if asset.package:
        return f"{asset.name}: {asset.source} is not installed; get it with: {command(asset)}"
    if asset.url:
        return f"{what}; get it with: {command(asset)}"
    return f"{what}; its authors share it by hand: {command(asset)}"


def human_size(asset: Asset) -> str:
    """ "2.70 GB", "0.5 MB" or "547 bytes", with "about" where it is an estimate (counted from the parameters)."""
    about = "about " if asset.size_is_estimate else ""
    if asset.size < 1e4:
        return f"{about}{asset.size} bytes"
    return f"{about}{asset.size / 1e9:.2f} GB" if asset.size >= 1e7 else f"{about}{asset.size / 1e6:.1f} MB"


def command(asset: Asset) -> str:
    """The command that gets a file, or what to do where there is none."""
    if asset.hub:
        at = "" if asset.revision == "main" else f" --revision {asset.revision}"
        return f"hf download {asset.hub} {asset.filename}{at}"
    if asset.package:
        return "pip install 'drlbench[pretrained]'"
    if asset.url:
        return f"curl -L --create-dirs -o {place(asset)} '{asset.url}'"
    return f"download it from {asset.page} and put it at {place(asset)}"


def gate(asset: Asset) -> str:
    """How access to a gated file is got; empty for others."""
    if not asset.gated:
        return ""
    other = f" The same weights without a gate: https://huggingface.co/{asset.ungated}." if asset.ungated else ""
    return f". Accept the licence at {asset.source}, then log in with `hf auth login` or set HF_TOKEN.{other}"


def check(path: Path, asset: Asset) -> None:
    """Compare a file with its card.

    Raises:
        IntegrityError: another size or checksum.
    """
    size = path.stat().st_size
    if asset.size and not asset.size_is_estimate and size != asset.size:
        raise IntegrityError(f"{path}: {size} bytes, {asset.size} expected; delete it and fetch it again")
    if asset.sha256 and not (found := file_hash(path)).startswith(asset.sha256):
        raise IntegrityError(
            f"{path}: sha256 {found[:16]} is not the {asset.sha256[:16]} of {asset.name}; delete it and fetch it again"
        )


def file_hash(path: Path) -> str:
    """Hex sha256 of a file, remembered while the file does not change."""
    facts = path.stat()
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_of(path: Path, size: int, modified: int) -> str:
    del size, modified  # only there to notice a changed file
    return file_sha256(path)


def place(asset: Asset) -> Path:
    """Where a plain download is kept."""
    if asset.torch_hub:
        home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        return Path(home).expanduser() / "hub" / "checkpoints" / asset.filename
    return cache_folder() / asset.name / Path(asset.filename).name


def _from_hub(asset: Asset) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(asset.hub, asset.filename, revision=asset.revision))
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise MissingPrerequisite(f"{asset.name}: access refused by {asset.source}{gate(asset)}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise MissingPrerequisite(f"{missing(asset)} ({_first_line(error)})") from error


def download(url: str, target: Path, asset: Asset, progress: Progress | None = None) -> Path:
    """Fetch an address to `target`, going on from what an earlier attempt left.

    Raises:
        MissingPrerequisite: the server cannot be reached, refuses, breaks off, or answers with a web page.
        IntegrityError: the whole file does not match its card; it is deleted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag = target.with_name(target.name + ".part"), target.with_name(target.name + ".etag")
    with FileLock(target.with_name(target.name + ".lock")):
        if target.is_file():
            return target
        try:
            _fetch(url, part, tag, progress)
        except (urllib.error.URLError, TimeoutError, ConnectionError, EOFError) as error:
            raise MissingPrerequisite(f"{missing(asset)} (the download failed: {_first_line(error)})") from error
        try:
            check(part, asset)
        except IntegrityError:
            part.unlink()
            raise
        os.replace(part, target)
        tag.unlink(missing_ok=True)
        fsync_directory(target.parent)
    return target


def _fetch(url: str, part: Path, tag: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "drlbench"}
    if have and tag.is_file():
        # The server sends the rest if the file is still the same, and all of it otherwise.
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise ConnectionError("the server answered with a web page instead of the file")
        resumed = answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if answer.headers.get("ETag"):
            tag.write_text(answer.headers["ETag"])
        else:
            tag.unlink(missing_ok=True)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None and total:
                    progress(have / total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise EOFError(f"the connection broke off after {have} of {total} bytes; run again to go on from there")


def _first_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0]
