"""C3D files written byte by byte: every processor, integers and reals, and parameters as odd as programs write them."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class C3D(NamedTuple):
    """What goes into a file; `parameters` maps "GROUP:NAME" to texts, or to an array of int16 or float32."""

    points: np.ndarray  # (frames, points, 4), as stored
    analogs: np.ndarray  # (frames * per_frame, channels), as stored
    parameters: dict[str, Any]
    per_frame: int = 10
    rate: float = 100.0
    scale: float = -1.0  # below zero: reals
    processor: int = 84
    first: int = 1
    header: bool = True  # whether the header says how many samples a frame has


def write(path: Path, c: C3D) -> Path:
    order = ">" if c.processor == 86 else "<"
    section = bytearray(bytes([1, 0x50, 8, c.processor]))
    groups = list(dict.fromkeys(k.split(":")[0] for k in c.parameters))
    for k, group in enumerate(groups, 1):
        section += struct.pack("bb", len(group), -k) + group.encode() + struct.pack(f"{order}h", 3) + b"\0"
    for key, value in c.parameters.items():
        group, name = key.split(":")
        body = _value(value, c.processor)
        head = struct.pack("bb", len(name), groups.index(group) + 1) + name.encode()
        section += head + struct.pack(f"{order}h", len(body) + 3) + body + b"\0"
    section += bytes(8 * 512 - len(section))
    frames, points = c.points.shape[:2]
    analogs = c.analogs.reshape(frames, -1)
    start = struct.pack(
        f"{order}BB5H", 2, 0x50, points, analogs.shape[1], c.first, c.first + frames - 1, 0
    )  # fmt: skip
    start += _real(np.array([c.scale]), c.processor)
    start += struct.pack(f"{order}2H", 10, c.per_frame if c.header else 0) + _real(np.array([c.rate]), c.processor)
    table = np.concatenate([c.points.reshape(frames, -1), analogs], axis=1)
    data = _real(table, c.processor) if c.scale < 0 else _short(table, order)
    data += bytes(-len(data) % 512)
    path.write_bytes(start.ljust(512, b"\0") + bytes(section) + data)
    return path


def _value(value: Any, processor: int) -> bytes:
    if isinstance(value, list):
        texts = [v if isinstance(v, bytes) else v.encode() for v in value]
        length = max(map(len, texts), default=0)
        return struct.pack("bBBB", -1, 2, length, len(texts)) + b"".join(t.ljust(length) for t in texts)
    value = np.asarray(value)
    real = value.dtype.kind == "f"
    flat = value.ravel(order="F")
    data = _real(flat, processor) if real else _short(flat, ">" if processor == 86 else "<")
    return struct.pack("bB", 4 if real else 2, value.ndim) + bytes(value.shape) + data


def _short(values: np.ndarray, order: str) -> bytes:
    return (np.asarray(values).astype(np.int64) & 0xFFFF).astype(f"{order}u2").tobytes()


def _real(values: np.ndarray, processor: int) -> bytes:
    if processor != 85:
        return np.asarray(values, ">f4" if processor == 86 else "<f4").tobytes()
    bits = (np.asarray(values, np.float32) * np.float32(4)).view(np.uint32)
    return np.stack([bits >> 16, bits & 0xFFFF], axis=-1).astype("<u2").tobytes()
