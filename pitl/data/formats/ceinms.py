"""CEINMS's `subject*.xml`: a person's muscle parameters, as another program calibrated them."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from pitl.data.formats.signals import read_text
from pitl.errors import PitlError


class CeinmsMuscle(NamedTuple):
    """One muscle and tendon."""

    fibre: float  # m, optimal length
    slack: float  # m
    strength: float  # N, maximum isometric force with the calibrated coefficient
    shape: float  # A of the EMG-to-activation map, 0 is linear


_FIELDS = ("optimalFiberLength", "tendonSlackLength", "maxIsometricForce", "strengthCoefficient", "shapeFactor")


def is_subject(path: Path) -> bool:
    """Whether a file seems to be one: told by what it holds."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(200_000)
    except OSError:
        return False
    return b"<subject" in head and (b"<mtuSet" in head or b"<muscles" in head) and b"tendonSlackLength" in head


def read(path: Path) -> dict[str, CeinmsMuscle]:
    """The muscles of a subject by name; of the older (`mtu`) and the newer (`muscle`) layout.

    Raises:
        PitlError: it is no such file, or a muscle lacks a number.
    """
    text = read_text(path)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):  # entities can unpack to gigabytes
        raise PitlError(f"{path}: has a document type or entities, which CEINMS does not write; remove them.")
    try:
        root = ET.fromstring(text.lstrip("\ufeff").encode())
    except ET.ParseError as e:
        raise PitlError(f"{path}: is not valid XML ({e}); export the subject from CEINMS again.") from e
    out = {}
    for node in (n for n in root.iter() if n.tag in ("muscle", "mtu")):
        name = (node.findtext("name") or "").strip()
        numbers = [_number(node.findtext(f)) for f in _FIELDS]
        fibre, slack, force, coefficient, shape = numbers
        shape = _number(root.findtext(".//mtuDefault/shapeFactor")) if math.isnan(shape) else shape
        coefficient = 1.0 if math.isnan(coefficient) else coefficient
        if not name or not (fibre > 0 and slack >= 0 and force > 0 and coefficient > 0):
            raise PitlError(f"{path}: the muscle {name!r} lacks a positive {', '.join(_FIELDS[:3])}; correct it there.")
        out[name] = CeinmsMuscle(fibre, slack, force * coefficient, 0.0 if math.isnan(shape) else min(shape, 0.0))
    if not out:
        raise PitlError(f"{path}: holds no muscle; name a subject file of CEINMS.")
    return out


def _number(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
