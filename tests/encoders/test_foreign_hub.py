"""Models by name: no library or no network is one clear line, and that at once."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from smalto.encoders import foreign_diffusers, foreign_hub, foreign_transformers
from smalto.encoders.foreign_hub import offline_reason, pretrained
from smalto.errors import MissingExtra, WeightsError


class Recorder:
    """Stands in for a class of the libraries."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def from_pretrained(self, name: str, **options: Any) -> str:
        self.calls.append((name, options))
        if self.error is not None:
            raise self.error
        return "model"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The hub seems to answer; gives the addresses that were asked."""
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        return socket.socket()

    for name in (*foreign_hub._OFFLINE_SWITCHES, *foreign_hub._PROXIES, "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", connect)
    return asked


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    calls = (
        foreign_transformers.vision_model,
        foreign_transformers.language_model,
        lambda: foreign_transformers.token_numbers("a"),
        foreign_diffusers.autoencoder,
        foreign_diffusers.sd3_pipeline,
    )
    for call in calls:
        with pytest.raises(
            MissingExtra, match=r"cannot be imported .*pip install --upgrade 'smalto\[teachers\]'"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_an_installation_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            raise ModuleNotFoundError("could not import") from RuntimeError("operator does\nnot exist")

    monkeypatch.setitem(sys.modules, "transformers", Broken())  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"transformers\.AutoModel .*\(operator does not exist\)"):
        foreign_transformers.vision_model()


@pytest.mark.parametrize("switch", foreign_hub._OFFLINE_SWITCHES)
def test_switched_off(switch: str, online: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch, "yes")
    kind = Recorder(OSError("a long story\nabout files"))
    with pytest.raises(WeightsError) as caught:
        pretrained(kind, "some/model")
    assert str(caught.value) == (
        f"some/model: not in the local cache and the hub is out of reach ({switch} is set); "
        "run `hf download some/model` where there is a network, or name its folder"
    )
    assert kind.calls == [("some/model", {"local_files_only": True})]
    assert online == []


def test_no_network(online: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        raise OSError("unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(foreign_hub, "PROBE_SECONDS", 0.05)
    with pytest.raises(WeightsError, match=r"out of reach \(no connection to huggingface\.co\)"):
        pretrained(Recorder(OSError("x")), "some/model")
    assert pretrained(Recorder(), "some/model") == "model"  # it was in the cache

    hanging = threading.Event()

    def hang(address: tuple[str, int], timeout: float) -> socket.socket:
        hanging.wait(60)
        raise OSError("timed out")

    monkeypatch.setattr(socket, "create_connection", hang)
    assert offline_reason() == "no connection to huggingface.co"
    hanging.set()


def test_with_a_network(online: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Recorder()
    assert pretrained(kind, "some/model", {"subfolder": "vae"}) == "model"
    assert kind.calls == [("some/model", {"local_files_only": False, "subfolder": "vae"})]
    assert online == [("huggingface.co", 443)]
    with pytest.raises(WeightsError, match=r"some/model: the hub gave no model .gated repo.; check the name"):
        pretrained(Recorder(ValueError("gated\nrepo")), "some/model")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
    assert offline_reason() is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert offline_reason() is None
    assert online[-2:] == [("mirror.example", 80), ("proxy.example", 3128)]


def test_a_folder_needs_no_network(online: list[tuple[str, int]], tmp_path: Path) -> None:
    kind = Recorder()
    pretrained(kind, tmp_path)
    assert kind.calls == [(str(tmp_path), {"local_files_only": True})]
    assert online == []
    with pytest.raises(WeightsError, match="not a healthy model folder"):
        pretrained(Recorder(OSError("no config")), tmp_path)
