"""Where answers go: `csv`, `lsl`, `udp` or `none`, each with a place of its own after a colon."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Protocol

import numpy as np

from pitl.errors import PitlError
from pitl.files import writing
from pitl.live.block import FLAGS, LivePrediction
from pitl.live.source import port_number
from pitl.mechanics.model import MusculoskeletalModel


class Sink(Protocol):
    """Something that takes answers."""

    def write(self, rows: LivePrediction) -> None: ...
    def close(self) -> None: ...


def open_sink(spec: str, model: MusculoskeletalModel, rate_hz: float) -> Sink:
    """Opens `none`, `csv[:FILE]`, `udp:[HOST:]PORT` or `lsl[:NAME]`.

    Args:
        model: whose coordinates and muscles are named in the output.
        rate_hz: answers per second.

    Raises:
        PitlError: there is no such sink, or it cannot be opened.
    """
    kind, _, place = spec.partition(":")
    if kind == "none" and not place:
        return _None()
    if kind == "csv":
        return _Csv(Path(place or "live.csv").expanduser(), model)
    if kind == "udp" and place:
        host, _, port = place.rpartition(":")
        return _Udp(host or "127.0.0.1", port_number(port))
    if kind == "lsl":
        from pitl.live.lsl import LslSink

        return LslSink(place or "pitl", model.dofs, model.muscles, rate_hz)
    raise PitlError(f"there is no sink '{spec}'; write none, csv:FILE, udp:PORT, udp:HOST:PORT or lsl:NAME.")


class _None:
    def write(self, rows: LivePrediction) -> None:
        pass

    def close(self) -> None:
        pass


class _Csv:
    """A table that grows under a temporary name and takes its own when the stream ends."""

    def __init__(self, path: Path, model: MusculoskeletalModel) -> None:
        self._path, self._growing = path, path.with_name(path.name + ".part")
        self._header = [
            "time_s", "flag", *(f"angle_{d}_rad" for d in model.dofs), *(f"force_{m}_N" for m in model.muscles)
        ]  # fmt: skip
        self._half = [f"force_{m}_half_N" for m in model.muscles]  # half an interval of 90 %
        self._with_half: bool | None = None  # until the first answer says whether it is known
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._growing.open("w", encoding="utf-8")

    def write(self, rows: LivePrediction) -> None:
        if not len(rows.time_s):
            return
        lines = [] if self._with_half is not None else [self._begin(rows.force_half)]
        table = np.hstack([rows.angle, rows.force, *([rows.force_half] if self._with_half else [])])
        for time_s, flag, values in zip(rows.time_s, rows.flag, table, strict=True):
            lines.append(f"{time_s:.4f},{FLAGS[flag]}," + ",".join(f"{v:.7g}" for v in values) + "\n")
        with writing(self._path):
            self._file.writelines(lines)

    def _begin(self, half: np.ndarray) -> str:
        self._with_half = len(half) > 0 and bool(np.isfinite(half).all())
        return ",".join([*self._header, *(self._half if self._with_half else [])]) + "\n"

    def close(self) -> None:
        with writing(self._path):
            if self._with_half is None:
                self._file.write(self._begin(np.zeros((0, 0))))
            self._file.close()
            self._growing.replace(self._path)


class _Udp:
    """One JSON object a packet and answer."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._to = (socket.gethostbyname(host), port)
        except OSError as e:
            self._socket.close()
            raise PitlError(f"cannot send to {host}:{port}: {e.strerror or e}; check the host's name.") from e

    def write(self, rows: LivePrediction) -> None:
        columns = (rows.time_s, rows.angle, rows.force, rows.flag, rows.force_half)
        for time_s, angle, force, flag, half in zip(*columns, strict=True):
            message = {
                "time_s": round(float(time_s), 6),
                "flag": FLAGS[flag],
                "angle_rad": [float(f"{a:.7g}") for a in angle],
                "force_n": [float(f"{f:.7g}") for f in force],
            }
            if np.isfinite(half).all():
                message["force_half_n"] = [float(f"{h:.7g}") for h in half]  # half an interval of 90 %
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens, now
                self._socket.sendto(json.dumps(message).encode(), self._to)

    def close(self) -> None:
        self._socket.close()
