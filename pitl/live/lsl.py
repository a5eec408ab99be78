"""Samples through the Lab Streaming Layer, and answers back into it."""

import contextlib
import time
from typing import Any

import numpy as np

from pitl.errors import PitlError
from pitl.learn.model import pick_columns
from pitl.live import timeline
from pitl.live.block import LivePrediction, SampleBlock
from pitl.live.source import VOLTS, Layout, Vanished, Wanted, lacks, pick_channels

# How LSL programs write the unit of a channel (the XDF specification says "microvolts").
_UNITS = {"volts": 1.0, "millivolts": 1e-3, "microvolts": 1e-6, **VOLTS, "µV": 1e-6, "v": 1.0, "mv": 1e-3, "uv": 1e-6}
_ANGLES = {"degrees": np.pi / 180, "deg": np.pi / 180, "radians": 1.0, "rad": 1.0}
_CHUNK = 4096  # samples


def library() -> Any:
    """pylsl.

    Raises:
        PitlError: it is not installed, or liblsl does not load.
    """
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as e:
        raise PitlError(f"the Lab Streaming Layer is not available ({e}); pip install 'pitl[live]'.") from e
    return pylsl


class Lsl:
    """See `Source`."""

    def __init__(self, name: str, wanted: Wanted) -> None:
        lsl = self._lsl = library()
        self._where = f"the LSL stream '{name}'"
        result = lsl.resolve_byprop("name", name, timeout=wanted.wait_s)
        if not result:
            others = sorted({i.name() for i in lsl.resolve_streams(1.0)})
            there = f"streams here: {', '.join(others)}" if others else "no stream is there at all"
            raise PitlError(f"there is no LSL stream '{name}' ({there}); start it, or name another.")
        result = lsl.resolve_byprop("name", name, minimum=2, timeout=1.0) or result  # a namesake may answer later
        if len(result) > 1:
            raise PitlError(f"{len(result)} LSL streams are called '{name}'; stop all but one, or rename them.")
        # own reconnection: liblsl's would wait silently for a stream that may never come back; and raw time stamps:
        # its smoothing hides what is missing
        self._inlet = lsl.StreamInlet(result[0], max_buflen=60, recover=False, processing_flags=0)
        self._line: timeline.Timeline | None = None
        self._waiting: list[SampleBlock] = []
        try:
            self._describe(self._inlet.info(wanted.wait_s), wanted)
            self._inlet.open_stream(wanted.wait_s)
            self._shift_s = self._inlet.time_correction(wanted.wait_s)  # s, to the clock of this machine
        except (lsl.util.LostError, lsl.util.TimeoutError) as e:
            self.close()
            raise PitlError(f"{self._where} was announced but does not answer; is its program alive?") from e
        except PitlError:
            self.close()
            raise

    def _describe(self, info: Any, wanted: Wanted) -> None:
        rate = info.nominal_srate()
        if not rate > 0:
            raise PitlError(f"{self._where} has no sampling rate (irregular); EMG needs a regular one.")
        labels, units = _labels(info)
        named = any(labels)
        at = {dof: labels.index(dof) for dof in wanted.dofs if dof in labels}
        if named:
            emg = [k for k in range(len(labels)) if k not in at.values()]
            picked = pick_channels(self._where, [labels[k] for k in emg], wanted)
        else:
            emg = list(range(info.channel_count()))
            picked = pick_channels(self._where, ["?"] * len(emg), wanted, unnamed=True)
        self._emg = np.where(picked < 0, -1, np.array(emg)[picked])
        self._volts = np.array([1.0 if k < 0 else self._unit(units[k], wanted) for k in self._emg])
        whole = len(at) == len(wanted.dofs) > 0
        self._angle = np.array([at[d] for d in wanted.dofs]) if whole else None
        self._radians = [_ANGLES.get(units[at[d]], 1.0) for d in wanted.dofs] if whole else [1.0]
        self.layout = Layout(wanted.channels, rate, wanted.dofs if whole else (), missing=lacks(picked, wanted))
        self._rate, self._heard = timeline.RateCheck(rate), time.monotonic()

    def _unit(self, result: str, wanted: Wanted) -> float:
        if wanted.unit is not None:
            return VOLTS[wanted.unit]
        if result and result not in _UNITS:
            raise PitlError(f"{self._where} gives its EMG in '{result}'; say --unit {', '.join(VOLTS)}.")
        return _UNITS[result or "V"]

    def read(self, wait_s: float) -> SampleBlock | None:
        if self._waiting:
            return self._waiting.pop(0)
        lsl = self._lsl
        try:
            values, stamps = self._inlet.pull_chunk(timeout=0.0, max_samples=_CHUNK)
            if not stamps and wait_s > 0:  # wait for one, then take whatever came with it
                one, stamp = self._inlet.pull_sample(timeout=wait_s)
                if stamp is not None:
                    values, stamps = self._inlet.pull_chunk(timeout=0.0, max_samples=_CHUNK)
                    values, stamps = [one, *values], [stamp, *stamps]
        except lsl.util.LostError as e:
            raise Vanished(f"{self._where} has vanished.") from e
        if stamps:
            self._place(np.asarray(values, float), np.asarray(stamps))
            return self._waiting.pop(0)
        return SampleBlock(np.zeros((0, len(self._emg))), np.zeros(0))

    def _place(self, table: np.ndarray, stamps: np.ndarray) -> None:
        """Puts samples on the timeline, in blocks without a hole."""
        lsl, now = self._lsl, time.monotonic()
        quiet_s, self._heard = now - self._heard, now
        self._rate.see(stamps)
        with contextlib.suppress(lsl.util.TimeoutError, lsl.util.LostError):  # known once, it is kept up in passing
            self._shift_s = self._inlet.time_correction(0.01)
        line = timeline.begin(float(stamps[0]), self.layout.rate_hz) if self._line is None else self._line
        self._line, pieces, event = timeline.place(line, stamps, quiet_s)
        angle = None if self._angle is None else table[:, self._angle] * self._radians
        emg = pick_columns(table, self._emg) * self._volts
        for k, (begin, end, first, time_s) in enumerate(pieces):
            turned = None if angle is None else angle[begin:end]
            self._waiting.append(
                SampleBlock(emg[begin:end], time_s + self._shift_s, first, turned, event=event if k == 0 else None)
            )

    def close(self) -> None:
        self._inlet.close_stream()


def open_lsl(name: str, wanted: Wanted) -> Lsl:
    """Opens a stream by its name.

    Raises:
        PitlError: there is none, or it does not send what the model takes.
    """
    return Lsl(name, wanted)


def _labels(info: Any) -> tuple[list[str], list[str]]:
    """Labels and units of the channels, "" where none is given."""
    labels, units = [], []
    channel = info.desc().child("channels").child("channel")
    for _ in range(info.channel_count()):
        labels.append(channel.child_value("label"))
        units.append(channel.child_value("unit"))
        channel = channel.next_sibling("channel")
    return labels, units


# A source whose stamps are further than that from LSL's clock has a clock of its own.
_SAME_CLOCK_S = 3600.0


class LslSink:
    """See `Sink`: one LSL channel for the flag, one an angle [rad], one a force [N].

    Stamps are on LSL's clock. Those of a source with another clock are shifted so that its first answer is now.
    """

    def __init__(self, name: str, dofs: tuple[str, ...], muscles: tuple[str, ...], rate_hz: float) -> None:
        lsl = library()
        self._clock, self._shift = lsl.local_clock, None
        labels = ["flag", *(f"angle_{d}" for d in dofs), *(f"force_{m}" for m in muscles)]
        units = ["", *("rad" for _ in dofs), *("N" for _ in muscles)]
        info = lsl.StreamInfo(name, "Kinetics", len(labels), rate_hz, "float32", f"pitl-{name}-{time.time_ns()}")
        channels = info.desc().append_child("channels")
        for label, unit in zip(labels, units, strict=True):
            channels.append_child("channel").append_child_value("label", label).append_child_value("unit", unit)
        self._outlet = lsl.StreamOutlet(info)

    def write(self, rows: LivePrediction) -> None:
        if self._shift is None and len(rows.time_s):
            apart = self._clock() - float(rows.time_s[-1])  # s
            self._shift = apart if abs(apart) > _SAME_CLOCK_S else 0.0
        table = np.concatenate([rows.flag[:, None].astype(np.float32), rows.angle, rows.force], axis=1)
        for row, stamp in zip(table.astype(np.float32), rows.time_s, strict=True):
            self._outlet.push_sample(row.tolist(), float(stamp) + (self._shift or 0.0))

    def close(self) -> None:
        del self._outlet
