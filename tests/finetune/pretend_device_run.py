"""Drives what trains and samples on a device that only pretends, and on the CPU; prints one line of JSON for each.

python pretend_device_run.py            every scenario
python pretend_device_run.py NAME ...   those whose name begins so
python pretend_device_run.py --refusals what must be refused
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pretend_device
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as tree

from drlbench import backbones
from drlbench.backbones.base import VelocityModel
from drlbench.backbones.pretrain import pretrain
from drlbench.encoders.small_classifier import SmallClassifier
from drlbench.encoders.small_contrastive import Contrastive
from drlbench.encoders.small_dae import DenoisingAutoencoder
from drlbench.features.extract import extract
from drlbench.finetune.kl import kl_nats
from drlbench.registry import ALGORITHMS
from drlbench.rewards.base import Reward
from drlbench.rewards.combined import Combined
from drlbench.rewards.discriminator_fit import fit_discriminator
from drlbench.rewards.scoring import score_images
from drlbench.sampling.generate import generate
from drlbench.sampling.guidance import Autoguidance, ClassifierFree

Scenario = Callable[[str], Any]
SCENARIOS: dict[str, Scenario] = {}
CLASSES = 3
SIDE = 4

NETWORKS: dict[str, dict[str, Any]] = {
    "sit": {"input_size": SIDE, "patch_size": 2, "in_channels": 1, "hidden_size": 16, "depth": 2, "num_heads": 2,
            "num_classes": CLASSES, "learn_sigma": False},
    "jit": {"input_size": SIDE, "patch_size": 2, "in_channels": 1, "hidden_size": 16, "depth": 2, "num_heads": 2,
            "num_classes": CLASSES, "bottleneck_dim": 4, "in_context_len": 2, "in_context_start": 1},
    "repa": {"input_size": SIDE, "patch_size": 2, "in_channels": 1, "hidden_size": 16, "depth": 2, "num_heads": 2,
             "encoder_depth": 1, "num_classes": CLASSES, "z_dims": [8], "projector_dim": 8},
    "rae": {"input_size": SIDE, "patch_size": 1, "in_channels": 1, "hidden_size": [16, 16], "depth": [2, 1],
            "num_heads": [2, 2], "num_classes": CLASSES},
}  # fmt: skip

SHARED = {"batch": 8, "learning_rate": 1e-2, "warmup": 2, "gradient_clip": 5.0, "ema": 0.9}
DRAWN = {"endpoints": 16, "group": 4, "sampler_steps": 4, "passes": 2}
AM = {"steps": 4, "buffer": 16, "passes": 2}
# Name -> family, algorithm, settings.
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adjoint-matching": ("sit", "adjoint-matching", AM),
    "adjoint-matching chunks":
        ("sit", "adjoint-matching", AM | {"micro_batch": 3, "rollout_batch": 5, "reward_batch": 2}),
    "adjoint-matching bf16 buffer": ("sit", "adjoint-matching", AM | {"buffer_dtype": "bf16"}),
    "adjoint-matching host buffer": ("sit", "adjoint-matching", AM | {"buffer_device": "host", "micro_batch": 3}),
    "adjoint-matching euler lora": ("sit", "adjoint-matching", AM | {"integrator": "euler", "lora_rank": 2}),
    "adjoint-matching mean":
        ("rae", "adjoint-matching",
         AM | {"loss_over_timesteps": "mean", "outlier_quantile": 0.75, "reward_gradient_clip": 0.1}),
    "adjoint-matching jit": ("jit", "adjoint-matching", AM | {"outlier_quantile": None}),
    "adjoint-matching repa": ("repa", "adjoint-matching", AM),
    "adjoint-matching checkpointing": ("sit", "adjoint-matching", AM | {"activation_checkpointing": True}),
    "adjoint-matching autocast":
        ("sit", "adjoint-matching", AM | {"precision": "bf16", "activation_checkpointing": True}),
    "adjoint-matching jit autocast": ("jit", "adjoint-matching", AM | {"precision": "bf16"}),
    "adjoint-matching rae autocast": ("rae", "adjoint-matching", AM | {"precision": "bf16"}),
    "adjoint-matching lora autocast": ("sit", "adjoint-matching", AM | {"precision": "bf16", "lora_rank": 2}),
    "sft": ("jit", "sft", {"micro_batch": 3}),
    "sft logit-normal": ("rae", "sft", {"time": "logit-normal"}),
    "ram": ("sit", "ram", DRAWN | {"sampler": "heun"}),
    "awm": ("sit", "awm", DRAWN | {"kl_weight": 0.01}),
    "awm raw": ("jit", "awm", DRAWN | {"advantage": "raw", "weighting": "uniform", "kl_weight": 1.0, "t_max": 0.95}),
    "nft": ("sit", "nft", DRAWN | {"decay_rate": 0.1}),
    "nft lora": ("sit", "nft", DRAWN | {"decay_rate": 0.1, "lora_rank": 2}),
    "rwm": ("sit", "rwm", DRAWN | {"times": 2}),
    "flow-grpo": ("sit", "flow-grpo", DRAWN),
    "flow-grpo memoryless": ("sit", "flow-grpo", DRAWN | {"variant": "memoryless", "micro_batch": 5}),
    "draft": ("sit", "draft", {"sampler_steps": 4, "truncate": 2}),
}  # fmt: skip


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return keep


def network(family: str, device: str) -> VelocityModel:
    """A tiny network that is not zero, on the device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net: Any = backbones.create(family, **NETWORKS[family])
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.05 * torch.randn(p.shape))
    return backbones.wrap(net).to(device).eval()


def pictures(count: int, seed: int = 3) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8), np.arange(count) % CLASSES


def encoder(kind: Any, device: str, **settings: Any) -> Any:
    return kind.fit(*pictures(40), {"steps": 3, "width": 4, "features": 6, "batch": 8, **settings}, 5, device)[0]


def labelled(count: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    images, y = pictures(count, seed)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().to(device) / 255, torch.from_numpy(y).to(device)


def discriminator(device: str, **settings: Any) -> Reward:
    looking = [encoder(DenoisingAutoencoder, "cpu").to(device), encoder(SmallClassifier, "cpu").to(device)]
    given = {"width": 8, "batch": 16, "steps": 6, "validate_every": 3, "buffer_batches": 2, "buffer_epochs": 2}
    sets = [labelled(count, seed, device) for count, seed in ((40, 1), (40, 2), (12, 3), (12, 4))]
    return fit_discriminator(looking, *sets, CLASSES, given | settings, 7)  # type: ignore[arg-type] # a mapping of any


@cache
def _fitted() -> Any:
    return discriminator("cpu")


def build(name: str, device: str) -> Any:
    family, algorithm, settings = RUNS[name]
    images, y = labelled(20, 5, device)
    policy, reference = network(family, device), network(family, device)
    reward = copy.deepcopy(_fitted()).to(device)
    return ALGORITHMS.get(algorithm)(policy, reference, reward, (images * 2 - 1, y), SHARED | settings, 7)


def trained(name: str, device: str) -> Any:
    """Six updates with a save and a fresh start after the third, and the finished policy."""
    first = build(name, device)
    rows = [first.step() for _ in range(3)]
    saved = safetensors.torch.save({k: v.contiguous() for k, v in first.state_dict().items()})
    rows += [first.step() for _ in range(3)]
    second = build(name, device)
    second.load_state_dict(safetensors.torch.load(saved))
    again = [second.step() for _ in range(3)]
    assert again == rows[3:], "a restored run goes on otherwise"
    finished = first.finished_policy()
    return rows, [finished.net.state_dict(), second.finished_policy().net.state_dict()]


for _name in RUNS:
    SCENARIOS[_name] = lambda device, name=_name: trained(name, device)


@scenario("discriminator r1")
def _(device: str) -> Any:
    fitted: Any = discriminator(device, r1=0.1, r1_every=2, r1_images=4, head="mlp-2", dropout=0.2, heads=2)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder))
    return fitted.report


@scenario("discriminator whitened")
def _(device: str) -> Any:
    return [discriminator(device, whiten=w, schedule="one-cycle", clamp_input=True).report for w in ("full", "scale")]


@scenario("discriminator encoders trained")
def _(device: str) -> Any:
    fitted: Any = discriminator(device, encoder_learning_rate=1e-3, r1=0.1)
    return fitted.report


@scenario("combined reward")
def _(device: str) -> Any:
    images, y = labelled(10, 9, device)
    one, two = discriminator(device), discriminator(device, head="mlp-2")
    both = Combined.normalised([one, two], [1.0, 0.5], images, y)
    return both(images, y), score_images(both, *pictures(10), batch_size=4, device=device).tolist()


@scenario("small encoders")
def _(device: str) -> Any:
    found = []
    for kind in (SmallClassifier, Contrastive, DenoisingAutoencoder):
        fitted = encoder(kind, device)
        found.append(fitted.state_dict())
        found.append(extract(fitted.to(device), pictures(10)[0], 4).tolist())
    return found


@scenario("pretraining")
def _(device: str) -> Any:
    images, y = labelled(30, 6, device)
    found = []
    for family in NETWORKS:
        model = network(family, device)
        tokens = torch.ones(30, 4, 8, device=device) if family == "repa" else None
        settings = {"steps": 4, "batch": 8, "warmup": 2, "min_noise_level": 0.05 * (family == "jit")}
        log = pretrain(model, images * 2 - 1, y, settings, 3, tokens)
        found.append((log.series, model.net.state_dict()))
    return found


@scenario("kl")
def _(device: str) -> Any:
    model, base = network("sit", device), network("sit", device)
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    images, y = labelled(9, 6, device)
    found = kl_nats(model, base, images, y, 4, rows_at_once=16)
    return found.nats, found.standard_error, found.norm_ratio, found.norm_ratio_error


def sampled(family: str, sampler: str, device: str, autocast: bool = False, guided: bool = False) -> Any:
    guidance: Any = None
    if guided:
        guidance = ClassifierFree(1.5, 0.1, 0.9) if family != "sit" or sampler == "heun" else ClassifierFree(1.5)
        if family == "rae" and sampler == "euler":
            guidance = Autoguidance(network("rae", device), 1.5)
    images = generate(
        network(family, device), np.arange(5) % CLASSES, list(range(5)), sampler, 5, guidance, 3, device,
        "bfloat16" if autocast else None,
    )  # fmt: skip
    return images.tolist()


SAMPLERS = {
    "sit":
        ("euler", "heun", "dopri5", "official", "official:sde", "official:euler", "official:sde_heun_linear_tweedie"),
    "jit": ("heun", "official", "official:euler"),
    "repa": ("heun", "official", "official:heun"),
    "rae": ("euler", "official", "official:heun2"),
}  # fmt: skip
for _family, _samplers in SAMPLERS.items():
    for _sampler in _samplers:
        for _guided in (False, True):
            SCENARIOS[f"sampling {_family} {_sampler}{' guided' * _guided}"] = (
                lambda device, f=_family, s=_sampler, g=_guided: sampled(f, s, device, guided=g)
            )
for _family in NETWORKS:
    SCENARIOS[f"sampling {_family} autocast"] = lambda device, f=_family: sampled(f, "heun", device, autocast=True)


def plain(found: Any) -> Any:
    """Numbers and CPU tensors only."""
    return tree.tree_map(lambda x: x.detach().cpu().double().tolist() if isinstance(x, Tensor) else x, found)


def compare(here: Any, there: Any) -> tuple[bool, float]:
    """Whether all of it is the same, and by how much numbers differ at most."""
    a, b = tree.tree_leaves(plain(here)), tree.tree_leaves(plain(there))
    if len(a) != len(b):
        return False, float("inf")
    worst = 0.0
    for x, y in zip(a, b, strict=True):
        if isinstance(x, float | int) and isinstance(y, float | int):
            worst = max(worst, abs(x - y) / (1 + abs(x))) if x == x or y == y else worst
        elif x != y:
            worst = float("inf")
    return worst == 0, worst


def refusals() -> None:
    """What must not work."""
    cpu, device = torch.ones(3), torch.ones(3).to(pretend_device.DEVICE)
    attempts: dict[str, Callable[[], Any]] = {
        "sum of two devices": lambda: device + cpu,
        "joined": lambda: torch.cat([device, cpu]),
        "number joined": lambda: torch.stack([device[0], cpu[0]]),
        "numpy": device.numpy,
        "CPU changed by the device": lambda: torch.zeros(()).add_(device.sum()),
        "CPU indexed by the device": lambda: cpu[torch.tensor([0], device=pretend_device.DEVICE)],
        "CPU values put into the device": lambda: device.index_put_((torch.tensor([1]),), torch.ones(1)),
        "CPU generator for the device": lambda: torch.randn(2, generator=torch.Generator(), device=device.device),
        "device's generator for the CPU": lambda: torch.randn(2, generator=torch.Generator(device.device)),
        "layer on the CPU": lambda: torch.nn.Linear(3, 1)(device),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
            refused = False
        except (RuntimeError, TypeError):
            refused = True
        print(json.dumps({"what": what, "refused": refused}))


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    _fitted()
    for name, drive in SCENARIOS.items():
        if wanted and not any(name.startswith(w) for w in wanted):
            continue
        told: dict[str, Any] = {"scenario": name}
        try:
            # A CPU takes another way through attention than a device of Python's; here both take the same.
            with sdpa_kernel(SDPBackend.MATH):
                there = drive("cpu")
                pretend_device.clear()
                with pretend_device.Mode():
                    here = plain(drive(pretend_device.DEVICE))
            told["same"], told["difference"] = compare(there, here)
            told |= {n: dict(getattr(pretend_device.Mode, n)) for n in ("reads", "moves", "unseeded")}
        except Exception:
            told["error"] = traceback.format_exc()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--refusals"]:
        with pretend_device.Mode():
            refusals()
    else:
        main(sys.argv[1:])
