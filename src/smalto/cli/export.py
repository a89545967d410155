"""``smalto export SYSTEM``: its networks as files for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import sample_photographs
from smalto.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter

_FORMATS = ("onnx",)


def export(
    context: typer.Context,
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="Installed system; see `smalto systems`.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.")],
    form: Annotated[str, typer.Option("--format", metavar="onnx", help="Kind of file.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write each network in int8, where it is worth it.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Photographs that int8 takes its ranges from; samples otherwise."),
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="One network only, as decoder; may be repeated.")
    ] = None,
) -> None:
    """Write a system's networks for devices.

    The folder gets a file a network, each compared with torch in ONNX Runtime, a manifest and a README.
    """
    if form not in _FORMATS:
        raise UsageError(f"--format {form}: there is no such format; use {', '.join(_FORMATS)}")
    if calibration is not None and not int8:
        raise UsageError("--calibration: only int8 is calibrated; add --int8")
    if calibration is not None and not Path(calibration).is_dir():
        raise UsageError(f"--calibration {calibration}: no such folder; name one with photographs")
    from smalto.weights import system_record

    record = system_record(system)
    reporter: Reporter = context.obj

    from smalto import load
    from smalto.export.calibration import calibrations, picture_pieces
    from smalto.export.device_networks import chosen_networks, system_networks
    from smalto.export.onnx_folder import SystemFacts, check_folder, exported, write_export
    from smalto.export.onnx_network import require_packages

    require_packages()
    check_folder(Path(output))
    loaded = load(system)
    held = system_networks(loaded)
    networks = chosen_networks(held, part, record.name)
    inputs = None
    if int8:
        encoder = next((network for network in held if network.name == "encoder"), None)
        inputs = calibrations(networks, encoder, picture_pieces(_photographs(calibration)))
    facts = SystemFacts(record.name, record.space, record.decoder_digest, record.licence, record.data)
    write_export(exported(networks, facts, inputs, reporter.line), Path(output))
    reporter.line(f"{record.name}: {output}")


def _photographs(folder: str | None) -> list[Path]:
    """What int8 is calibrated on."""
    if folder is not None:
        from smalto.data.photographs import picture_files

        return list(picture_files(Path(folder)))
    try:
        return sample_photographs()
    except MissingExtra as error:
        raise MissingExtra(
            "--int8 needs photographs; name a folder with --calibration DIR, or pip install 'smalto[demo]' for samples"
        ) from error
