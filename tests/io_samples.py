"""Small files of every format, made by the formats' own libraries."""

import struct
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from pitl.data.formats import hdf5, opensim
from pitl.data.formats.signals import Signals, Stream

TIME = np.arange(200) / 100.0
VALUES = np.stack([np.sin(TIME), np.cos(3 * TIME)], axis=1)


def mot(path: Path) -> Path:
    opensim.write(path, Stream("kinematics", ("knee_angle_r", "hip_r"), ("deg", "deg"), 40 * VALUES, TIME))
    return path


def csv(path: Path) -> Path:
    rows = "\n".join(f"{t:.4f},{a:.6f},{b:.6f}" for t, (a, b) in zip(TIME, VALUES, strict=True))
    path.write_text("time,one,two\n" + rows + "\n")
    return path


def c3d(path: Path) -> Path:
    import ezc3d

    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["LABELS"]["value"] = ("KNEE",)
    file["data"]["points"] = np.ones((3, 1, 20)) * np.arange(20)
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1000]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ("EMG1", "EMG2")
    file["parameters"]["ANALOG"]["UNITS"]["value"] = ("V", "V")
    file["data"]["analogs"] = VALUES.T[None]
    file.write(str(path))
    return path


def mat(path: Path) -> Path:
    names = np.array(["RF", "BF"], dtype=object)
    savemat(path, {"emg": VALUES, "labels": names, "fs": 100.0, "trial": {"angle": TIME}})
    return path


def mat73(path: Path) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("emg", data=VALUES.T).attrs["MATLAB_class"] = np.bytes_("double")
        file.create_dataset("time", data=TIME[None]).attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    return path


def h5(path: Path) -> Path:
    streams = (
        Stream("emg", ("RF", "BF"), ("V", "V"), VALUES, TIME, 100.0),
        Stream("angle", ("knee",), ("rad",), VALUES[::4, :1]),
    )
    hdf5.write(path, Signals(path, streams, ("made here",)))
    return path


def xdf(path: Path) -> Path:
    """Two streams with clocks of their own: the second computer's is 5 s behind, which its offsets say."""

    def chunk(tag: int, content: bytes) -> bytes:
        body = struct.pack("<H", tag) + content
        return b"\x04" + struct.pack("<I", len(body)) + body

    def header(name: str, labels: tuple[str, ...], rate: int) -> bytes:
        channels = "".join(f"<channel><label>{n}</label><unit>microvolts</unit></channel>" for n in labels)
        return (
            f"<info><name>{name}</name><type>EMG</type><channel_count>{len(labels)}</channel_count><nominal_srate>{rate}"
            f"</nominal_srate><channel_format>double64</channel_format><desc><channels>{channels}</channels></desc></info>"
        ).encode()

    def samples(stream: int, times: np.ndarray, values: np.ndarray) -> bytes:
        rows = b"".join(
            b"\x08" + struct.pack("<d", t) + struct.pack(f"<{values.shape[1]}d", *v)
            for t, v in zip(times, values, strict=True)
        )
        return chunk(3, struct.pack("<I", stream) + b"\x04" + struct.pack("<I", len(values)) + rows)

    parts = [b"XDF:", chunk(1, b"<info><version>1.0</version></info>")]
    for stream, (name, labels, rate, late) in enumerate(
        (("emg", ("RF", "BF"), 100, 0.0), ("gonio", ("knee",), 50, 5.0)), 1
    ):
        number = struct.pack("<I", stream)
        step = 100 // rate
        times, values = 1000.0 + TIME[::step] - late, VALUES[::step, : len(labels)]
        parts.append(chunk(2, number + header(name, labels, rate)))
        parts += [chunk(4, number + struct.pack("<dd", t, late)) for t in (times[0], times[-1])]
        parts.append(samples(stream, times, values))
        footer = f"<info><first_timestamp>{times[0]}</first_timestamp><sample_count>{len(times)}</sample_count></info>"
        parts.append(chunk(6, number + footer.encode()))
    path.write_bytes(b"".join(parts))
    return path


MAKERS = {"a.mot": mot, "a.csv": csv, "a.c3d": c3d, "a.mat": mat, "b.mat": mat73, "a.h5": h5, "a.xdf": xdf}
