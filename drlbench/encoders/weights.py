"""Where weights come from: a local path, the cache, the Hub or an address; and what is said when they do not come."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.store.atomic import file_sha256, write_bytes


@dataclass(frozen=True)
class Source:
    """One weights file of the outside world.

    Attributes:
        name: what messages call it.
        filename: of the file in its repository or cache.
        repository, revision: on the Hugging Face Hub; or
        address: of a plain download, kept in torch's hub cache under `filename`.
        sha256: the beginning of the file's sha256, checked where it is known.
        gated: the Hub asks for an accepted licence and a token.
        ungated: a repository with the same weights and no gate, named in the message.
    """

    name: str
    filename: str
    repository: str = ""
    revision: str = "main"
    address: str = ""
    sha256: str = ""
    gated: bool = False
    ungated: str = ""


def is_offline() -> bool:
    """Whether the environment forbids the network."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE)


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DRLBENCH_OFFLINE")


def locate(source: Source, weights: str | Path | None = None) -> Path:
    """Path of a weights file: `weights` itself (or `filename` inside it), else the cache, else a download.

    Raises:
        MissingPrerequisite: it is nowhere; the message says where from and how.
        IntegrityError: a downloaded or cached file has another sha256 than the published one.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        path = path / source.filename if path.is_dir() else path
        if not path.is_file():
            raise MissingPrerequisite(f"{source.name}: no weights file at {path}")
        return path
    path = _from_hub(source) if source.repository else _from_address(source)
    if source.sha256 and not weights_hash(path).startswith(source.sha256):
        found, published = weights_hash(path)[:12], source.sha256[:12]
        raise IntegrityError(f"{path}: sha256 {found} is not the published {published}; delete it and fetch again")
    return path


def _from_hub(source: Source) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    page = f"https://huggingface.co/{source.repository}"
    try:
        return Path(
            hf_hub_download(source.repository, source.filename, revision=source.revision, local_files_only=is_offline())
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise MissingPrerequisite(f"{source.name}: access refused. {_gate(source, page)}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = "is not in the cache and offline mode is on" if is_offline() else f"cannot be fetched ({error})"
        gate = f" {_gate(source, page)}" if source.gated else ""
        raise MissingPrerequisite(
            f"{source.name}: {source.filename} of {page} {why}; where there is network, get it with "
            f"`hf download {source.repository} {source.filename}`, or give its path as `weights`.{gate}"
        ) from error


def _gate(source: Source, page: str) -> str:
    ungated = f" The same weights without a gate: https://huggingface.co/{source.ungated}." if source.ungated else ""
    return f"Accept the licence at {page}, then log in with `hf auth login` or set HF_TOKEN.{ungated}"


def _from_address(source: Source) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / source.filename
    if path.is_file():
        return path
    if is_offline():
        raise MissingPrerequisite(
            f"{source.name}: {path} is missing and offline mode is on; where there is network, get it from "
            f"{source.address}"
        )
    try:
        with urllib.request.urlopen(source.address, timeout=60) as response:
            content = response.read()
    except (urllib.error.URLError, OSError) as error:
        raise MissingPrerequisite(
            f"{source.name}: {source.address} cannot be fetched ({error}); put the file at {path} or give its path "
            f"as `weights`"
        ) from error
    write_bytes(path, content)
    return path


@lru_cache(maxsize=64)
def _hash_of(path: Path, size: int, modified: int) -> str:
    del size, modified  # only there to notice a changed file
    return file_sha256(path)


def weights_hash(path: Path) -> str:
    """Hex sha256 of a weights file, remembered while the file does not change."""
    facts = path.stat()
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or a torch checkpoint, unwrapped from a `state_dict` entry.

    Raises:
        IntegrityError: the file is damaged, or holds objects other than tensors and is therefore not read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path}: cannot be read as weights ({error})") from error
    except Exception as error:  # torch raises pickle.UnpicklingError, which house rules keep out of the imports
        raise IntegrityError(f"{path}: holds more than tensors and is not unpickled ({error})") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise IntegrityError(f"{path}: is not a flat table of tensors")
    return dict(state)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str, ignored: tuple[str, ...] = ()) -> None:
    """Put every tensor where it belongs; `ignored` are endings of keys that the module derives itself.

    Raises:
        UserError: keys are missing or left over, or shapes differ; the first few are named.
    """
    kept = {key: value for key, value in state.items() if not key.endswith(ignored)} if ignored else dict(state)
    own = module.state_dict()
    missing, extra = sorted(own.keys() - kept.keys()), sorted(kept.keys() - own.keys())
    other = sorted(k for k in own.keys() & kept.keys() if own[k].shape != kept[k].shape)
    if missing or extra or other:
        parts = [
            f"{len(keys)} {word} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for keys, word in ((missing, "missing"), (extra, "left over"), (other, "of another shape"))
            if keys
        ]
        raise UserError(f"{where}: the checkpoint does not fit: {'; '.join(parts)}")
    module.load_state_dict(kept, strict=True, assign=True)
