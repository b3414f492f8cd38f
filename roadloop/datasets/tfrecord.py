"""TFRecord files: a sequence of byte strings, each framed by its length and two checksums.

A record is ``length (uint64) | masked CRC-32C of length | data | masked CRC-32C of data``, all
little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details").
No TensorFlow is needed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed; RFC 3720, appendix B.4
_MASK = 0xA282EAD8  # added to the rotated checksum, so that checksums of checksums are sound
_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_WORDS = 64  # of 4 bytes per lane of the parallel checksum


@dataclass(frozen=True)
class Record:
    """Where one record lies."""

    path: Path
    number: int
    """from 0"""
    offset: int
    """of its data in the file"""
    length: int
    """bytes of data"""
    fault: str = ""
    """why it cannot be read; empty: nothing is known against it"""

    def __str__(self) -> str:
        return f"{self.path} record {self.number}"

    @classmethod
    def first(cls, path: Path) -> Record:
        """Where the first record of a TFRecord file lies, whole or not."""
        with _opened(path) as file:
            head = file.read(_HEAD.size)
        length = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        return cls(path, 0, _HEAD.size, length)

    def read(self) -> bytes:
        """Its data; RoadloopError where the checksum does not hold or the file has changed."""
        if self.fault:
            raise RoadloopError(self.fault)
        with _opened(self.path) as file:
            file.seek(self.offset)
            data = file.read(self.length + _CHECKSUM.size)
        if len(data) < self.length + _CHECKSUM.size:
            raise RoadloopError(f"{self} is truncated; download the file again")
        (said,) = _CHECKSUM.unpack_from(data, self.length)
        data = data[: self.length]
        if masked_crc32c(data) != said:
            raise RoadloopError(f"{self} is damaged (its CRC is wrong); download the file again")
        return data


def records(path: Path, *, with_damaged: bool = False) -> list[Record]:
    """Where the records of a file lie; their data is not read.

    Args:
        with_damaged: give the record at which the file breaks off as the last one, which raises
            when it is read; else its fault is raised here.

    Raises:
        RoadloopError: a file that cannot be read, a record whose length has a wrong checksum (then
            it is no TFRecord at all, where it is the first), or which the file cuts off.
    """
    found: list[Record] = []
    with _opened(path) as file:
        size, offset = file.seek(0, 2), 0
        while offset < size:
            where = f"{path} record {len(found)}"
            file.seek(offset)
            head = file.read(_HEAD.size)
            length, said = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            end = offset + _HEAD.size + length + _CHECKSUM.size
            fault = ""
            if len(head) < _HEAD.size:
                fault = f"{where} is truncated; download the file again"
            elif masked_crc32c(head[:8]) != said:
                hint = "download the file again" if found else "is it a TFRecord file?"
                fault, length = f"{where} has a length with a wrong CRC; {hint}", 0
            elif end > size:
                fault = (
                    f"{where} is truncated: {length} bytes of data, of which the file has "
                    f"{max(size - offset - _HEAD.size, 0)}; download it again"
                )
            if fault and not with_damaged:
                raise RoadloopError(fault)
            found.append(Record(path, len(found), offset + _HEAD.size, length, fault))
            if fault:
                break
            offset = end
    return found


def is_tfrecord(path: Path) -> bool:
    """Whether a file begins with a record's length and the right checksum of it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
    except OSError:
        return False
    return len(head) == _HEAD.size and masked_crc32c(head[:8]) == _HEAD.unpack(head)[1]


def framed(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            _CHECKSUM.pack(masked_crc32c(length)),
            data,
            _CHECKSUM.pack(masked_crc32c(data)),
        )
    )


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``.

    The checksum is linear over GF(2): lanes of 256 bytes are summed side by side, then joined in
    pairs, ``crc(a b) = crc(a) moved past len(b) zeros + crc(b)`` (M. Adler, zlib's crc32_combine).
    """
    if len(data) < 1024:
        table, crc = _byte_table(), 0xFFFFFFFF
        for byte in data:
            crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
        return crc ^ 0xFFFFFFFF
    low, high = _word_tables()
    lane = 4 * _WORDS
    padded = np.zeros(-len(data) % lane + len(data), np.uint8)  # zeros in front change nothing ...
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[-len(data) :][:4] ^= 0xFF  # ... as the start value goes into the first four bytes
    words = np.ascontiguousarray(padded.view("<u4").reshape(-1, _WORDS).T)
    crc = np.zeros(words.shape[1], np.uint32)
    for row in words:
        crc ^= row
        crc = low[crc & 0xFFFF] ^ high[crc >> 16]
    move = _moved_past_a_lane()
    while len(crc) > 1:
        crc = np.concatenate([np.zeros(len(crc) % 2, np.uint32), crc])
        crc = _apply(move, crc[0::2]) ^ crc[1::2]
        move = _apply(move, move)
    return int(crc[0]) ^ 0xFFFFFFFF


def _apply(columns: Array, values: Array) -> Array:
    """The linear map over GF(2) with ``columns`` (32,) uint32, of each of ``values``."""
    result = np.zeros_like(values)
    for bit, column in enumerate(columns):
        result ^= column * (values >> np.uint32(bit) & np.uint32(1))
    return result


@cache
def _byte_table() -> list[int]:
    """The register after each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table.tolist()


@cache
def _word_tables() -> tuple[Array, Array]:
    """The register after 4 bytes, of its lower and its upper 16 bits."""
    table = np.array(_byte_table(), np.uint32)
    half = np.arange(1 << 16, dtype=np.uint32)

    def four_bytes(register: Array) -> Array:
        for _ in range(4):
            register = table[register & 0xFF] ^ register >> 8
        return register

    return four_bytes(half), four_bytes(half << 16)


@cache
def _moved_past_a_lane() -> Array:
    """(32,) columns of the map that moves a register past a lane of zeros."""
    low, high = _word_tables()
    unit = np.uint32(1) << np.arange(32, dtype=np.uint32)
    columns = low[unit & 0xFFFF] ^ high[unit >> 16]
    for _ in range(_WORDS.bit_length() - 1):
        columns = _apply(columns, columns)
    return columns


def _opened(path: Path):
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out") from None
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error
