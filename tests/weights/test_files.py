"""Weights files are found, fetched, resumed and checked; offline nothing touches the network."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drlbench.backbones.cards import AUTOENCODERS, CARDS, published_fid
from drlbench.backbones.checkpoints import assets_of, find
from drlbench.backbones.protocols import REFERENCES
from drlbench.backbones.sizes import SIZES
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.weights.asset import Asset
from drlbench.weights.files import OFFLINE_VARIABLES, cached, missing, resolve

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `cut` bytes and then silence when set."""

    requests: ClassVar[list[str | None]] = []
    cut: ClassVar[int | None] = None
    html: ClassVar[bool] = False
    etag: ClassVar[str] = '"one"'

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and self.headers.get("If-Range") != self.etag:
            start, wanted = 0, None
        body = CONTENT[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "text/html" if self.html else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.etag)
        self.end_headers()
        self.wfile.write(body if self.cut is None else body[: self.cut])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def asset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Asset]:
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path))
    for name in OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Server, "requests", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Asset(
        "tiny",
        "tiny.pt",
        url=f"http://127.0.0.1:{server.server_port}/tiny.pt",
        size=len(CONTENT),
        size_is_estimate=False,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    server.shutdown()
    server.server_close()


def changed(asset: Asset, **fields: Any) -> Asset:
    return Asset(**{**asset.__dict__, **fields})


def test_download_is_kept_and_not_repeated(asset: Asset, tmp_path: Path) -> None:
    fractions: list[float] = []
    path = resolve(asset, progress=fractions.append)
    assert path.read_bytes() == CONTENT
    assert fractions[-1] == 1.0
    assert resolve(asset, offline=True) == path
    assert Server.requests == [None]
    assert sorted(p.name for p in path.parent.iterdir() if p.suffix != ".lock") == ["tiny.pt"]


def test_broken_download_goes_on_where_it_stopped(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "cut", 3000)
    with pytest.raises(MissingPrerequisite, match="broke off after 3000 of 10240 bytes; run again"):
        resolve(asset)
    assert cached(asset) is None
    monkeypatch.setattr(Server, "cut", None)
    assert resolve(asset).read_bytes() == CONTENT
    assert Server.requests == [None, "bytes=3000-"]


def test_a_file_that_changed_on_the_server_is_fetched_whole(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "cut", 3000)
    with pytest.raises(MissingPrerequisite):
        resolve(asset)
    monkeypatch.setattr(Server, "cut", None)
    monkeypatch.setattr(Server, "etag", '"two"')
    assert resolve(asset).read_bytes() == CONTENT


def test_wrong_content_never_enters_the_cache(asset: Asset) -> None:
    wrong = changed(asset, sha256="0" * 64)
    with pytest.raises(IntegrityError, match=r"sha256 .* is not the 0000000000000000 of tiny"):
        resolve(wrong)
    assert cached(wrong) is None
    with pytest.raises(IntegrityError, match="10240 bytes, 5 expected"):
        resolve(changed(asset, size=5))


def test_a_damaged_file_in_the_cache_is_noticed(asset: Asset) -> None:
    resolve(asset).write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(IntegrityError, match="delete it and fetch it again"):
        resolve(asset)


def test_a_web_page_is_not_a_checkpoint(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "html", True)
    with pytest.raises(MissingPrerequisite, match="answered with a web page"):
        resolve(asset)


def test_unreachable_server(asset: Asset) -> None:
    with pytest.raises(MissingPrerequisite, match="the download failed"):
        resolve(changed(asset, url="http://127.0.0.1:9/x"))


@pytest.mark.parametrize("variable", [*OFFLINE_VARIABLES, None])
def test_offline_never_touches_the_network(asset: Asset, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(MissingPrerequisite, match="offline: the network was not touched"):
        resolve(asset, offline=None if variable else True)
    assert Server.requests == []


@pytest.mark.parametrize("name", [*CARDS])
def test_offline_message_says_what_where_and_how(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    asset = CARDS[name].asset
    with pytest.raises(MissingPrerequisite) as caught:
        resolve(asset, offline=True)
    message = str(caught.value)
    assert asset.filename in message
    assert " GB" in message
    assert asset.source in message
    assert any(command in message for command in ("hf download", "curl -L", "put it at"))
    assert caught.value.exit_code == 6


def test_cards_are_consistent() -> None:
    for card in CARDS.values():
        assert card.size in SIZES
        assert card.autoencoder == "pixels" or card.autoencoder in AUTOENCODERS
        assert card.asset.licence
        assert sum(map(bool, (card.asset.hub, card.asset.url, card.asset.page))) == 1
    assert {SIZES[c.size][0] for c in CARDS.values()} == {"sit", "jit", "repa", "rae"}


def test_what_a_model_needs() -> None:
    assert [a.name for a in assets_of("jit-h-16")] == ["jit-h-16"]
    assert len(assets_of("rae-ditdh-xl-256", "rae-dinov2-b-256")) == 4
    assert assets_of(str(Path(__file__))) == []
    assert missing(CARDS["jit-h-16"].asset).startswith("jit-h-16: jit-h-16/checkpoint-last.pth, about 11.43 GB")


def test_find() -> None:
    assert find(__file__) == Path(__file__)
    with pytest.raises(UserError, match=r"unknown checkpoint 'sit-xl-2-255' .did you mean 'sit-xl-2-256'"):
        find("sit-xl-2-255")
    with pytest.raises(MissingPrerequisite, match=r"checkpoint nowhere/x\.pt: no such file"):
        find("nowhere/x.pt")


def test_published_numbers_that_can_be_measured_again() -> None:
    card, number, how = published_fid("sit-xl-2-256")
    assert (card.name, number.value, how.method, how.steps, how.cfg) == (
        "sit-xl-2-256",
        2.06,
        "sde_Euler_sigma_Mean",
        250,
        1.5,
    )
    assert published_fid("jit-h-16")[2].to_text() == (
        "heun in 50 steps as its authors count, guidance 2.2 for t in [0.1, 1], 50,000 samples with balanced labels, "
        "against jit_in256_stats.npz"
    )
    guided = CARDS["rae-ditdh-xl-256"].published[1].how
    assert guided is not None
    assert guided.guide in CARDS
    assert "autoguidance 1.42 with rae-ditdh-s-256" in guided.to_text()
    # REPA's interval is [0, 0.7] in its own time, in which noise is at 1.
    repa = published_fid("repa-sit-xl-2-256")[2]
    assert (1 - repa.high, 1 - repa.low) == (0.0, 0.7)
    hows = [p.how for card in CARDS.values() for p in card.published if p.how]
    assert all(how.reference in REFERENCES for how in hows)
    with pytest.raises(UserError, match=r"sit-s-2-256 holds no FID .* those that do: sit-xl-2-256"):
        published_fid("sit-s-2-256")
    with pytest.raises(UserError, match=r"'sit-xl-2-255' is no card .did you mean 'sit-xl-2-256'"):
        published_fid("sit-xl-2-255")
