"""docs/suite.md and suites/suite.schema.json, made from the schema by `drlbench schema suite [--markdown]`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from drlbench.registry import ALGORITHMS, ENCODERS, REWARDS, Registry
from drlbench.settings import Settings
from drlbench.suite.document import MAX_BYTES
from drlbench.suite.kinds import MAX_SETTING, meanings, record_of
from drlbench.suite.load import MAX_CELLS
from drlbench.suite.networks import MAX_DEPTH as MAX_LAYERS
from drlbench.suite.networks import MAX_SIZE
from drlbench.suite.schema import SuiteSpec
from drlbench.suite.syntax import MAX_DEPTH, MAX_VALUES

HEAD = f"""\
# Every key of a suite

Made by `drlbench schema suite --markdown` from the schema that `validate` checks with; `drlbench schema suite` prints
the same as a JSON schema for editors (the shipped suites name `suites/suite.schema.json` in their first line).

A suite is one YAML 1.2 document of at most {MAX_BYTES:,} bytes, {MAX_DEPTH} levels and {MAX_VALUES:,} values with
aliases written out; tags and control characters are refused. Values are strict: `1e-3` is a number, `'1e-3'` and `true`
are not, and `1.0` is no whole number. Names (of the suite, encoders, backbones, rewards, algorithms, runs, guidances)
are 1 to 80 letters, digits and `. _ + @ -`, the first a letter or digit, without `--`. No value stands twice in a list.
There are at most {MAX_CELLS:,} cells; a setting is at most {MAX_SETTING:,}, a network's size at most {MAX_SIZE:,}, its
depth at most {MAX_LAYERS}.
"""

# Settings that published encoders and rewards share, where their own docstrings do not say more.
SHARED = {
    "weights": "path of the file; none: the cache or its published place",
    "head": "path of the predictor's file; none: the cache or its published place",
    "class_names": "one name a class, for the prompts; `imagenet`: its own",
    "template": "of the prompt, with `{class}`",
    "version": "of the published weights",
    "convention": "whose scale, prefix and clipping",
    "preset": "network, input size, resizing and layer",
    "attention": "of the network: sdpa or eager",
}
Schema = Mapping[str, Any]


def suite_schema() -> dict[str, Any]:
    """The JSON schema of suite files, with a description, default and example for every key."""
    return SuiteSpec.model_json_schema()


def schema_text() -> str:
    """`suite_schema` as the file that editors read."""
    return json.dumps(suite_schema(), indent=1, ensure_ascii=False) + "\n"


def handbook() -> str:
    """docs/suite.md."""
    schema = suite_schema()
    lines = [HEAD, *_section("The file", "", schema)]
    named = {"DataSpec": "data", "OriginSpec": "data.origin", "EncoderSpec": "encoders.NAME",
             "RewardSpec": "rewards.NAME", "AlgorithmSpec": "algorithms.NAME", "WatchSpec": "algorithms.NAME.watch",
             "BackboneSpec": "backbones.NAME",
             "LatentSpec": "backbones.NAME.latent", "GateSpec": "backbones.NAME.gate",
             "RunSpec": "runs.NAME",
             "HeadlineSpec": "runs.NAME.headline", "StartSpec": "runs.NAME.start",
             "TeacherSpec": "runs.NAME.teacher", "MatchSpec": "runs.NAME.match", "PolicySpec": "runs.NAME.policy",
             "SamplingSpec": "sampling", "GuidanceSpec": "guidance[]", "GuideSpec": "guidance[].guide",
             "GridSpec": "grid", "StageSpec": "stages.NAME"}  # fmt: skip
    for name, title in named.items():
        lines += _section(f"`{title}`", title, schema["$defs"][name])
    for title, registry in (("encoder", ENCODERS), ("reward", REWARDS), ("algorithm", ALGORITHMS)):
        lines += [f"\n## Settings of each {title} kind\n", "They stand beside `kind`."]
        for kind in registry.builtin:
            lines += _kind(registry, kind)
    return "\n".join(lines) + "\n"


def _section(title: str, prefix: str, schema: Schema) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield " ".join(schema.get("description", "").split())
    yield "\n| key | type | default | unit | example | meaning |\n|---|---|---|---|---|---|"
    for name, key in schema["properties"].items():
        default = _code(key["default"]) if "default" in key else "needed"
        row = (f"`{name}`", _kind_of(key), default, key.get("unit", ""), _code(key["examples"][0]), key["description"])
        yield "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"


def _kind(registry: Registry, kind: str) -> Iterator[str]:
    record: type[Settings] = record_of(registry, kind)
    schema, said = record.model_json_schema(), meanings(record)
    yield f"\n### `{kind}`\n"
    if not schema["properties"]:
        yield "No settings."
        return
    yield "| setting | type | default | meaning |\n|---|---|---|---|"
    for name, key in schema["properties"].items():
        default = _code(key["default"]) if "default" in key else "needed"
        row = (f"`{name}`", _kind_of(key), default, key.get("description") or said.get(name) or SHARED.get(name, ""))
        yield "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"


def _code(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind_of(key: Schema) -> str:
    """A JSON schema's type in a reader's words, with its range."""
    if "$ref" in key:
        return "mapping"
    if "enum" in key or "const" in key:
        return " or ".join(map(str, key.get("enum", [key.get("const")])))
    if "anyOf" in key:
        return " or ".join(dict.fromkeys(t for part in key["anyOf"] if (t := _kind_of(part)) != "nothing")) or "any"
    words: dict[str, str] = {
        "integer": "whole number",
        "string": "text",
        "boolean": "true or false",
        "object": "mapping",
        "null": "nothing",
    }
    found = key.get("type", "any")
    if found == "array":
        return f"list of {_kind_of(key['items'])}" if "items" in key else "list"
    ranges = [
        f"{sign} {key[name]:,}" if isinstance(key[name], int) else f"{sign} {key[name]:g}"
        for name, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
        if name in key
    ]
    return " ".join([words.get(found, str(found)), ", ".join(ranges)]).strip()
