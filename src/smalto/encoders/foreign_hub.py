"""Models by name through transformers and diffusers: loaded where they are, or one clear line at once.

A name is a folder on disk or a name on the hub. Data is loaded, never code: remote code is off and weights are
safetensors. Without a network nothing is tried again and again: the cache is looked into, then the error says how
to get the model.
"""

from __future__ import annotations

import importlib
import os
import socket
import threading
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalto.errors import MissingExtra, WeightsError

SAFE_WEIGHTS = {"use_safetensors": True}
PROBE_SECONDS = 2.0
_TRUE = ("1", "true", "yes", "on")
_OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def library(name: str) -> Any:
    """The module ``transformers`` or ``diffusers``.

    Raises:
        MissingExtra: not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(_missing(name, error)) from error


def library_class(name: str, kind: str) -> Any:
    """A class of ``transformers`` or ``diffusers``, both of which import parts only when asked for them.

    Raises:
        MissingExtra: not installed, too old to have it, or an installation that does not import.
    """
    module = library(name)
    try:
        return getattr(module, kind)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise MissingExtra(_missing(f"{name}.{kind}", error)) from error


def _missing(what: str, error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = " ".join(str(cause).split())[:120]
    return f"{what} cannot be imported ({reason}); pip install --upgrade 'smalto[teachers]'"


def pretrained(kind: Any, name: str | Path, options: Mapping[str, Any] | None = None) -> Any:
    """``kind.from_pretrained(name)``, at once and safely.

    Args:
        kind: a class of transformers or diffusers.
        name: a folder, or a name on the hub such as ``facebook/dinov2-giant``.
        options: further options of its ``from_pretrained``, such as ``subfolder``.

    Raises:
        WeightsError: the model is not here and the hub cannot be reached, refuses it, or its files are damaged.
    """
    is_folder = Path(name).is_dir()
    reason = None if is_folder else offline_reason()
    try:
        return kind.from_pretrained(str(name), local_files_only=is_folder or reason is not None, **(options or {}))
    except Exception as error:  # the libraries raise nearly anything: OSError, ValueError, RuntimeError, their own
        raise WeightsError(_failure(name, is_folder, reason, error)) from error


def _failure(name: str | Path, is_folder: bool, reason: str | None, error: Exception) -> str:
    if is_folder:
        return f"{name}: not a healthy model folder ({_one_line(error)}); fetch it again"
    if reason is not None:
        return (
            f"{name}: not in the local cache and the hub is out of reach ({reason}); "
            f"run `hf download {name}` where there is a network, or name its folder"
        )
    return f"{name}: the hub gave no model ({_one_line(error)}); check the name and your access, or name a folder"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def offline_reason() -> str | None:
    """Why the hub is out of reach; None when it answers. Takes two seconds at most."""
    for switch in _OFFLINE_SWITCHES:
        if os.environ.get(switch, "").lower() in _TRUE:
            return f"{switch} is set"
    host, port = _gateway()
    answered = threading.Event()

    def probe() -> None:
        try:
            socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
        except OSError:
            return
        answered.set()

    thread = threading.Thread(target=probe, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(PROBE_SECONDS)
    return None if answered.is_set() else f"no connection to {host}"


def _gateway() -> tuple[str, int]:
    """Host and port that a download would first connect to: a proxy's, or the hub's."""
    proxy = next((os.environ[name] for name in _PROXIES if os.environ.get(name)), None)
    address = proxy or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
    return parts.hostname or "huggingface.co", parts.port or (80 if parts.scheme == "http" else 443)
