"""One weights file of the outside world, described well enough to fetch it, to check it, and to say what is missing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asset:
    """A file.

    Attributes:
        name: what messages and the cache call it; unique.
        filename: in its repository, or in the cache.
        hub: repository on the Hugging Face Hub, at `revision`; or
        url: address of a plain download; or
        page: address of a page where a person downloads it (a shared folder has no address per file); or
        package: distribution of the Python registry that ships it, `filename` being its place beside the others'.
        size: bytes, 0 when unknown; `size_is_estimate` when counted from the parameters.
        sha256: hex, or its beginning, or empty when unknown.
        licence: of the weights, as far as known.
        gated: the Hub asks for an accepted licence and a token.
        ungated: a repository with the same weights and no gate, named in messages.
        torch_hub: kept in torch's own cache, where other tools look for it too.
    """

    name: str
    filename: str
    hub: str = ""
    revision: str = "main"
    url: str = ""
    page: str = ""
    package: str = ""
    size: int = 0
    size_is_estimate: bool = True
    sha256: str = ""
    licence: str = ""
    gated: bool = False
    ungated: str = ""
    torch_hub: bool = False

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        if self.package:
            return f"the Python package {self.package}"
        return f"https://huggingface.co/{self.hub}" if self.hub else self.url or self.page

    @property
    def by_hand(self) -> bool:
        """True when a run cannot fetch it itself."""
        return not (self.hub or self.url)
