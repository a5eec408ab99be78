"""Containers for what a laboratory records; the only shape in which data enters the project."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from pitl.errors import PitlError


class Load(NamedTuple):
    """A known weight that is fixed to a body during a trial, such as a dumbbell in the hand."""

    mass_kg: float
    place_m: tuple[float, float, float]  # of its centre, in the body's coordinates
    body: str  # name of a moving body of the musculoskeletal model


@dataclass(frozen=True)
class Recording:
    """One trial: EMG and, on the same clock, joint angles and whatever else is known.

    Attributes:
        subject: name of the person.
        task: what they did, such as `"sen"` (seated leg extension).
        trial: name of this trial, unique within the subject.
        posture: name of a posture of the musculoskeletal model, such as `"seated"`.
        rate_hz: samples per second of every array here.
        emg: (T, C) EMG as `emg_kind` says, in `emg_unit`.
        channels: C names of the muscles under the electrodes.
        angle: (T, D) joint angles, flexion positive [rad]; None if not measured.
        dofs: D names of the coordinates.
        force: (T, M) musculotendon forces [N]; None if there are no labels.
        muscles: M names, in the order of the musculoskeletal model.
        force_source: what the forces are: `"truth"`, `"static_optimisation"`, or a file.
        torque: (T, D) net muscle torque, true or measured [N m], NaN of coordinates for which it is not known; None
            if it is of none.
        valid: (T,) False where the samples are unusable (dropout, gap); None means all are good.
        load: known weight that was carried; None is nothing.
        source: the file it came from, or `"virtual"`.
        notes: decisions taken while reading, one sentence each, to be shown to the user.
        emg_kind: `"raw"`, `"rectified"` (but not smoothed) or `"envelope"`.
        emg_unit: `"V"`, or `"1"` where only ratios count: ADC counts, or parts of the maximum.
        dynamometer: (T, D) torque that the limb exerted on a dynamometer or load cell which held it, positive in the
            direction of its coordinate [N m]; such a trial is an isometric effort. None where it moved freely.
    """

    subject: str
    task: str
    trial: str
    posture: str
    rate_hz: float
    emg: np.ndarray
    channels: tuple[str, ...]
    angle: np.ndarray | None = None
    dofs: tuple[str, ...] = ()
    force: np.ndarray | None = None
    muscles: tuple[str, ...] = ()
    force_source: str | None = None
    torque: np.ndarray | None = None
    valid: np.ndarray | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    load: Load | None = None
    emg_kind: str = "raw"
    emg_unit: str = "V"
    dynamometer: np.ndarray | None = None

    def __post_init__(self) -> None:
        where = f"{self.source or 'recording'} ({self.subject}/{self.trial})"
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise PitlError(f"{where}: sampling rate is {self.rate_hz} Hz; give a positive number.")
        if self.emg.ndim != 2 or self.emg.shape[1] != len(self.channels):
            raise PitlError(
                f"{where}: EMG has shape {self.emg.shape} but {len(self.channels)} channels are named "
                f"({', '.join(self.channels)}); expected (samples, channels)."
            )
        if self.load is not None and not (
            np.isfinite(self.load.mass_kg) and self.load.mass_kg > 0 and np.all(np.abs(self.load.place_m) < 1.0)
        ):
            raise PitlError(
                f"{where}: the load of {self.load.mass_kg} kg at {tuple(self.load.place_m)} m is none; give a mass "
                "above 0 kg and a place within 1 m of the joint, in the coordinates of the body that carries it."
            )
        columns = (("angle", self.angle, self.dofs), ("force", self.force, self.muscles))
        torques = (("torque", self.torque, self.dofs), ("dynamometer", self.dynamometer, self.dofs))
        for name, values, names in (*columns, *torques):
            expected = (len(self.emg), len(names))
            if values is not None and values.shape != expected:
                raise PitlError(f"{where}: {name} has shape {values.shape}, expected {expected}.")
        if self.valid is not None and self.valid.shape != (len(self.emg),):
            raise PitlError(f"{where}: valid has shape {self.valid.shape}, expected ({len(self.emg)},).")
        good = slice(None) if self.valid is None else self.valid
        if not np.all(np.isfinite(self.emg[good])):
            row = int(np.argmax(~np.isfinite(np.where(self._good()[:, None], self.emg, 0.0)).all(axis=1)))
            raise PitlError(
                f"{where}: EMG is not a finite number at {row / self.rate_hz:.3f} s; "
                "mark such samples invalid or remove them."
            )
        if self.angle is not None:
            if not np.all(np.isfinite(self.angle[good])):
                raise PitlError(f"{where}: the angle is not a finite number somewhere; mark it invalid.")
            largest = float(np.max(np.abs(self.angle[good]), initial=0.0))
            if largest > 2 * np.pi:
                raise PitlError(
                    f"{where}: the angle reaches {largest:.1f} rad, more than a full turn; "
                    "it is probably in degrees: say so where its unit is given (unit = 'deg' in cohort.toml)."
                )

    def _good(self) -> np.ndarray:
        return np.ones(len(self.emg), bool) if self.valid is None else self.valid

    @property
    def measured_torque(self) -> np.ndarray | None:
        """(T, D) torque that somebody measured [N m]; None if there is none, or it is the truth about a simulation."""
        return None if self.force_source == "truth" else self.torque

    @property
    def seconds(self) -> float:
        """Duration [s]."""
        return len(self.emg) / self.rate_hz


class MaximumContraction(NamedTuple):
    """Raw EMG of a maximum voluntary contraction; it is filtered as the trials are, whatever the settings."""

    emg: np.ndarray  # (T, K) V
    rate_hz: float
    places: tuple[int, ...]  # K channels of the subject that these columns are


@dataclass(frozen=True)
class Subject:
    """One person and their trials.

    Attributes:
        name: unique within the cohort.
        recordings: trials, all with the same channels.
        height_m: body height [m]; None if unknown.
        mass_kg: body mass [kg]; None if unknown.
        mvc: (C,) envelope at maximum voluntary contraction [V]; None if it is not known as numbers.
        contractions: recordings of maximum voluntary contractions, from which the envelope's maximum is taken.
        truth: hidden parameters of a virtual subject, for judging what was learned; never an input.
        sex: `"female"`, `"male"` or None if unknown.
        model: file or folder of this person's own musculoskeletal model; None if there is none.
        ceinms: this person's subject file of CEINMS; None if there is none.
    """

    name: str
    recordings: tuple[Recording, ...]
    height_m: float | None = None
    mass_kg: float | None = None
    mvc: np.ndarray | None = None
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    sex: str | None = None
    model: Path | None = None
    contractions: tuple[MaximumContraction, ...] = ()
    ceinms: Path | None = None

    def __post_init__(self) -> None:
        if not self.recordings:
            raise PitlError(f"subject {self.name} has no recordings; remove it or add a trial.")
        first = self.recordings[0]
        for r in self.recordings:
            if r.subject != self.name:
                raise PitlError(f"{r.source}: belongs to {r.subject} but is filed under {self.name}.")
            if r.channels != first.channels:
                raise PitlError(
                    f"{r.source}: channels {r.channels} differ from {first.channels} in {first.source}; "
                    "a subject's trials must have the same channels in the same order."
                )
        trials = [r.trial for r in self.recordings]
        if len(set(trials)) != len(trials):
            raise PitlError(f"subject {self.name}: trial names repeat ({', '.join(trials)}).")


@dataclass(frozen=True)
class Cohort:
    """People recorded in the same way, and the joint they moved.

    Attributes:
        name: shown in reports.
        joint: name of a built-in musculoskeletal model (`"wrist"`, `"knee"`) or a model folder.
        subjects: with distinct names and equal channels.
        notes: what was decided while reading (subjects dropped, files swapped), one sentence each.
        left_out: recordings and channels that could not be used and why, one sentence each.
    """

    name: str
    joint: str
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.subjects:
            raise PitlError(f"cohort {self.name} has no subjects; check the folder and the configuration.")
        names = [s.name for s in self.subjects]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise PitlError(f"cohort {self.name}: subject names repeat: {', '.join(repeated)}.")
        first = self.subjects[0].recordings[0]
        for s in self.subjects:
            r = s.recordings[0]
            if r.channels != first.channels:
                raise PitlError(
                    f"{s.name} has channels {r.channels}, {first.subject} has {first.channels}; "
                    "all subjects need the same channels in the same order."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the people."""
        return tuple(s.name for s in self.subjects)

    def without(self, *names: str) -> "Cohort":
        """Everybody but these people.

        Raises:
            PitlError: one is not there, or nobody is left.

        Example:
            others = people.without("anna")
        """
        for name in names:
            self._at(name)
        return replace(self, subjects=tuple(s for s in self.subjects if s.name not in names))

    def __len__(self) -> int:
        """People."""
        return len(self.subjects)

    def __iter__(self) -> Iterator["Cohort"]:
        """The people one by one, each a cohort of one."""
        return (replace(self, subjects=(s,)) for s in self.subjects)

    @overload
    def __getitem__(self, key: str) -> "Cohort": ...
    @overload
    def __getitem__(self, key: int) -> Recording: ...
    def __getitem__(self, key: str | int) -> "Cohort | Recording":
        """One person by name, as a cohort of one; of one person a recording by number.

        Raises:
            PitlError: there is no such person or recording, or a number is asked of several people.

        Example:
            anna = people["anna"]; first = anna[0]
        """
        if isinstance(key, str):
            return replace(self, subjects=(self.subjects[self._at(key)],))
        person, *others = self.subjects
        if others:
            raise PitlError(
                f"cohort {self.name} has {len(self.subjects)} people; choose one by name first, as in "
                f"people[{person.name!r}][{key}]."
            )
        trials = person.recordings
        if not -len(trials) <= key < len(trials):
            raise PitlError(
                f"{person.name} has {len(trials)} recording(s) ({', '.join(r.trial for r in trials)}), and no "
                f"number {key}."
            )
        return trials[key]

    def _at(self, name: str) -> int:
        if name not in self.names:
            close = difflib.get_close_matches(name, self.names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(self.names)}."
            raise PitlError(f"cohort {self.name} has nobody called {name!r}{hint}")
        return self.names.index(name)
