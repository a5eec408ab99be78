"""Which channels speak for which muscle: its own, wherever laboratories call it otherwise, or those of its synergists.

A muscle without an electrode takes the mean of the channels of the nearest synergists that have one, its strength being
fitted like any other: the simplest form of what synergy extrapolation does (Ao, Shourijeh, Patten & Fregly 2020, doi
10.3389/fncom.2020.588943), as EMG-driven models of the leg commonly do (Lloyd & Besier 2003).
Fitting its own weights of all channels with the other parameters, with a prior around those, was tried on a measured
walk: over six splits by speed and by halves the mean R2 of knee and ankle was .834 and .837 where this gives .834.
"""

import re
from collections.abc import Sequence

# Names of muscles and electrodes, without side, blanks and underscores. Short ones are those of many laboratories.
_NAMES = {
    "SM": r"semimem\w*|sm",
    "ST": r"semiten\w*|st",
    "BFLH": r"bifemlh|bflh|bf|bicfem\w*|bicepsfem\w*?(lh|long\w*)?",
    "BFSH": r"bifemsh|bfsh|bicepsfem\w*(sh|short\w*)",
    "MH": r"mh|medham\w*",
    "RF": r"rectfem\w*|recfem\w*|rectusfem\w*|rf",
    "VM": r"vasmed\w*|vastusmed\w*|vm",
    "VI": r"vasint\w*|vastusint\w*|vi",
    "VL": r"vaslat\w*|vastuslat\w*|vl",
    "VAS": r"vas|vasti",
    "GM": r"medgas\w*|gasmed\w*|gastroc\w*med\w*|gm|mg",
    "GL": r"latgas\w*|gaslat\w*|gastroc\w*lat\w*|gl|lg",
    "SOL": r"sol|soleus",
    "TA": r"tibant\w*|tibialisant\w*|ta",
    "TP": r"tibpost\w*|tibialispost\w*|tp",
    "FDL": r"flexdig\w*|fdl",
    "FHL": r"flexhal\w*|fhl",
    "PL": r"perlong\w*|peroneuslong\w*|pl",
    "PB": r"perbrev\w*|peroneusbrev\w*|pb",
    "PT": r"pertert\w*|peroneustert\w*",
    "EDL": r"extdig\w*|edl",
    "EHL": r"exthal\w*|ehl",
}

_FLEXORS_OF_ANKLE = (("SOL",), ("GM", "GL"))
_EXTENSORS_OF_TOES = (("TA",),)
# Nearest first; the members of one group count alike. Muscles that are not here have no synergist.
_SYNERGISTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "SM": (("MH", "ST"), ("BFLH",)),
    "ST": (("MH", "SM"), ("BFLH",)),
    "MH": (("ST", "SM"),),
    "BFLH": (("BFSH",), ("MH", "ST", "SM")),
    "BFSH": (("BFLH",),),
    "VM": (("VAS", "VL", "VI"), ("RF",)),
    "VL": (("VAS", "VM", "VI"), ("RF",)),
    "VI": (("VAS", "VM", "VL"), ("RF",)),
    "VAS": (("VM", "VL", "VI"),),
    "GM": (("GL",), ("SOL",)),
    "GL": (("GM",), ("SOL",)),
    "SOL": (("GM", "GL"),),
    "TA": (("EDL", "EHL"),),
    "EDL": _EXTENSORS_OF_TOES,
    "EHL": _EXTENSORS_OF_TOES,
    "PT": _EXTENSORS_OF_TOES,
    "TP": _FLEXORS_OF_ANKLE,
    "FDL": _FLEXORS_OF_ANKLE,
    "FHL": _FLEXORS_OF_ANKLE,
    "PL": (("PB",), *_FLEXORS_OF_ANKLE),
    "PB": (("PL",), *_FLEXORS_OF_ANKLE),
}


def kind_of_muscle(name: str) -> str:
    """The common short name of a muscle or an electrode; "" of those that have no synergists here."""
    plain = re.sub(r"[\s_.\-]+", " ", name.lower()).strip()
    plain = re.sub(r"^(r|l|right|left) | (r|l|right|left)$|\bemg\b", "", plain).replace(" ", "")
    return next((kind for kind, pattern in _NAMES.items() if re.fullmatch(pattern, plain)), "")


def channels_for(muscle: str, channels: Sequence[str]) -> tuple[str, ...]:
    """Channels that stand for a muscle: its own, else those of its nearest synergists that have any; else none."""
    if muscle in channels:
        return (muscle,)
    kind, kinds = kind_of_muscle(muscle), {c: kind_of_muscle(c) for c in channels}
    for group in ((kind,), *_SYNERGISTS.get(kind, ())) if kind else ():
        chosen = tuple(c for c in channels if kinds[c] in group)
        if chosen:
            return chosen
    return ()
