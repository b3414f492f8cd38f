"""Protocol Buffers messages decoded by a table of their fields; no generated code, no dependency.

A message's table says which field numbers to read and how; others are stepped over. Repeated
submessages of numbers only (points, states) may be read into columns: where their bytes have one
layout, as they nearly always have, all of them are read at once.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""wire types; 3 and 4 (groups) are not used by any data set here, 6 and 7 do not exist"""

_TYPES: dict[str, tuple[int, Any]] = {
    "double": (FIXED64, np.float64),
    "float": (FIXED32, np.float32),
    "int32": (VARINT, np.int32),
    "int64": (VARINT, np.int64),
    "bool": (VARINT, np.bool_),
    "string": (BYTES, None),
    "bytes": (BYTES, None),
}
_STRUCTS = {"double": struct.Struct("<d"), "float": struct.Struct("<f")}
_WIDTH = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """Bytes that are no message of the kind they should be; ``decode`` says which file."""


@dataclass(frozen=True)
class Field:
    """How to read one field."""

    name: str
    type: str | Message
    """double, float, int32, int64, bool, string, bytes, or a message (an enum is an int32)"""
    many: bool = False
    """repeated; packed or not is told by the bytes"""


@dataclass(frozen=True)
class Message:
    """A message's fields by number."""

    name: str
    fields: dict[int, Field] = field(default_factory=dict)
    columns: bool = False
    """a repeated field of this message is read into arrays, one per field"""


def decode(message: Message, data: bytes, where: object) -> dict[str, Any]:
    """The fields of one message by name.

    A number is a Python number, repeated ones are an array, a submessage is a dict, repeated ones
    a list of dicts or, for a ``columns`` message, a dict of arrays (0 where a field is not set).
    Fields that are not there are left out; repeated ones are empty.

    Args:
        where: names the data in errors, e.g. a file and a record.

    Raises:
        RoadloopError: data that is cut off, or not of this message.
    """
    try:
        return _decoded(message, memoryview(data))
    except WireError as error:
        raise RoadloopError(
            f"{where} is damaged or no {message.name}: {error}; download it again"
        ) from None


def walk(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type and value of each field as they come.

    The value is an int for a varint (unsigned, 64 bits), else the bytes. Raises WireError.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0")
        if wire == VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = _varint(data, at, end)
            if length > 0x7FFFFFFF:
                raise WireError(f"field {number} has a negative length")
        elif wire in _WIDTH:
            length = _WIDTH[wire]
        else:
            raise WireError(f"field {number} has wire type {wire}")
        if at + length > end:
            raise WireError(f"field {number} is cut off: {length} bytes, {end - at} are left")
        yield number, wire, data[at : at + length]
        at += length


def _decoded(message: Message, data: memoryview) -> dict[str, Any]:
    fields = message.fields
    found: dict[str, Any] = {}
    repeated: dict[int, list[Any]] = {n: [] for n, f in fields.items() if f.many}
    for number, wire, value in walk(data):
        spec = fields.get(number)
        if spec is None:
            continue
        if spec.many:
            repeated[number].append((wire, value))
        elif isinstance(spec.type, Message):
            part = _decoded(spec.type, _bytes(message, spec, wire, value))
            # a submessage that comes in parts is the sum of them
            found[spec.name] = found.get(spec.name, {}) | part
        else:
            found[spec.name] = _scalar(message, spec, wire, value)
    for number, values in repeated.items():
        spec = fields[number]
        found[spec.name] = _many(message, spec, values)
    return found


def _many(message: Message, spec: Field, values: list[tuple[int, Any]]) -> Any:
    """A repeated field."""
    if isinstance(spec.type, Message):
        parts = [_bytes(message, spec, wire, value) for wire, value in values]
        if spec.type.columns:
            return _columns(spec.type, parts)
        return [_decoded(spec.type, part) for part in parts]
    dtype = _TYPES[spec.type][1]
    if dtype is None:
        return [_scalar(message, spec, wire, value) for wire, value in values]
    pieces: list[Array] = []
    for wire, value in values:
        if wire == BYTES:  # packed
            pieces.append(_packed(message, spec, value))
        else:
            pieces.append(np.array([_scalar(message, spec, wire, value)], dtype))
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype)


def _packed(message: Message, spec: Field, data: memoryview) -> Array:
    """Numbers of one packed field."""
    wire_type, dtype = _TYPES[str(spec.type)]
    if wire_type == VARINT:
        return _varints(message, spec, data).astype(dtype)
    if len(data) % _WIDTH[wire_type]:
        raise WireError(f"{message.name}.{spec.name} has {len(data)} bytes of packed {spec.type}")
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _varints(message: Message, spec: Field, data: memoryview) -> Array:
    """(n,) int64 of packed varints, all at once."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        raise WireError(f"{message.name}.{spec.name} ends within a number")
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if lengths.max(initial=0) > 10:
        raise WireError(f"{message.name}.{spec.name} has a number of more than 10 bytes")
    place = (np.arange(len(raw)) - np.repeat(starts, lengths)).astype(np.uint64)
    bits = (raw & 0x7F).astype(np.uint64) << (np.uint64(7) * place)
    return np.add.reduceat(bits, starts).view(np.int64) if len(starts) else np.zeros(0, np.int64)


def _columns(message: Message, parts: list[memoryview]) -> dict[str, Array]:
    """Messages of numbers, as one array per field."""
    table = {
        spec.name: np.zeros(len(parts), _TYPES[spec.type][1])  # type: ignore[index]
        for spec in message.fields.values()
    }
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, part in enumerate(parts):
        by_length[len(part)].append(row)
    for length, rows in by_length.items():
        alike = rows
        if length and len(rows) > 4:
            raw = np.frombuffer(b"".join(parts[row] for row in rows), np.uint8)
            same = _read_alike(message, parts[rows[0]], raw.reshape(-1, length), rows, table)
            alike = [row for row, done in zip(rows, same, strict=True) if not done]
        for row in alike:
            for name, value in _decoded(message, parts[row]).items():
                table[name][row] = value
    return table


def _read_alike(
    message: Message, first: memoryview, raw: Array, rows: list[int], table: dict[str, Array]
) -> Array:
    """Read the rows of (n, length) bytes whose layout is that of the first; which those are.

    A layout is the place of every tag; numbers of one byte (bool) and of fixed width have one.
    """
    tags = np.zeros(len(first), bool)
    places: list[tuple[Field, int, int]] = []
    at = 0
    for number, wire, value in walk(first):
        spec = message.fields.get(number)
        width = _WIDTH.get(wire, 1)
        if number > 15 or wire == BYTES or (wire == VARINT and value > 0x7F):
            return np.zeros(len(raw), bool)  # a longer tag or value: its place may vary
        tags[at] = True
        if spec is not None:
            _check_wire(message, spec, wire)
            places.append((spec, at + 1, width))
        at += 1 + width
    same = (raw[:, tags] == raw[0, tags]).all(1)
    for _, start, width in places:
        if width == 1:
            same &= raw[:, start] < 0x80
    picked, into = raw[same], np.asarray(rows)[same]
    for spec, start, width in places:
        dtype = _TYPES[str(spec.type)][1]
        stored = np.uint8 if width == 1 else np.dtype(dtype).newbyteorder("<")
        cell = np.ascontiguousarray(picked[:, start : start + width]).view(stored)[:, 0]
        table[spec.name][into] = cell
    return same


def _scalar(message: Message, spec: Field, wire: int, value: Any) -> Any:
    """One number, text or byte string."""
    kind = spec.type
    _check_wire(message, spec, wire)
    if kind in _STRUCTS:
        return _STRUCTS[str(kind)].unpack(value)[0]
    if kind == "bool":
        return value != 0
    if kind == "bytes":
        return bytes(value)
    if kind == "string":
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise WireError(f"{message.name}.{spec.name} is no text") from None
    bits = 32 if kind == "int32" else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _bytes(message: Message, spec: Field, wire: int, value: Any) -> memoryview:
    if wire != BYTES:
        raise WireError(f"{message.name}.{spec.name} has wire type {wire}, not {BYTES}")
    return value


def _check_wire(message: Message, spec: Field, wire: int) -> None:
    expected = _TYPES[str(spec.type)][0]
    if wire != expected:
        raise WireError(f"{message.name}.{spec.name} has wire type {wire}, not {expected}")


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """The number that begins at ``at``, unsigned with 64 bits, and where the next field begins."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    result = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift >= 70:
            raise WireError("a number of more than 10 bytes")
    raise WireError("it ends within a number")
