"""Opens a source by its name on the command line."""

from pitl.errors import PitlError
from pitl.live.source import VOLTS, Source, Wanted


def open_source(spec: str, wanted: Wanted) -> Source:
    """Opens `replay:FILE`, `lsl:NAME` or `udp:PORT`.

    Raises:
        PitlError: there is no such source, or it does not send what the model takes.
    """
    kind, colon, name = spec.partition(":")
    if not colon or not name or kind not in ("replay", "lsl", "udp"):
        raise PitlError(f"there is no source '{spec}'; write replay:FILE, lsl:NAME, udp:PORT or udp:HOST:PORT.")
    if wanted.unit is not None and wanted.unit not in VOLTS:
        raise PitlError(f"the unit '{wanted.unit}' is not known; write --unit {', '.join(VOLTS)}.")
    if kind == "replay":
        from pitl.live import replay

        return replay.open_replay(name, wanted)
    if kind == "lsl":
        from pitl.live import lsl

        return lsl.open_lsl(name, wanted)
    from pitl.live import udp

    return udp.open_udp(name, wanted)
