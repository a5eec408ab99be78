"""`cohort.toml`: whose file is which trial, and what its columns are. One such file makes a folder a cohort."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pitl.data.formats.signals import must_be_file, nearest
from pitl.errors import PitlError

NAME = "cohort.toml"
PARTS = ("emg", "angle", "force", "torque")

_MOST_TRIALS = 10_000
_LARGEST = 4 * 2**20  # bytes


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("should have no control characters")
    return text


_Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_shown)]
_Column = Annotated[str, Field(min_length=1, max_length=300)]
_File = Annotated[str, Field(min_length=1, max_length=1000)]
_Columns = Annotated[dict[_Word, _Column], Field(min_length=1)]
_Positive = Annotated[float, Field(gt=0)]
_Rate = Annotated[float, Field(ge=1, le=1e6)]  # Hz
_Place = Annotated[float, Field(gt=-1, lt=1)]  # m


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Emg(_Closed):
    """EMG as recorded, rectified, or already an envelope."""

    channels: _Columns  # muscle = column
    # None: as the file says. Only ratios count with the last three: of ADC counts, percent or parts of the maximum
    unit: Literal["V", "mV", "uV", "counts", "%", "1"] | None = None
    kind: Literal["raw", "rectified", "envelope"] = "raw"
    rate_hz: _Rate | None = None  # for files that say none
    notch_hz: Annotated[float, Field(ge=10, le=1000)] | None = None  # takes the power line out


class Angle(_Closed):
    """Joint angles, flexion positive."""

    coordinates: _Columns  # coordinate of the model = column, "-column" turns the sign
    unit: Literal["deg", "rad"] | None = None
    rate_hz: _Rate | None = None


class Force(_Closed):
    """Labels: musculotendon forces [N], such as those of static optimisation."""

    muscles: _Columns  # muscle of the model = column
    source: str | None = None
    rate_hz: _Rate | None = None


class Torque(_Closed):
    """Net torque of the muscles [N m] of coordinates, as of inverse dynamics; in an effort, what the device read."""

    coordinates: _Columns
    rate_hz: _Rate | None = None


class LoadEntry(_Closed):
    """A known weight that is fixed to a body of the model during a trial, such as a dumbbell in the hand."""

    mass_kg: Annotated[float, Field(gt=0, lt=500)]
    place_m: tuple[_Place, _Place, _Place]  # of its centre, in the body's coordinates
    body: _Word


class TrialEntry(_Closed):
    """One recording: one file for everything, or one for each part."""

    subject: _Word
    trial: _Word
    task: _Word
    posture: _Word
    file: _File | None = None
    group: _Word | None = None  # of the file's structs, groups or blocks, where it holds several trials
    emg: _File | None = None
    angle: _File | None = None
    force: _File | None = None
    torque: _File | None = None
    rate_hz: _Rate | None = None  # of the EMG, if it differs from the others'
    emg_unit: Literal["V", "mV", "uV", "counts", "%", "1"] | None = None  # likewise
    emg_offset_s: Annotated[float, Field(ge=-1e5, le=1e5)] | Literal["estimate"] = 0.0  # added to the EMG's clock
    lacks: list[Literal["angle", "force", "torque"]] = []
    dynamometer: bool = False  # an isometric effort: its torque is what the limb exerted on the device that held it
    load: LoadEntry | None = None
    # gait without force plates: torque counts while the foot is in the air, told from the motion or given in seconds
    swing: Literal["find"] | Annotated[list[tuple[float, float]], Field(min_length=1)] | None = None
    force_source: str | None = None
    notes: list[str] = []

    def path(self, part: str) -> str | None:
        """File that holds a part."""
        return None if part in self.lacks else getattr(self, part) or self.file


class SubjectEntry(_Closed):
    """Somebody; only the name is needed."""

    name: _Word
    height_m: Annotated[float, Field(gt=0.3, lt=2.6)] | None = None
    mass_kg: Annotated[float, Field(gt=2, lt=400)] | None = None
    sex: Literal["female", "male"] | None = None
    model: _File | None = None  # imported musculoskeletal model of this person
    ceinms: _File | None = None  # subject file of CEINMS: its muscle parameters are one start of a calibration
    mvc: dict[str, _Positive] | None = None  # envelope at maximum voluntary contraction, in [emg] unit, by channel
    mvc_files: list[_File] = []  # recordings of maximum voluntary contractions; the largest envelope counts


class CohortFile(_Closed):
    """The whole file."""

    joint: _Word
    emg: Emg
    name: str | None = None
    notes: list[str] = []
    outside: bool = False  # whether files may lie outside the folder, named or behind links
    valid: str | None = None  # a column that is 0 where samples are unusable
    angle: Angle | None = None
    force: Force | None = None
    torque: Torque | None = None
    trial: Annotated[list[TrialEntry], Field(min_length=1, max_length=_MOST_TRIALS)]
    subject: list[SubjectEntry] = []


_SECTIONS: dict[Any, type[BaseModel]] = {
    "emg": Emg, "angle": Angle, "force": Force, "torque": Torque, "trial": TrialEntry, "subject": SubjectEntry
}  # fmt: skip


def read(path: Path) -> CohortFile:
    """Reads and validates a `cohort.toml`.

    Raises:
        PitlError: with the file and the key that is wrong.
    """
    path = Path(path)
    try:
        result = CohortFile.model_validate(tomllib.loads(_text(path)))
    except ValidationError as e:
        raise PitlError(f"{path}: {_sentence(e)}") from e
    except RecursionError as e:
        raise PitlError(f"{path}: has lists or tables too deep within one another; write it flat.") from e
    except ValueError as e:  # also whole numbers of thousands of digits
        raise PitlError(f"{path}: is not valid TOML: {str(e)[:200]}; mend that line.") from e
    _consistent(path, result)
    return result


def _text(path: Path) -> str:
    if path.exists():
        must_be_file(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise PitlError(f"{path}: has more than {_LARGEST >> 20} MiB; list at most {_MOST_TRIALS} trials.")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as e:
        raise PitlError(f"{path} does not exist; `pitl init {path.parent}` writes a draft of it.") from e
    except UnicodeDecodeError as e:
        raise PitlError(f"{path}: is not UTF-8 text (byte {e.start}); save it as plain text in UTF-8.") from e
    except (OSError, ValueError) as e:
        raise PitlError(f"cannot read {path}: {e}; expected a text file.") from e


def _consistent(path: Path, result: CohortFile) -> None:
    if result.angle and result.torque:
        moved, known = list(result.angle.coordinates), list(result.torque.coordinates)
        if [c for c in moved if c in known] != known:
            raise PitlError(
                f"{path}: [torque.coordinates] names {', '.join(known)}, [angle.coordinates] names "
                f"{', '.join(moved)}; a torque is of one of these coordinates, in the same order."
            )
    for key in ("emg.channels", "angle.coordinates", "force.muscles", "torque.coordinates"):
        section, _, names = key.partition(".")
        if getattr(result, section):
            _distinct(path, "column", list(getattr(getattr(result, section), names).values()), f"[{key}]")
    _distinct(path, "subject", [p.name for p in result.subject], "[[subject]]")
    _distinct(path, "trial", [f"{t.subject}/{t.trial}" for t in result.trial], "[[trial]]")
    _distinct(path, "file", [f"{f} {t.group or ''}" for t in result.trial if (f := t.path("emg"))], "[[trial]]")
    for k, t in enumerate(result.trial, 1):
        if t.path("emg") is None:
            raise PitlError(f"{path}: trial.{k} ({t.subject}/{t.trial}) names no file; add file = or emg =.")
        for part, section in (("angle", result.angle), ("torque", result.torque)):
            if t.dynamometer and (section is None or t.path(part) is None):
                raise PitlError(
                    f"{path}: trial.{k} ({t.subject}/{t.trial}) is on a dynamometer and has no {part}; add [{part}] "
                    f"coordinates and its columns, or remove dynamometer = true."
                )
        if t.swing and (result.torque is None or t.path("torque") is None):
            raise PitlError(
                f"{path}: trial.{k} ({t.subject}/{t.trial}) says swing and has no torque; run inverse dynamics without "
                "external forces and give its moments under [torque]: they are right while the foot is in the air."
            )
    known = {t.subject for t in result.trial}
    for p in result.subject:
        if p.name not in known:
            raise PitlError(
                f"{path}: [[subject]] {p.name!r} has no trial{nearest(p.name, sorted(known))}; remove or rename it."
            )
        for channel in set(result.emg.channels) ^ set(p.mvc or result.emg.channels):
            what = "lacks" if channel in result.emg.channels else "has the unknown"
            raise PitlError(
                f"{path}: mvc of subject {p.name!r} {what} channel {channel!r}; give one value for each of "
                f"{', '.join(result.emg.channels)}."
            )
        if p.mvc and p.mvc_files:
            raise PitlError(f"{path}: subject {p.name!r} has both mvc and mvc_files; keep one of them.")
        if p.mvc and result.emg.unit is None:
            raise PitlError(f"{path}: mvc of subject {p.name!r} needs [emg] unit, in which it is given; add it.")


def _distinct(path: Path, what: str, values: list[str], where: str) -> None:
    if len(set(values)) < len(values):
        repeated = max(values, key=Counter(values).__getitem__)
        raise PitlError(f"{path}: the {what} {repeated!r} appears twice in {where}; give each its own name.")


def _sentence(error: ValidationError) -> str:
    # a mistyped key is also a missing one; naming it helps more
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    loc = tuple(first["loc"])
    where = ".".join(str(k + 1) if isinstance(k, int) else str(k) for k in loc)
    if first["type"] == "extra_forbidden":
        model = _SECTIONS.get(loc[0], CohortFile) if len(loc) > 1 else CohortFile
        return f"unknown key {where!r}{nearest(str(list(loc)[-1]), model.model_fields)}; correct or remove it."
    if first["type"] == "missing":
        return f"the key {where!r} is missing; add it."
    return f"{where!r} is {str(first['input'])[:50]!r}: {first['msg'][:1].lower()}{first['msg'][1:]}; correct it."
