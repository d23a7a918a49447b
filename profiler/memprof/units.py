"""Format bytes as text and parse them: the only module that knows KiB, MiB and GiB."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3

UNKNOWN = "-"
_NAMES = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1024**4}
_DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS = {name.lower(): size for name, size in (_NAMES | _DECIMAL).items()}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?B|B)?", re.IGNORECASE)


def format_bytes(value_bytes: int | None, *, signed: bool = False) -> str:
    """Return `value_bytes` in the binary unit that keeps it below 1000, e.g. ``3.13 MiB``.

    Unknown (``None``) is shown as ``-``; whole bytes have no decimals.
    """
    if value_bytes is None:
        return UNKNOWN
    sign = "-" if value_bytes < 0 else "+" if signed and value_bytes > 0 else ""
    size = abs(value_bytes)
    if size < KIB:
        return f"{sign}{size} B"
    unit, unit_bytes = unit_of(size)
    return f"{sign}{size / unit_bytes:,.2f} {unit}"


def format_share(part_bytes: int, whole_bytes: int) -> str:
    """Return a part of something in one unit and in per cent: ``14.40 of 15.56 GiB (93 %)``.

    Below one per cent, each size has its own unit, so that the part is not shown as 0.00.
    """
    share = part_bytes / whole_bytes
    if share < 0.01:
        return f"{format_bytes(part_bytes)} of {format_bytes(whole_bytes)} (< 1 %)"
    unit, unit_bytes = unit_of(whole_bytes)
    percent = round(100 * share) if share >= 1 else min(round(100 * share), 99)  # 100 % is all of it
    return f"{part_bytes / unit_bytes:,.2f} of {whole_bytes / unit_bytes:,.2f} {unit} ({percent:,} %)"


def unit_of(size_bytes: int) -> tuple[str, int]:
    """Return the binary unit that keeps `size_bytes` below 1000, and the bytes in it: ``("MiB", 1048576)``."""
    # From 999.995 on, two decimals would show 1,000.00.
    unit = next((u for u in ("KiB", "MiB", "GiB") if size_bytes < 999.995 * _NAMES[u]), "TiB")
    return unit, _NAMES[unit]


def format_percent(value: float | None, *, signed: bool = True) -> str:
    """Return a percentage with one decimal and thousands separators, or ``-`` if it is unknown."""
    if value is None:
        return UNKNOWN
    return f"{value:+,.1f} %" if signed else f"{value:,.1f} %"


def parse_bytes(text: str) -> int:
    """Return the bytes in a size such as ``16GiB``, ``16GB`` (10**9 bytes each), ``512 MiB`` or ``1048576``.

    Upper and lower case make no difference.

    Raises:
        ValueError: `text` is not a number with an optional unit from B to TiB or TB, or has more than 63 bits.
    """
    match = _SIZE.fullmatch(text.strip())
    size = float(match["number"]) * _UNITS[(match["unit"] or "B").lower()] if match else float("inf")
    if size >= 2**63:
        raise ValueError(f"{text!r:.60} is not a size; write for example 16GiB, 16GB or 1048576")
    return round(size)


def round_up(value_bytes: int, multiple_bytes: int) -> int:
    """Return the smallest multiple of `multiple_bytes` that is not below `value_bytes`."""
    return -(-value_bytes // multiple_bytes) * multiple_bytes
