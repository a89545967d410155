"""What ``info`` says of a set of features, in plain values and in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalto.bits.array_set_reader import ArraySetReader

_LISTED = 20


def describe_set(reader: ArraySetReader, name: str) -> dict[str, Any]:
    """A set as plain values for JSON; the first twenty arrays by name."""
    from smalto.bits.dtypes import DTYPE_BYTES

    num_values, raw_bytes = 0, 0
    for entry in reader.entries:
        num_values += entry.num_values
        raw_bytes += entry.num_values * DTYPE_BYTES[entry.dtype]
    return {
        "file": name,
        "kind": "array set",
        "bytes": reader.file_bytes,
        "num_arrays": reader.num_entries,
        "num_values": num_values,
        "bits_per_value": 8 * reader.file_bytes / max(num_values, 1),
        "share_percent": 100 * reader.file_bytes / max(raw_bytes, 1),
        "codec": reader.codec,
        "quality": reader.quality,
        "profile": reader.profile_digest.hex(),
        "profile_inside": reader.profile is not None,
        "metadata": {key: value.hex() if isinstance(value, bytes) else value for key, value in reader.metadata.items()},
        "arrays": [
            {"number": entry.number, "name": entry.name, "dtype": entry.dtype, "shape": list(entry.shape)}
            for entry in reader.entries[:_LISTED]
        ],
    }


def set_lines(record: dict[str, Any]) -> list[str]:
    """The same in lines."""
    inside = "inside" if record["profile_inside"] else "not inside: it is looked for beside the file and in your folder"
    lines = [
        record["file"],
        f"  array set {record['num_arrays']} arrays, {record['num_values']:,} values",
        f"  size      {record['bytes']:,} bytes, {record['bits_per_value']:.4f} bits a value (whole file), "
        f"{record['share_percent']:.2f} % of the values' own size",
        f"  profile   {record['profile']}  {inside}",
    ]
    for array in record["arrays"]:
        sides = " x ".join(str(side) for side in array["shape"]) or "one value"
        lines.append(f"  array     {array['name'] or array['number']}  {array['dtype']}  {sides}")
    if record["num_arrays"] > len(record["arrays"]):
        lines.append(f"  array     ... and {record['num_arrays'] - len(record['arrays'])} more")
    return lines
