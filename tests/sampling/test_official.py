"""Each backbone's own procedure from stored noise against the official code's final states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from drlbench.backbones import create
from drlbench.backbones.jit.official import jit_guided_velocity
from drlbench.errors import UserError
from drlbench.flow.ode import SOLVERS
from drlbench.sampling import official_sample, to_uint8_official

# An adaptive solver takes the steps that its error estimate asks for, at a relative tolerance of 1e-3: rounding moves
# them, and the final states by 1.2e-3 of 5.8 on one sort of CPU (below 1e-3 on others). A scale 2 % off: by .07.
FIXED_STEP, ADAPTIVE = 2e-5, 4e-3
# SiT and RAE, JiT, REPA: how their golden entries are named.
ENTRY = {
    "sit": r"(?P<method>ode_\w+?|sde_\w+?)_n(?P<steps>\d+)(?P<option>_cfg)?",
    "jit": r"sample_(?P<method>[a-z]+)(?P<steps>\d+)(?P<option>_cfg)?",
    "repa": r"(?P<method>ode_[a-z]+|sde)_?n?(?P<steps>\d+)(?P<option>_cfg|_cosine)?",
    "rae_dit": r"(?P<method>ode_\w+?)_n(?P<steps>\d+)(?P<option>_cfg|_ag|_noshift)?",
}
COUNTS = {"sit": 12, "jit": 5, "repa": 7, "rae_dit": 7}


@pytest.fixture(scope="module")
def nets(golden: Callable[[str], Any]) -> dict[str, tuple[Any, Any]]:
    loaded = {}
    for name in ENTRY:
        data = golden(name)
        net = create("rae" if name == "rae_dit" else name, **data.config["args"]).eval()
        net.load_official_state_dict(data.weights)
        loaded[name] = (net, data)
    return loaded


def entries(data: Any, name: str) -> Iterator[tuple[str, re.Match[str]]]:
    for key in data.io:
        match = re.fullmatch(ENTRY[name], key)
        if match:
            yield key, match


def options(name: str, data: Any, match: re.Match[str]) -> dict[str, Any]:
    """What the golden configuration says of the entry."""
    config, option = data.config, match["option"]
    guided = option == "_cfg"
    if name == "sit":
        noise = data.io["sde_noise_cfg" if guided else "sde_noise"] if match["method"].startswith("sde") else None
        return {"cfg_scale": config["cfg_scale"] if guided else 1.0, "sde_noise": noise}
    if name == "jit":
        denoiser = config["denoiser"]
        if not guided:
            return {}
        return {"cfg_scale": denoiser["cfg"], "cfg_interval": denoiser["cfg_interval"]}
    if name == "repa":
        sampler = config["sampler"]
        return {
            "cfg_scale": sampler["cfg_scale"] if guided else 1.0,
            "cfg_interval": (sampler["guidance_low"], sampler["guidance_high"]),
            "sde_noise": data.io["sde_noise"],
        }
    weak = create("rae", **config["guidance_model_args"]).eval()
    weak.load_official_state_dict(load_file(data.folder / config["guidance_model_weights"]))
    return {
        "cfg_scale": config["cfg_scale"] if option in ("_cfg", "_ag") else 1.0,
        "guide": weak if option == "_ag" else None,
    }


@pytest.mark.parametrize("name", list(ENTRY))
def test_final_states_match_the_official_code(nets: dict[str, tuple[Any, Any]], name: str) -> None:
    net, data = nets[name]
    noise = data.io["z_unit" if name == "jit" else "z"]
    found = list(entries(data, name))
    assert len(found) == COUNTS[name]
    for key, match in found:
        asked = (noise, data.io["y_sample"], match["method"], int(match["steps"]))
        with pytest.MonkeyPatch.context() as trained:
            # A network brings its path and its schedule.
            if match["option"] == "_cosine":
                trained.setattr(net, "path_type", "cosine")
            if name == "rae_dit":
                shift = 1.0 if match["option"] == "_noshift" else data.config["time_dist_shift"]
                trained.setattr(net, "time_shift", shift)
            final = official_sample(net, *asked, **options(name, data, match))
        error = (final - data.io[key]).abs().max().item()
        assert error <= (ADAPTIVE if "dopri5" in key else FIXED_STEP), (key, error)


def calls(net: Any, *arguments: Any, **options: Any) -> int:
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1

    handle = net.register_forward_hook(counted)
    official_sample(net, *arguments, **options)
    handle.remove()
    return count


def test_number_of_evaluations(nets: dict[str, tuple[Any, Any]]) -> None:
    sit, data = nets["sit"]
    z, y = data.io["z"], data.io["y_sample"]
    assert calls(sit, z, y, "euler", 11) == 10
    # One evaluation gives velocity and score, so half of the official code's calls.
    assert calls(sit, z, y, "sde_Euler_sigma_Mean", 8, sde_noise=data.io["sde_noise"]) == 8
    jit, data = nets["jit"]
    z, y = data.io["z_unit"], data.io["y_sample"]
    assert calls(jit, z, y, "heun", 50) == 99
    # Guidance acts from the sixth grid time on: linspace(0, 1, 51)[5] is just below 0.1 in float32.
    assert calls(jit, z, y, "euler", 50, 3.0, (0.1, 1.0)) == 50 + 44
    repa, data = nets["repa"]
    assert calls(repa, data.io["z"], data.io["y_sample"], "heun", 5) == 9


@torch.no_grad()
def test_jit_guided_velocity_matches(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["jit"]
    for t in ("0.0", "0.1", "0.5", "0.96", "0.98", "1.0"):
        expected = data.io[f"guided_v_t{t}"]
        out = jit_guided_velocity(net, data.io["z_unit"], torch.tensor(float(t)), data.io["y_sample"], 3.0, (0.1, 1.0))
        assert (out - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_uint8_rounding_of_jit_matches(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["jit"]
    assert torch.equal(to_uint8_official(net, data.io["sample_heun50_cfg"]), data.io["uint8_heun50_cfg"])


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("sit", -1.0, 0),  # 127.5 x + 128, cut
        ("sit", 0.0, 128),
        ("sit", 0.99, 254),
        ("jit", 0.0, 128),  # 127.5, half to even
        ("jit", -1 + 2 * 0.5 / 255, 0),  # 0.5, half to even
        ("repa", 0.0, 127),  # 127.5, cut
        ("repa", 0.999, 254),
        ("rae_dit", 0.5, 127),  # 127.5, cut
        ("rae_dit", 2.0, 255),
    ],
)
def test_uint8_rounding_by_hand(nets: dict[str, tuple[Any, Any]], name: str, value: float, level: int) -> None:
    out = to_uint8_official(nets[name][0], torch.full((1, 3, 1, 2), value, dtype=torch.float64))
    assert out.shape == (1, 1, 2, 3)
    assert out.dtype == torch.uint8
    assert (out == level).all()


def test_repa_interval_includes_grid_times(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["repa"]
    z, y = data.io["z"], data.io["y_sample"]
    # linspace(1, 0, 11) holds 0.7 and 0.3: at 0.7, 0.6, 0.5, 0.4, 0.3 guidance acts.
    seen = []
    handle = net.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    official_sample(net, z, y, "euler", 10, 1.8, (0.3, 0.7))
    handle.remove()
    assert seen == [2] * 3 + [4] * 5 + [2] * 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sit", {"method": "heun"}, "sit has no sampling method 'heun' .did you mean"),
        ("sit", {"cfg_interval": (0.1, 1.0)}, "sit's official procedure has no cfg_interval"),
        ("sit", {"method": "sde", "num_steps": 4}, "needs sde_noise, so that it can be repeated"),
        ("sit", {"method": "sde_euler_sbdm_mean", "num_steps": 4}, "infinite at t = 0"),
        (
            "sit",
            {"method": "sde_euler_sgma_mean", "num_steps": 4},
            "unknown diffusion form 'sgma' .did you mean 'sigma'",
        ),
        ("sit", {"method": "sde", "num_steps": 9, "sde_noise": torch.zeros(2, 2, 4, 8, 8)}, "holds 2 draws"),
        ("sit", {"method": "euler", "num_steps": 1}, "num_steps must be at least 2, not 1"),
        ("jit", {"method": "dopri5"}, "jit has no sampling method 'dopri5'"),
        ("jit", {"guide": torch.nn.Identity()}, "jit's official procedure has no guide"),
        ("rae_dit", {"method": "sde"}, "rae has no sampling method 'sde'"),
    ],
)
def test_options_a_procedure_does_not_have(
    nets: dict[str, tuple[Any, Any]], name: str, options: dict[str, Any], message: str
) -> None:
    net, data = nets[name]
    with pytest.raises(UserError, match=message):
        official_sample(net, data.io["z_unit" if name == "jit" else "z"], data.io["y_sample"], **options)


def test_wrong_noise_shape(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["sit"]
    with pytest.raises(UserError, match=r"noise must be \(B, 4, 8, 8\) and y \(B,\), not \[2, 4, 4, 8\] and \[2\]"):
        official_sample(net, data.io["z"][:, :, :4], data.io["y_sample"])


@torch.no_grad()
def test_every_sde_form_and_last_step_runs(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["sit"]
    z, y, noise = data.io["z"], data.io["y_sample"], data.io["sde_noise"]
    finals = {
        (m, form, last): official_sample(net, z, y, f"sde_{m}_{form}_{last}", 5, sde_noise=noise)
        for m in ("Euler", "Heun")
        for form in ("constant", "linear", "increasing-decreasing")
        for last in ("Mean", "Euler", "Tweedie")
    }
    assert all(torch.isfinite(final).all() for final in finals.values())
    # On the linear path the posterior mean is a whole Euler step; everything else differs.
    for (m, form, last), final in finals.items():
        if last == "Tweedie":
            torch.testing.assert_close(final, finals[m, form, "Euler"], atol=1e-5, rtol=1e-5)
    assert len({round(f.sum().item(), 3) for key, f in finals.items() if key[2] != "Tweedie"}) == 12


@torch.no_grad()
def test_every_solver_of_torchdiffeq_comes_to_the_same_end(nets: dict[str, tuple[Any, Any]]) -> None:
    for name, adaptive in (("sit", 50), ("rae_dit", 50)):
        net, data = nets[name]
        z, y = data.io["z"], data.io["y_sample"]
        exact = official_sample(net, z, y, "rk4", adaptive)
        for method in SOLVERS[1:]:
            end = official_sample(net, z, y, method, adaptive)
            assert (end - exact).abs().max() < 0.15, (name, method)  # at the authors' tolerances; latents reach 3


@torch.no_grad()
def test_autoguidance_acts_inside_its_interval(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["rae_dit"]
    z, y = data.io["z"], data.io["y_sample"]
    weak = options("rae_dit", data, re.fullmatch(ENTRY["rae_dit"], "ode_euler_n50_ag"))["guide"]  # type: ignore[arg-type]
    plain = official_sample(net, z, y, "euler", 11)
    for interval, acts in (((0.0, 0.005), False), ((0.9, 1.0), True)):
        found = official_sample(net, z, y, "euler", 11, 1.42, interval, guide=weak)
        assert torch.equal(found, plain) != acts


def test_options_without_effect_are_taken(nets: dict[str, tuple[Any, Any]]) -> None:
    net, data = nets["sit"]
    z, y = data.io["z"], data.io["y_sample"]
    found = official_sample(net, z, y, "euler", 3, cfg_interval=(0.0, 1.0))
    assert torch.equal(found, official_sample(net, z, y, "euler", 3))
