"""What the names of columns say: muscles, coordinates, sides; and what only their samples can say."""

import re
import unicodedata

import numpy as np

from pitl.data.formats.signals import SIDES, unit_in

_MUSCLE = re.compile(
    r"\b(emg|exg|rf|rect|rec(tus)?_?fem|bf(lh|sh)?|bic|bifem|vm|vl|vas|vast|st|sm|semi|mh|ham|ta|tib|gl|gm|gas|med gas"
    r"|lat gas|gastr|gemel|jumeau|droit fem|sol|per|add|glu|tfl|fcr|fcu|ecr|ecrl|ecrb|ecu|edc|fds|flex carp|ext carp"
    r"|delt|tri|bra|ischio|quad)"
)
_COORDINATE = re.compile(
    r"angle|flex|ext(ension)?\b|gonio|knee|wrist|elbow|ankle|hip|shoulder|rotation|deviation|adduction|abduction|tilt"
    r"|list|bending|winkel|knie|genou|rodilla|ginocchio|joelho|subtalar|mtp|pro sup|\bfx\b|\bdeg\b|\brad\b"
)
_SIDE = {s: re.compile(rf"^(?:{w})\b|\b(?:{w})$") for s, w in SIDES.items()}
# words beside that of the side; the French rectus femoris is called straight as the right side is
_OTHER = re.compile(
    r"\bdroit (?=fem|ant)|\bgrand droit\b|\b(emg|voltage|analog|angles?|flexion|extension|dorsiflexion|moment"
    r"|value|x|y|z)\b"
)
_A_SIDE = re.compile("|".join(SIDES.values()))
SMOOTH = 0.1  # mean step of a motion over its spread; raw EMG is above 0.3


def plain(name: str) -> str:
    """A name in small letters, words separated by blanks; units in brackets and paths of OpenSim go."""
    name = unit_in(name[:200])[0].removesuffix("/value").rpartition("/")[2]
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    name = re.sub(
        r"[\[(]([^\])]{0,40})[\])]", lambda m: f" {m[1]} " if _A_SIDE.fullmatch(m[1].strip().lower()) else " ", name
    )
    name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])|^(?=[LR][A-Z][a-z])", " ", name)  # RKneeAngles
    name = re.sub(r"^([LR])(?=[A-Z][a-z])|^ ([LR])(?=[A-Z][a-z])", lambda m: (m[1] or m[2]) + " ", name)
    return " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def is_coordinate(name: str) -> bool:
    """Whether the name is one of a joint angle."""
    words = plain(name)
    return bool(_COORDINATE.search(words)) and not re.search(r"\b(flex|ext) carp|hallucis|digitorum", words)


def is_muscle(name: str) -> bool:
    """Whether the name is one of a muscle, or says EMG."""
    return bool(_MUSCLE.search(plain(name)))


def side(name: str) -> str:
    """ "r", "l" or "" as the name says, in the usual spellings before or after it."""
    words = " ".join(_OTHER.sub(" ", plain(name)).split())
    hits = [s for s, pattern in _SIDE.items() if pattern.search(words)]
    return hits[0] if len(hits) == 1 else ""


def without_side(name: str) -> str:
    """The name without the word for its side."""
    word = "|".join(SIDES.values())
    bare = re.sub(rf"(?i)^(?:{word})[\s_.-]+(?!f[eé]m|ant)|[\s_.-]+[\[(]?(?:{word})[\])]?$", "", name.strip())
    return bare or name


def roughness(x: np.ndarray) -> float:
    """Mean step over spread; 0 if nothing changes."""
    x = x[np.isfinite(x)]
    spread = float(x.std()) if len(x) > 2 else 0.0
    return float(np.abs(np.diff(x)).mean() / spread) if np.isfinite(spread) and spread > 0 else 0.0


def is_rough(x: np.ndarray) -> bool:
    """Whether samples jump as those of raw EMG do."""
    return roughness(x) > 3 * SMOOTH
