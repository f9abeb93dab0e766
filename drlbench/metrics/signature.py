"""A number's signature, in the spirit of sacreBLEU (Post 2018): all that has to agree before two numbers compare.

fd|enc:inception-v3-2015-12-05:6726825d…/tf1/2048|ref:jit_in256_stats:9f3c21aa|n:50000|v:drlbench-0.1.0

Whatever was fitted stands in it by the hash of its weights, and images by the hash of their content: equal settings
make other networks on other machines, and numbers seen through those do not compare.

| part | what it names |
|---|---|
| enc, reward | network, preprocessing and the hash of all weights that a feature or score depends on |
| ref | the images, statistics or model that the number is taken to, with their hash |
| sampler | how the samples were made |
| n | how many |
| code | version of the measuring code, where a run has one |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from drlbench import __version__

_WORDS = {
    "enc": "extractor",
    "ref": "reference",
    "reward": "reward",
    "sampler": "sampler",
    "n": "number of samples",
    "code": "measuring code",
    "v": "version",
}
_RESERVED = {"%": "%25", "|": "%7C", "\n": "%0A"}


def make_signature(metric: str, parts: Mapping[str, str | int | float]) -> str:
    """`metric|key:value|…|v:drlbench-<version>`; empty values are left out, the order is kept.

    A separator inside a name is percent-encoded, so that `read_signature` gives back what was put in.
    """
    fields = [metric, *(f"{key}:{value}" for key, value in parts.items() if value != "")]
    return "|".join([*map(_quoted, fields), f"v:drlbench-{__version__}"])


def _quoted(field: str) -> str:
    return "".join(_RESERVED.get(letter, letter) for letter in field)


def sampler_part(settings: Mapping[str, Any]) -> str:
    """How samples were made, from the settings of their stage: `heun50-seed0`, `euler20-cfg1.5[0,1]-seed0`, and
    `heun50-auto2(base)-seed0` under autoguidance by the run base."""
    s = settings
    guided = "" if s["cfg"] == 1 else f"-cfg{s['cfg']:g}[{s['low']:g},{s['high']:g}]"
    if "guide" in s:
        guided = f"-auto{s['cfg']:g}({s['guide']})"
    half = "-bf16" if s.get("precision") == "bf16" else ""
    return f"{s['sampler']}{s['steps'] or ''}{guided}{half}-seed{s['seed']}"


def read_signature(text: str) -> dict[str, str]:
    """The parts of a signature by key, the metric under `metric`."""
    metric, *fields = text.split("|")
    pairs = (field.split(":", 1) for field in fields if ":" in field)
    return {"metric": unquote(metric), **{key: unquote(value) for key, value in pairs}}


def why_not_comparable(first: str, second: str) -> list[str]:
    """What two signatures disagree on, in words; an empty list means the numbers may be compared."""
    a, b = read_signature(first), read_signature(second)
    return [
        f"{_WORDS.get(key, key)}: {a.get(key, 'not stated')} against {b.get(key, 'not stated')}"
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]
