"""Feature profiles: what a fit found, as a small safetensors file whose digest stands in every file coded with it."""

from __future__ import annotations

import functools
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from smalto.errors import MissingSpace, ProfileError, SmaltoError
from smalto.files import replace_file

if TYPE_CHECKING:
    import numpy as np

MAX_PROFILE_BYTES = 16 << 20
SUFFIX = ".profile.safetensors"
FORMAT = "smalto feature profile 1"
TIERS = ("fast", "hyperprior", "elic")
MAX_ARRAYS = 4096


@dataclass(frozen=True, eq=False)
class FeatureProfile:
    """What ``fit`` found.

    Args:
        tier: ``fast``, ``hyperprior`` or ``elic``.
        arrays: what the tier needs, by name.
        facts: what people want to know (layout, shape of the samples, error and rate on them), name -> text.

    Raises:
        ProfileError: no such tier.
    """

    tier: str
    arrays: Mapping[str, np.ndarray] = field(repr=False)
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ProfileError(f"feature profile: no tier is called {self.tier!r}; there are {', '.join(TIERS)}")

    @functools.cached_property
    def digest(self) -> bytes:
        """8 bytes over tier, facts and arrays: what files carry."""
        from smalto.weights.store import DIGEST_BYTES, digest

        return digest(self.arrays, self._configuration())[:DIGEST_BYTES]

    def _configuration(self) -> str:
        return json.dumps({"tier": self.tier, **self.facts}, sort_keys=True)

    def to_bytes(self) -> bytes:
        """The profile as a safetensors file; facts stand in its metadata."""
        return self._data

    @functools.cached_property
    def _data(self) -> bytes:
        import numpy as np
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        facts = {f"fact.{name}": text for name, text in sorted(self.facts.items())}
        data = save(arrays, {"format": FORMAT, "tier": self.tier, **facts})
        if len(data) > MAX_PROFILE_BYTES:
            raise ProfileError(f"feature profile: {len(data)} bytes are over {MAX_PROFILE_BYTES}; fit fewer contexts")
        return data

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "feature profile") -> FeatureProfile:
        """The profile in a safetensors file.

        Args:
            data: at most 16 MiB.
            name: of the file, for messages.

        Raises:
            ProfileError: not a healthy profile.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if len(data) > MAX_PROFILE_BYTES:
            raise ProfileError(f"{name}: {len(data)} bytes are no feature profile; name another file")
        try:
            metadata = _metadata(data)
            arrays = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ProfileError(f"{name}: not a healthy feature profile ({error}); fit it again") from error
        if metadata.get("format") != FORMAT or len(arrays) > MAX_ARRAYS:
            raise ProfileError(f"{name}: a safetensors file, but no feature profile of this version; fit it again")
        facts = {key[len("fact.") :]: text for key, text in metadata.items() if key.startswith("fact.")}
        return cls(metadata.get("tier", ""), arrays, facts)

    def save(self, path: str | Path) -> None:
        """Write the profile atomically."""
        replace_file(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> FeatureProfile:
        """The profile in a file.

        Raises:
            ProfileError: the file is absent or not a healthy profile.
        """
        try:
            with Path(path).open("rb") as stream:
                data = stream.read(MAX_PROFILE_BYTES + 1)
        except OSError as error:
            raise ProfileError(f"{path}: cannot read the profile ({error.strerror}); check the path") from error
        return cls.from_bytes(data, str(path))


def _metadata(data: bytes) -> dict[str, str]:
    """The text metadata of a safetensors file."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    found = header.get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("metadata is not text")
    return found


def profile_folder() -> Path:
    """Where ``fit`` leaves copies: $SMALTO_PROFILES, else smalto/profiles in the user's data folder.

    Raises:
        SmaltoError: there is no home folder; set SMALTO_PROFILES.
    """
    named = os.environ.get("SMALTO_PROFILES")
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    if data:
        return Path(data) / "smalto" / "profiles"
    try:
        return Path.home() / ".local" / "share" / "smalto" / "profiles"
    except RuntimeError as error:
        raise SmaltoError("no home folder to keep profiles in; set SMALTO_PROFILES to a folder") from error


def keep_copy(profile: FeatureProfile) -> Path | None:
    """Leave a copy of the profile in the user's folder; None where that cannot be written."""
    try:
        target = profile_folder() / f"{profile.digest.hex()}{SUFFIX}"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            profile.save(target)
    except (SmaltoError, OSError):
        return None
    return target


def find_profile(digest: bytes, beside: str | Path | None = None) -> FeatureProfile:
    """The profile with this digest: in the folder of ``beside``, then in the user's folder.

    Args:
        digest: 8 bytes.
        beside: a file that was coded with the profile.

    Raises:
        MissingSpace: it is in neither.
    """
    wanted = f"{digest.hex()}{SUFFIX}"
    folders = [] if beside is None else [Path(beside).parent]
    folders.append(profile_folder())
    for path in _candidates(folders, wanted):
        try:
            profile = FeatureProfile.load(path)
        except ProfileError:
            continue  # some other safetensors file
        if profile.digest == digest:
            return profile
    raise MissingSpace(
        f"{beside or 'features'}: coded with profile {digest.hex()}, which is neither inside nor in "
        f"{' nor '.join(str(folder) for folder in folders)}; name it with -p"
    )


def _candidates(folders: list[Path], wanted: str) -> list[Path]:
    """Files that may be the profile: of its own name first, then every other profile."""
    named = [folder / wanted for folder in folders]
    others = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.safetensors"))]
    return [path for path in named if path.is_file()] + [path for path in others if path.name != wanted]
