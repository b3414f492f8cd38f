"""Reading OpenDRIVE's XML: attributes with checked types, units, and the list of what is unused."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roadloop.errors import RoadloopError

Element = Any  # lxml ships no types

SPEED_UNITS = {"": 1.0, "m/s": 1.0, "km/h": 1 / 3.6, "kmh": 1 / 3.6, "mph": 0.44704}
"""m/s per unit; the standard's default unit is m/s (ASAM OpenDRIVE 1.7, 2.3 "Units")"""


class Unsupported:
    """Messages about elements the reader cannot use, one per kind and road."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str], str] = {}

    def add(self, what: str, road: str, element: Element) -> None:
        """Note that ``what`` on road ``road`` ("" for none) is not used; the first one is kept."""
        owner = f"road {road}" if road else "the map"
        self._messages.setdefault((what, road), f"{what}, {owner}, line {element.sourceline}")

    def messages(self) -> tuple[str, ...]:
        """All messages in the order in which they were noted."""
        return tuple(self._messages.values())


def map_bytes(source: str | Path | bytes, format: str, suffix: str) -> tuple[bytes, str, str]:
    """Uncompressed XML of a map, how messages call its source, and its name.

    Args:
        source: a path, or the content of a file; either may be compressed by gzip.
        format: as people call it; in small letters the name of a map that has no file.
        suffix: of its files, left out of the name.
    """
    if isinstance(source, bytes):
        said = f"{format} text"
        return unpack(source, said), said, format.lower()
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RoadloopError(f"cannot read map {path}: {reason}; check the path") from error
    return unpack(content, str(path)), str(path), path.name.removesuffix(".gz").removesuffix(suffix)


def unpack(content: bytes, source: str) -> bytes:
    """The XML text in ``content``, which may be gzip-compressed."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise RoadloopError(
            f"{source}: the gzip file is damaged ({error}); fetch it again"
        ) from error


def well_formed(content: bytes, source: str) -> Element:
    """The root element of XML text; RoadloopError with its line where it is none."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    parser = etree.XMLParser(
        remove_comments=True, remove_pis=True, resolve_entities=False, no_network=True,
        huge_tree=True,
    )  # fmt: skip
    try:
        return etree.fromstring(content, parser, base_url=source)
    except etree.XMLSyntaxError as error:
        message = str(error.msg).split("\n")[0]
        raise RoadloopError(
            f"{source} line {error.lineno or 1}: not well-formed XML ({message}); "
            "the file may be truncated, fetch or export it again"
        ) from error


def parse(content: bytes, source: str) -> Element:
    """The root element ``<OpenDRIVE>``, with XML namespaces removed.

    Raises RoadloopError for text that is no XML (with its line) or no OpenDRIVE 1.x.
    """
    root = well_formed(content, source)
    if "}" in root.tag:
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    if root.tag != "OpenDRIVE":
        raise RoadloopError(
            f"{source}: the root element is <{root.tag}>, not <OpenDRIVE>; give an OpenDRIVE file"
        )
    header = root.find("header")
    major = "1" if header is None else header.get("revMajor", "1")
    if major != "1":
        raise RoadloopError(
            f"{source}: OpenDRIVE revision {major}.x is not known; export the map as 1.4 to 1.7"
        )
    return root


def complaint(element: Element, problem: str, remedy: str) -> RoadloopError:
    """The error for ``element``: file and line, the problem, what to do."""
    source = element.getroottree().docinfo.URL
    return RoadloopError(f"{source} line {element.sourceline}: {problem}; {remedy}")


def number(element: Element, name: str, default: float | None = None) -> float:
    """Attribute ``name`` as a finite float; ``default`` where it is absent or empty."""
    raw = element.get(name)
    if raw is None or raw == "":
        if default is None:
            raise complaint(element, f"<{element.tag}> has no '{name}'", "add it")
        return default
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise complaint(
            element, f"{name}={raw!r} of <{element.tag}> is no finite number", "correct it"
        )
    return value


def integer(element: Element, name: str) -> int:
    """Attribute ``name`` as an int."""
    value = number(element, name)
    if value != int(value) or abs(value) >= 2**31:
        raise complaint(element, f"{name}={value} of <{element.tag}> is no integer", "correct it")
    return int(value)


def text(element: Element, name: str) -> str:
    """Attribute ``name`` as a non-empty string."""
    value = element.get(name)
    if not value:
        raise complaint(element, f"<{element.tag}> has no '{name}'", "add it")
    return value


def numbers(element: Element, names: Sequence[str]) -> list[float]:
    """Several attributes as finite floats, in order."""
    try:
        values = [float(element.get(name)) for name in names]
    except (TypeError, ValueError):
        return [number(element, name) for name in names]
    if math.isfinite(sum(values)):
        return values
    return [number(element, name) for name in names]


def speed_factor(element: Element) -> float:
    """m/s per unit of the element's ``unit`` attribute; an unknown unit is an error."""
    unit = element.get("unit") or ""
    factor = SPEED_UNITS.get(unit)
    if factor is None:
        raise complaint(element, f"unknown speed unit {unit!r}", "use one of 'm/s', 'km/h', 'mph'")
    return factor
