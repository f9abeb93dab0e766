"""Checkpoints in every official format load; damaged ones are refused with one clear error and never run."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from drlbench.backbones import create, load
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.weights.read import read_checkpoint

TINY: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 8, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10},
    "jit": {"input_size": 8, "patch_size": 2, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10},
    "repa": {"input_size": 8, "hidden_size": 16, "depth": 1, "num_heads": 4, "encoder_depth": 1, "z_dims": [6]},
    "rae": {"input_size": 4, "in_channels": 3, "hidden_size": [8, 16], "depth": [1, 1], "num_heads": [2, 2]},
}
State = dict[str, torch.Tensor]


def state_of(name: str, seed: int = 0) -> State:
    """A state dict as the authors would have trained it: nothing zero."""
    net = create(name, **TINY[name])
    generator = torch.Generator().manual_seed(seed)
    state = {k: torch.randn(v.shape, generator=generator) * 0.1 for k, v in net.state_dict().items()}
    return {f"net.{k}": v for k, v in state.items()} if name == "jit" else state


def write_raw(state: State, path: Path) -> Path:
    torch.save(state, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def write_safetensors(state: State, path: Path) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def write_legacy(state: State, path: Path) -> Path:
    torch.save(state, path.with_suffix(".pt"), _use_new_zipfile_serialization=False)
    return path.with_suffix(".pt")


def write_ema(state: State, path: Path) -> Path:
    other = {k: torch.zeros_like(v) for k, v in state.items()}
    content = {"model": other, "ema": state, "opt": {"state": {}}, "args": argparse.Namespace(lr=1e-4), "steps": 3}
    torch.save(content, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def write_jit_training(state: State, path: Path) -> Path:
    other = {k: torch.zeros_like(v) for k, v in state.items()}
    content = {
        "model": other,
        "model_ema1": state,
        "model_ema2": other,
        "epoch": 9,
        "args": argparse.Namespace(cfg=2.2),
    }
    torch.save(content, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def write_parallel(state: State, path: Path) -> Path:
    return write_raw({f"module._orig_mod.{k}": v for k, v in state.items()}, path)


FORMATS = [write_raw, write_safetensors, write_legacy, write_ema, write_jit_training, write_parallel]


@pytest.mark.parametrize("name", list(TINY))
@pytest.mark.parametrize("write", FORMATS)
def test_every_format_loads(name: str, write: Callable[[State, Path], Path], tmp_path: Path) -> None:
    state = state_of(name)
    path = write(state, tmp_path / "weights")
    # Of JiT's two averages its authors take the first; anybody else's file must say.
    ema = {"ema": "model_ema1"} if write is write_jit_training and name != "jit" else {}
    spec = {"backbone": name, "architecture": TINY[name], "checkpoint": str(path), "autoencoder": "pixels"}
    model = load({**spec, **ema})
    for key, value in model.net.state_dict().items():
        assert torch.equal(value, state[f"net.{key}" if name == "jit" else key])
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_another_average_can_be_asked_for(tmp_path: Path) -> None:
    path = write_jit_training(state_of("jit"), tmp_path / "weights")
    model = load({"backbone": "jit", "architecture": TINY["jit"], "checkpoint": str(path), "ema": "model_ema2"})
    assert all((p == 0).all() for p in model.net.parameters())


class Bomb:
    """Runs a command when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def _rename(state: State) -> State:
    return {k.replace("attn.qkv", "attn.qvk"): v for k, v in state.items()}


def _with(state: State, key: str, value: Any) -> dict[str, Any]:
    return {**state, key: value}


KEY = "blocks.0.mlp.fc1.weight"

# name -> (writes the damaged file, the error, a part of its message)
DAMAGED: dict[str, tuple[Callable[[State, Path], object], type[UserError], str]] = {
    "empty file": (lambda s, p: p.write_bytes(b""), UserError, "is empty"),
    "truncated torch file": (
        lambda s, p: (torch.save(s, p), p.write_bytes(p.read_bytes()[:-200])),
        UserError,
        "truncated torch checkpoint",
    ),
    "truncated to its start": (
        lambda s, p: (torch.save(s, p), p.write_bytes(p.read_bytes()[:100])),
        UserError,
        "truncated torch checkpoint",
    ),
    "truncated safetensors": (
        lambda s, p: (save_file(s, p), p.write_bytes(p.read_bytes()[:-100])),
        UserError,
        "truncated or no safetensors",
    ),
    "truncated legacy file": (
        lambda s, p: (torch.save(s, p, _use_new_zipfile_serialization=False), p.write_bytes(p.read_bytes()[:900])),
        UserError,
        "damaged",
    ),
    "web page": (lambda s, p: p.write_text("<!DOCTYPE html><html>404</html>"), UserError, "is a web page"),
    "text": (lambda s, p: p.write_text("weights"), UserError, "neither a safetensors file nor a torch checkpoint"),
    "pickle bomb": (
        lambda s, p: p.write_bytes(pickle.dumps({"ema": Bomb(p.with_name("ran"))}, protocol=2)),
        UserError,
        "nothing was loaded",
    ),
    "pickle bomb in a torch file": (
        lambda s, p: torch.save({"ema": s, "args": argparse.Namespace(x=Bomb(p.with_name("ran")))}, p),
        UserError,
        "system. that is no weight and could run code; nothing was loaded",
    ),
    "pickled module": (
        lambda s, p: torch.save(torch.nn.Linear(2, 2), p),
        UserError,
        "torch.nn.modules.linear.Linear. that is no weight",
    ),
    "empty dictionary": (lambda s, p: torch.save({}, p), UserError, "is empty, it holds no weights"),
    "list": (lambda s, p: torch.save(list(s.values()), p), UserError, "holds a list, not a table of tensors"),
    "no weights inside": (lambda s, p: torch.save({"epoch": 3, "args": {}}, p), UserError, "no state dict among"),
    "missing key": (
        lambda s, p: torch.save({k: v for k, v in s.items() if k != KEY}, p),
        UserError,
        rf"1 missing: {KEY}",
    ),
    "renamed key": (
        lambda s, p: torch.save(_rename(s), p),
        UserError,
        r"2 missing: blocks.0.attn.qkv.bias \(nearest: blocks.0.attn.qvk.bias\)",
    ),
    "unexpected key": (lambda s, p: torch.save(_with(s, "head.weight", s[KEY]), p), UserError, "1 unexpected: head"),
    "wrong shape": (
        lambda s, p: torch.save(_with(s, KEY, torch.ones(3, 16)), p),
        UserError,
        rf"1 mis-shaped: {KEY} is \[3, 16\], not \[64, 16\]",
    ),
    "transposed": (lambda s, p: torch.save(_with(s, KEY, s[KEY].T), p), UserError, r"is \[16, 64\], not \[64, 16\]"),
    "NaN": (lambda s, p: torch.save(_with(s, KEY, s[KEY] * torch.nan), p), UserError, f"NaN or infinity: {KEY}"),
    "infinity": (
        lambda s, p: torch.save(_with(s, KEY, s[KEY] / 0), p),
        UserError,
        f"1 tensors hold NaN or infinity: {KEY}",
    ),
    "integers": (
        lambda s, p: torch.save(_with(s, KEY, s[KEY].int()), p),
        UserError,
        f"no floating-point numbers: {KEY} is int32",
    ),
    "wrong backbone": (
        lambda s, p: torch.save(state_of("jit"), p),
        UserError,
        "these look like the weights of 'jit'",
    ),
    "wrong size": (
        lambda s, p: torch.save(create("sit", **{**TINY["sit"], "depth": 2}).state_dict(), p),
        UserError,
        "10 unexpected: blocks.1",
    ),
    "folder": (lambda s, p: p.mkdir(), UserError, "is a folder"),
    "no file": (lambda s, p: None, MissingPrerequisite, "no such file"),
}


@pytest.mark.parametrize("damage", list(DAMAGED))
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_give_one_clear_error(damage: str, tmp_path: Path) -> None:
    write, error, message = DAMAGED[damage]
    path = tmp_path / ("weights.safetensors" if "safetensors" in damage else "weights.pt")
    write(state_of("sit"), path)
    with pytest.raises(error, match=message) as caught:
        load({"backbone": "sit", "architecture": TINY["sit"], "checkpoint": str(path), "autoencoder": "pixels"})
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert "weights_only" not in str(caught.value)  # torch's own advice would run the bomb
    assert not (tmp_path / "ran").exists()


def test_nothing_is_loaded_when_something_does_not_fit() -> None:
    net = create("sit", **TINY["sit"])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(UserError):
        net.load_official_state_dict({**state_of("sit"), KEY: torch.full((64, 16), torch.nan)})
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_half_precision_weights_load_as_float32() -> None:
    net = create("sit", **TINY["sit"])
    net.load_official_state_dict({k: v.bfloat16() for k, v in state_of("sit").items()})
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_an_average_that_is_not_there() -> None:
    net = create("sit", **TINY["sit"])
    with pytest.raises(UserError, match=r"no state dict under 'ema2' among its entries \('ema'\); usable: ema"):
        net.load_official_state_dict({"ema": state_of("sit")}, ema="ema2")
    with pytest.raises(UserError, match="is a bare state dict, it has no entry 'ema'"):
        net.load_official_state_dict(state_of("sit"), ema="ema")


def test_namespace_is_the_only_object_let_in(tmp_path: Path) -> None:
    torch.save({"ema": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt")["args"].lr == 0.1
    torch.save({"ema": {"a": torch.ones(1)}, "error": IntegrityError("x")}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="IntegrityError"):
        read_checkpoint(tmp_path / "b.pt")
