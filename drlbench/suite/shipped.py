"""The suites that come with drlbench, found by name from a checkout and from the wheel alike."""

from __future__ import annotations

from pathlib import Path

from drlbench.errors import UserError, did_you_mean, shown


def shipped_suites() -> dict[str, Path]:
    """Name -> file, those of the paper's figures last."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_suites"
    root = installed if installed.is_dir() else package.parent / "suites"
    return {p.stem: p for folder in (root, root / "paper") for p in sorted(folder.glob("*.yaml"))}


def described_suites() -> dict[str, str]:
    """Name -> title of every shipped suite."""
    lines = {name: path.read_text(encoding="utf-8").splitlines() for name, path in shipped_suites().items()}
    titles = {
        n: (line.removeprefix("title:") for line in text if line.startswith("title:")) for n, text in lines.items()
    }
    return {name: next(title, "").strip().strip("\"'") for name, title in titles.items()}


def find_suite(name: str | Path) -> Path:
    """The file itself, or the shipped suite of that name; a folder of that name is in nobody's way.

    Raises:
        UserError: neither is there.
    """
    path, shipped = Path(name), shipped_suites()
    try:
        if path.exists() and not (path.is_dir() and str(path) in shipped):
            return path
    except (OSError, ValueError) as error:  # a name too long for a file, or with a zero byte
        raise UserError(f"{shown(name)}: {getattr(error, 'strerror', None) or error}") from None
    if path.parent == Path() and path.stem in shipped and path.suffix in ("", ".yaml"):
        return shipped[path.stem]
    beside = (p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else ()
    near = did_you_mean(path.stem, [*shipped, *beside])
    raise UserError(f"{shown(path)}: no such suite file{near}; shipped: {', '.join(shipped)}")
