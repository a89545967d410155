"""The folder that ``smalto export`` writes: a file a network, ``manifest.json`` for programs, ``README.md`` for people.

Everything is made and checked before the first file is written; a new folder appears whole, an old one has its files
replaced one by one, the manifest last.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import smalto
from smalto.errors import SmaltoError, UsageError
from smalto.export.calibration import Calibration
from smalto.export.device_networks import DeviceNetwork, Port
from smalto.export.onnx_network import OPSET, Parity, compare, export_network
from smalto.export.onnx_quantisation import quantised
from smalto.files import replace_file

SCHEMA = 1
MANIFEST, README = "manifest.json", "README.md"
ONNX = "onnx"
FORMATS = (ONNX,)
_VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime")
_CODEC = (
    "The codec between latents and .smalto files is not among these networks: files are written and read by smalto "
    "itself, and these networks run on the latents before and after it."
)


@dataclass(frozen=True)
class SystemFacts:
    """What a manifest says of the system.

    Args:
        system: its name.
        space: name of its space.
        decoder_digest: of the frozen decoder, hexadecimal.
        licence: of the weights.
        data: what they were trained on.
    """

    system: str
    space: str
    decoder_digest: str
    licence: str = ""
    data: str = ""


@dataclass(frozen=True)
class ExportedFile:
    """One file of the folder.

    Args:
        network: its name.
        name: of the file.
        data: its bytes.
        precision: ``float32`` or ``int8``.
        facts: what was measured: parity with torch, or the cost of int8.
    """

    network: DeviceNetwork
    name: str
    data: bytes
    precision: str
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)

    def entry(self) -> dict[str, object]:
        """Its entry in the manifest."""
        return {
            "file": self.name,
            "network": self.network.name,
            "precision": self.precision,
            "num_bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "side_multiple_px": self.network.multiple,
            "inputs": [_port(port) for port in self.network.inputs],
            "outputs": [_port(port) for port in self.network.outputs],
            **self.network.facts,
            **self.facts,
        }


@dataclass(frozen=True)
class Export:
    """Everything that a folder is going to hold.

    Args:
        system: what it is of.
        files: in order.
        notes: findings, such as networks that are not worth their int8 form.
    """

    system: SystemFacts
    files: tuple[ExportedFile, ...]
    notes: tuple[str, ...] = ()

    def manifest(self) -> bytes:
        """``manifest.json``."""
        content = {
            "schema": SCHEMA,
            "format": ONNX,
            "opset": OPSET,
            **asdict(self.system),
            "versions": {"smalto": smalto.__version__, **{name: _version(name) for name in _VERSIONS}},
            "networks": [file.entry() for file in self.files],
            "notes": [*self.notes, _CODEC],
        }
        return (json.dumps(content, indent=2) + "\n").encode()

    def readme(self) -> bytes:
        """``README.md``: the same for people."""
        system = self.system
        lines = [
            f"# {system.system} for devices",
            "",
            f"Space {system.space}, decoder {system.decoder_digest}, ONNX opset {OPSET}.",
            f"Licence of the weights: {system.licence or 'not stated'}.",
            "",
            "Tensors are float32; batch, height and width are free. Height and width are the picture's, in pixels:",
            "continue the picture to a multiple by its last row and column, and crop the answer.",
            "",
            "| file | inputs | outputs | sides, multiples of | bytes |",
            "|:--|:--|:--|--:|--:|",
        ]
        lines += [
            f"| {file.name} | {_shown(file.network.inputs)} | {_shown(file.network.outputs)} "
            f"| {file.network.multiple} | {len(file.data):,} |"
            for file in self.files
        ]
        lines += ["", *(f"- {note}" for note in (*self.notes, _CODEC)), ""]
        lines.append(f"Digests, ranges and what was measured: `{MANIFEST}`.")
        return ("\n".join(lines) + "\n").encode()


def exported(
    networks: Sequence[DeviceNetwork],
    system: SystemFacts,
    calibrations: Mapping[str, Calibration] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Export:
    """Networks as files: float32, compared with torch, and int8 beside it where calibrations are given.

    Args:
        networks: to export.
        system: what the manifest and the files say of it.
        calibrations: inputs by network; None writes no int8.
        progress: called with a line for each file.

    Raises:
        MissingExtra: ONNX is not installed.
        SmaltoError: a network cannot be exported, or its file answers differently.
    """
    say = progress or (lambda line: None)
    facts = {"system": system.system, "space": system.space, "licence": system.licence, "smalto": smalto.__version__}
    files: list[ExportedFile] = []
    notes: list[str] = []
    for network in networks:
        data = export_network(network, facts)
        parity = compare(network, data)
        files.append(ExportedFile(network, f"{network.name}.onnx", data, "float32", {"parity": _parity(parity)}))
        say(f"{network.name}.onnx: {len(data):,} bytes, within {parity.max_share:.1e} of the range of torch's answers")
        if calibrations is None:
            continue
        file, note = _int8(network, data, calibrations.get(network.name))
        files += [] if file is None else [file]
        notes.append(note)
        say(note)
    return Export(system, tuple(files), tuple(notes))


def _int8(network: DeviceNetwork, data: bytes, calibration: Calibration | None) -> tuple[ExportedFile | None, str]:
    """A network's int8 file, if there is one, and a line that says what came out."""
    name = f"{network.name}-int8.onnx"
    if calibration is None:
        return None, f"{network.name}: float32 only; single pictures cannot calibrate it"
    result = quantised(data, calibration, network.snr_db)
    if result.data is None:
        return None, (
            f"{network.name}: float32 only; int8 is too costly: {result.all_int8_snr_db:.1f} dB of signal to noise "
            f"with every convolution in int8, {network.snr_db:g} dB are asked for"
        )
    facts: dict[str, object] = {
        "int8": {
            "snr_db": round(result.snr_db, 2),
            "all_int8_snr_db": round(result.all_int8_snr_db, 2),
            "share_of_multiplications": round(result.int8_share, 4),
            "kept_in_float": list(result.kept),
        }
    }
    layers = "layer" if len(result.kept) == 1 else "layers"
    note = (
        f"{name}: {len(result.data):,} bytes, {result.snr_db:.1f} dB of signal to noise, "
        f"{100 * result.int8_share:.0f} % of the multiplications in int8, {len(result.kept)} {layers} kept in float"
    )
    return ExportedFile(network, name, result.data, "int8", facts), note


def write_export(export: Export, folder: Path) -> None:
    """Write everything; a folder that is not there yet appears whole.

    Args:
        export: see ``exported``.
        folder: new, empty, or one that an earlier export left; its files of networks that are no more are taken away.

    Raises:
        UsageError: the folder holds something else.
        SmaltoError: it cannot be written.
    """
    check_folder(folder)
    held = {file.name: file.data for file in export.files} | {README: export.readme(), MANIFEST: export.manifest()}
    try:
        if folder.is_dir() and any(folder.iterdir()):
            outdated = _listed(folder) - set(held)
            for name, data in held.items():
                replace_file(folder / name, data)
            for name in outdated:
                (folder / name).unlink(missing_ok=True)
        else:
            _appear(folder, held)
    except OSError as error:
        raise SmaltoError(f"{folder}: cannot write ({error.strerror}); choose another place with -o") from error


def check_folder(folder: Path) -> None:
    """Refuse a place that an export would not leave as it should be, before any work.

    Raises:
        UsageError: it is a file, or a folder that holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UsageError(f"-o {folder}: holds other things and no {MANIFEST}; name a new folder or an earlier export")


def _appear(folder: Path, held: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, data in held.items():
            replace_file(temporary / name, data)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        os.replace(temporary, folder)  # an empty folder of that name gives way
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _listed(folder: Path) -> set[str]:
    """Names of the network files that the manifest in a folder lists.

    Raises:
        UsageError: it is no manifest of an export.
    """
    try:
        names = {str(entry["file"]) for entry in json.loads((folder / MANIFEST).read_text())["networks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / MANIFEST}: is not of an earlier export; name a new folder") from error
    return {name for name in names if name == Path(name).name and name.endswith(".onnx")}


def _port(port: Port) -> dict[str, object]:
    return {"name": port.name, "dtype": "float32", "shape": list(port.axes), "values": port.meaning}


def _shown(ports: Sequence[Port]) -> str:
    return "; ".join(f"{port.name} ({', '.join(map(str, port.axes))}), {port.meaning}" for port in ports)


def _parity(parity: Parity) -> dict[str, object]:
    return {
        "max_difference": parity.max_difference,
        "max_share_of_range": parity.max_share,
        "compared_batch_height_width": [list(size) for size in parity.sizes],
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
