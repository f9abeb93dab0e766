"""A package of one's own for one backbone, reward, encoder, algorithm or metric: an example that works, to be changed.

The templates' classes are those of docs/extending.md; a test keeps them so.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from drlbench.errors import UserError, did_you_mean
from drlbench.registry import ALGORITHMS, BACKBONES, ENCODERS, METRICS, REWARDS, Registry
from drlbench.store import atomic

KINDS: dict[str, Registry] = {
    "backbone": BACKBONES,
    "reward": REWARDS,
    "encoder": ENCODERS,
    "algorithm": ALGORITHMS,
    "metric": METRICS,
}


def new_package(kind: str, name: str, folder: Path) -> list[Path]:
    """Write an installable package with one working class, its entry point and a suite that uses it.

    Args:
        kind: backbone, reward, encoder, algorithm or metric.
        name: the name a suite will use: lower-case letters, digits and single hyphens.
        folder: where to write; must not exist or be empty.

    Returns:
        The files written.

    Raises:
        UserError: an unknown kind, a name that is not one or is taken, or a folder with something in it.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind '{kind}'{did_you_mean(kind, list(KINDS))}; valid: {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UserError(f"'{name}' is not a name: use lower-case letters, digits and single hyphens, e.g. my-{kind}")
    if name in KINDS[kind].names():
        raise UserError(f"{kind} '{name}' exists already ({KINDS[kind].target(name)}); choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; name another with --out")
    module = f"drlbench_{name.replace('-', '_')}"
    words = {"kind": kind, "name": name, "module": module, "class_name": class_name(name)}
    texts = {
        folder / "pyproject.toml": rendered("pyproject.toml.j2", words),
        folder / "src" / module / "__init__.py": rendered(f"{kind}.py.j2", words),
        folder / "suite.yaml": rendered("suite.yaml.j2", words),
    }
    for path, text in texts.items():
        atomic.write_text(path, text)
    return list(texts)


def class_name(name: str) -> str:
    """`my-reward` -> `MyReward`."""
    return "".join(part.capitalize() for part in name.split("-"))


def rendered(template: str, words: dict[str, str]) -> str:
    """A template with its words filled in."""
    text = (resources.files("drlbench.scaffold") / "templates" / template).read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(text).render(words)
