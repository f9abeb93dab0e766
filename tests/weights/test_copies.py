"""Whatever a training loop wraps a network in, the same network comes out, or one message says why not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from drlbench.backbones import create
from drlbench.backbones.loading import load_network
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.weights.copies import choose
from drlbench.weights.read import read_checkpoint

ARCHITECTURE = {"input_size": 8, "patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 4, "num_classes": 10}
State = dict[str, torch.Tensor]


def weights(seed: int = 0) -> State:
    net = create("sit", **ARCHITECTURE)
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=generator) for k, v in net.state_dict().items()}


RIGHT = weights()
OTHER = {k: v * 0 for k, v in RIGHT.items()}
TRAINED = {k: v for k, v in RIGHT.items() if k != "pos_embed"}


def put(prefix: str, state: State) -> State:
    return {prefix + k: v for k, v in state.items()}


def compiled_blocks(state: State) -> State:
    return {
        k.replace("blocks.1.", "blocks.1._orig_mod.").replace("blocks.0.", "blocks.0._orig_mod."): v
        for k, v in state.items()
    }


# What the file holds -> what is told of it.
FORMS: dict[str, tuple[Any, str]] = {
    "bare": (RIGHT, "^$"),
    "beside counters": ({**RIGHT, "epoch": 3}, "^$"),
    "ema": (
        {"model": OTHER, "ema": RIGHT, "opt": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        "took ema, an average.*also holds model",
    ),
    **{
        name: ({"state_dict": OTHER, name: RIGHT}, f"took {name}, an average of the weights")
        for name in (
            "model_ema",
            "ema_model",
            "state_dict_ema",
            "ema_state_dict",
            "params_ema",
            "EMA",
            "avg_model",
            "swa_model",
        )
    },
    "ema of one rate": ({"model": OTHER, "ema_0.9999": RIGHT}, "took ema_0.9999"),
    "shadow inside ema": ({"model": OTHER, "ema": {"decay": 0.99, "shadow": RIGHT}}, "took ema/shadow"),
    "only the trained are averaged": (
        {"model": {**OTHER, "pos_embed": RIGHT["pos_embed"]}, "ema": {"decay": 0.9, "shadow": TRAINED}},
        "1 tensors that it lacks come from model: pos_embed",
    ),
    "averaged module": ({"n_averaged": torch.tensor(100), **put("module.", RIGHT)}, "took the average"),
    "averaged module beside raw": (
        {"model": OTHER, "ema": {"n_averaged": torch.tensor(9), **put("module.", RIGHT)}},
        "took ema",
    ),
    "ema-pytorch": (
        {
            "model": OTHER,
            "ema": {
                "initted": torch.tensor(True),
                "step": torch.tensor(5),
                **put("online_model.", OTHER),
                **put("ema_model.", RIGHT),
            },
        },
        "took ema/ema_model",
    ),
    "DDP, then compiled": ({"model": put("module._orig_mod.", RIGHT)}, "removed 'module.', '_orig_mod'"),
    "compiled, then DDP": ({"ema": put("_orig_mod.module.", RIGHT)}, "took ema.*removed 'module.', '_orig_mod'"),
    "compiled blocks": (compiled_blocks(RIGHT), "removed '_orig_mod' from its names"),
    "FSDP": (put("_fsdp_wrapped_module.", RIGHT), "_fsdp_wrapped_module"),
    "checkpointed": (
        {k.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): v for k, v in RIGHT.items()},
        "_checkpoint_wrapped",
    ),
    "Lightning": (
        {"state_dict": put("model.", RIGHT), "epoch": 3, "optimizer_states": [{"state": {}}]},
        "removed 'model.'",
    ),
    "Lightning with its average": (
        {"state_dict": put("net.", OTHER) | put("ema_net.", RIGHT)},
        "took state_dict/ema_net.*also holds state_dict/net",
    ),
    "Lightning, averaged module": (
        {"state_dict": put("net.", OTHER) | {"ema.n_averaged": torch.tensor(3)} | put("ema.module.", RIGHT)},
        "took state_dict/ema",
    ),
    "Lightning's callback": (
        {"state_dict": put("net.", OTHER), "callbacks": {"EMA": {"ema_state_dict": put("net.", RIGHT)}}},
        "took callbacks/EMA/ema",
    ),
    "Lightning's averaging": (
        {
            "state_dict": put("net.", RIGHT),
            "current_model_state": put("net.", OTHER),
            "averaging_state": {"n_averaged": torch.tensor(2)},
        },
        "took state_dict, an average",
    ),
    "a module of several networks": (
        {
            "state_dict": put("dit.", RIGHT)
            | {"vae.conv.weight": torch.ones(2, 2), "encoder.blocks.0.attn.qkv.weight": torch.ones(2, 2)}
        },
        r"removed 'dit.'.*left out vae \(1 tensors\), encoder \(1 tensors\)",
    ),
    "LitEma, names without dots": (
        {
            "state_dict": put("model.", OTHER | {"pos_embed": RIGHT["pos_embed"]})
            | {"model_ema.decay": torch.tensor(0.99)}
            | {"model_ema." + k.replace(".", ""): v for k, v in TRAINED.items()}
        },
        "took state_dict/model_ema.*pos_embed",
    ),
    "any prefix": (put("diffusion.backbone.", RIGHT), "removed 'diffusion.backbone.'"),
    "half precision": ({k: v.bfloat16().float() for k, v in RIGHT.items()}, "^$"),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_the_same_network_comes_out_of_every_wrapper(form: str, tmp_path: Path) -> None:
    content, told = FORMS[form]
    torch.save(content, tmp_path / "w.pt")
    loaded = load_network(tmp_path / "w.pt", "sit", {"num_heads": 4})
    tolerance = 0.02 if form == "half precision" else 0.0
    for name, value in loaded.net.state_dict().items():
        torch.testing.assert_close(value, RIGHT[name], rtol=tolerance, atol=tolerance)
    assert re.search(told, loaded.note), loaded.note


def test_torchs_own_average(tmp_path: Path) -> None:
    net = create("sit", **ARCHITECTURE)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    average.update_parameters(net)
    with torch.no_grad():
        net.final_layer.linear.bias += 1
    average.update_parameters(net)
    torch.save({"model": net.state_dict(), "ema": average.state_dict()}, tmp_path / "w.pt")
    bias = load_network(tmp_path / "w.pt", "sit", {"num_heads": 4}).net.get_parameter("final_layer.linear.bias")
    torch.testing.assert_close(bias, torch.full_like(bias, 0.5))


def test_raw_weights_or_a_copy_by_name_when_asked() -> None:
    content = {"model": OTHER, "ema": RIGHT, "model_ema2": OTHER}
    with pytest.raises(UserError, match="2 averages of the weights, ema, model_ema2; say which"):
        choose(content)
    assert choose(content, "ema").state["pos_embed"] is RIGHT["pos_embed"]
    raw = choose({"model": OTHER, "ema": RIGHT}, False)
    assert raw.state["pos_embed"] is OTHER["pos_embed"]
    assert "raw weights" in raw.note
    with pytest.raises(UserError, match="no raw weights, only ema"):
        choose({"ema": RIGHT}, False)
    with pytest.raises(UserError, match="holds no average"):
        choose(RIGHT, True)
    with pytest.raises(UserError, match="2 networks of the weights, student, teacher"):
        choose({"student": RIGHT, "teacher": OTHER})


def test_an_average_without_names_is_never_passed_over() -> None:
    content = {"model": RIGHT, "ema": {"decay": 0.9, "shadow_params": list(RIGHT.values())}}
    with pytest.raises(UserError, match=r"average 'ema/shadow_params' as tensors without names.*ema: false"):
        choose(content)
    assert choose(content, False).state["pos_embed"] is RIGHT["pos_embed"]


def test_the_authors_own_choice_among_their_averages() -> None:
    jit = create("jit", **{**ARCHITECTURE, "bottleneck_dim": 8})
    right, zero = jit.state_dict(), {k: v * 0 for k, v in jit.state_dict().items()}
    note = jit.load_official_state_dict({"model": zero, "model_ema1": right, "model_ema2": zero})
    assert "took model_ema1" in note
    assert "model_ema2" in note


def sharded(folder: Path, state: State) -> Path:
    names = list(state)
    files = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        save_file({n: state[n].contiguous() for n in names if files[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return index


def test_a_set_of_files_is_read_by_any_of_its_names(tmp_path: Path) -> None:
    index = sharded(tmp_path, RIGHT)
    for path in (tmp_path, index, tmp_path / "model-00001-of-00002.safetensors"):
        assert read_checkpoint(path).keys() == RIGHT.keys()
    torch.testing.assert_close(load_network(tmp_path, "sit", {"num_heads": 4}).net.state_dict(), RIGHT)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingPrerequisite, match="1 of its 2 files missing: model-00002"):
        read_checkpoint(index)
    index.unlink()
    with pytest.raises(MissingPrerequisite, match="is one of 2 parts; their index"):
        read_checkpoint(tmp_path / "model-00001-of-00002.safetensors")


def test_what_a_folder_or_an_index_may_not_be(tmp_path: Path) -> None:
    index = tmp_path / "w.safetensors.index.json"
    for text, message in (
        ("{", "is no index"),
        ('{"weight_map": {"a": "../b"}}', "files beside it"),
        ("[]", "is no index"),
    ):
        index.write_text(text)
        with pytest.raises(UserError, match=message):
            read_checkpoint(index)
    index.unlink()
    (tmp_path / ".metadata").touch()
    with pytest.raises(UserError, match="dcp_to_torch"):
        read_checkpoint(tmp_path)
    (tmp_path / ".metadata").unlink()
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pt").touch()
    with pytest.raises(UserError, match=r"with a.pt, b.pt; give one"):
        read_checkpoint(tmp_path)
