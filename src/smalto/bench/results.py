"""The form of every benchmark's result: tables, with the command, commit, machine and versions that made them."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import smalto
from smalto.errors import UsageError
from smalto.files import replace_file

SCHEMA = 1
Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A named table.

    Args:
        name: unique in its result.
        columns: headings, units in their names.
        rows: cells; None stands for what was not measured or does not apply.
        note: what a reader must know to read the numbers.

    Example:
        >>> print(Table("sizes", ("codec", "bpp"), (("jpeg", 0.268123), ("own", None))).to_markdown(), end="")
        | codec | bpp |
        |:--|--:|
        | jpeg | 0.268 |
        | own | - |
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise UsageError(f"table {self.name}: a row has not {len(self.columns)} cells")

    def column(self, name: str) -> tuple[Cell, ...]:
        """One column's cells. Raises UsageError when there is none of that name."""
        if name not in self.columns:
            raise UsageError(f"table {self.name} has no column {name!r}; it has {', '.join(self.columns)}")
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)

    def to_csv(self) -> str:
        """Comma-separated values, numbers in full, empty where nothing was measured."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return stream.getvalue()

    def to_markdown(self, decimals: int = 3) -> str:
        """A Markdown table; floats with ``decimals`` places."""

        def shown(cell: Cell) -> str:
            if cell is None:
                return "-"
            return f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell).replace("|", "\\|")

        is_text = [any(isinstance(row[k], str) for row in self.rows) for k in range(len(self.columns))]
        lines = ["| " + " | ".join(self.columns) + " |", "|" + "|".join(":--" if t else "--:" for t in is_text) + "|"]
        lines += ["| " + " | ".join(map(shown, row)) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Machine:
    """Where a benchmark ran."""

    processor: str
    num_cores: int
    memory_gib: float
    accelerator: str
    system: str

    def __str__(self) -> str:
        extra = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.processor}, {self.num_cores} cores, {self.memory_gib:.0f} GiB{extra}, {self.system}"


@dataclass(frozen=True)
class BenchResult:
    """What one benchmark run measured.

    Args:
        suite: the benchmark's name, as on the command line.
        command: the command that repeats it.
        date: UTC, ISO 8601 to the minute.
        commit: the source's commit, ``+`` when files differed from it, or the installed version.
        machine: where it ran.
        versions: (package, version) of what took part.
        tables: the numbers.
    """

    suite: str
    command: str
    date: str
    commit: str
    machine: Machine
    versions: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of that name. Raises UsageError when there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise UsageError(f"the result of {self.suite} has no table {name!r}")

    def to_json(self) -> str:
        """The result as JSON; ``from_json`` reads it back."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BenchResult:
        """Read what ``to_json`` wrote.

        Raises:
            UsageError: not such a text.
        """
        try:
            held = json.loads(text)
            if held.pop("schema") != SCHEMA:
                raise UsageError("the result was written by another version of smalto; measure it again")
            held["machine"] = Machine(**held["machine"])
            held["versions"] = tuple((name, version) for name, version in held["versions"])
            held["tables"] = tuple(
                Table(t["name"], tuple(t["columns"]), tuple(tuple(row) for row in t["rows"]), t["note"])
                for t in held["tables"]
            )
            return cls(**held)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"not a benchmark result ({error}); pass a file written with --json") from error

    def save(self, path: str | Path) -> None:
        """Write the JSON atomically."""
        replace_file(path, self.to_json().encode())

    def heading(self) -> str:
        """Command, date, commit and machine as Markdown lines."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        return f"`{self.command}`  \n{self.date}, commit `{self.commit[:13]}`  \n{self.machine}  \n{versions}\n"


def bench_result(suite: str, command: str, tables: Sequence[Table], packages: Sequence[str]) -> BenchResult:
    """A result stamped with now, this machine and this source.

    Args:
        suite: the benchmark's name.
        command: what a reader types to repeat it.
        tables: the numbers.
        packages: names of the packages whose versions matter.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    versions = tuple((name, _version(name)) for name in packages)
    return BenchResult(suite, command, now, source_commit(), this_machine(), versions, tuple(tables))


def source_commit() -> str:
    """The commit of the source tree that runs, with ``+`` when it has changes, else ``smalto VERSION``."""
    package = Path(smalto.__file__).resolve().parent
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or (Path(top) / "src" / "smalto").resolve() != package:
        return f"smalto {smalto.__version__}"
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{commit or 'unknown'}{'+' if changes else ''}"


def this_machine() -> Machine:
    """Processor, cores usable by this process, memory and accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = 0.0
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Machine(_processor(), cores, round(memory, 1), _accelerator(), f"{platform.system()} {platform.machine()}")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: Python's own answer below
    return platform.processor() or "unknown processor"


def _accelerator() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _version(package: str) -> str:
    if package == "smalto":  # also when it runs from a source tree that is not installed
        return smalto.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
