"""A page with pictures of recordings as they came: EMG, angle, and what of them is spoilt."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pitl import __version__
from pitl.data.checks import faults, quality
from pitl.data.recording import Cohort, Recording
from pitl.files import atomic_write_text
from pitl.report import canvas

_COLUMNS = 700  # as many as a wide picture has pixels
_KINDS = (
    ("still", "dropout", canvas.SKY),
    ("clipped", "saturation", canvas.ORANGE),
    ("artefact", "motion artefact", canvas.RED),
)
_STYLE = """body{font:16px/1.45 system-ui,sans-serif;color:#1f2933;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .2rem}svg{width:100%;height:auto}li{margin:.2rem 0}
.error{color:#b3261e}.warning{color:#8a5a00}.info{color:#5b6672}.key span{padding:0 .4em;border-left:.8em solid}"""


def write(cohort: Cohort, findings: Sequence[quality.Finding], out: Path) -> Path:
    """Writes one self-contained page and returns where; a folder gets `check.html`.

    Raises:
        PitlError: if it cannot be written.
    """
    out = Path(out)
    path = out / "check.html" if out.is_dir() or not out.suffix else out
    people = len(cohort.subjects)
    parts = [
        f"<h1>{html.escape(cohort.name)}: {people} {'person' if people == 1 else 'people'}, joint "
        f"{html.escape(cohort.joint)}</h1>",
        "<p class='key'>Shaded segments are not used: "
        + ", ".join(f"<span style='border-color:{colour}'>{name}</span>" for _, name, colour in _KINDS)
        + f", <span style='border-color:{canvas.GREY}'>missing in the file</span></p>",
        _list(findings, lambda f: f.severity != "info", "Nothing suspicious was found."),
    ]
    with canvas.style():
        for s in cohort.subjects:
            for r in s.recordings:
                where = f"{r.subject}/{r.trial}"
                own = [f for f in findings if f.where == where or f.where.startswith(f"{where},")]
                parts += [f"<h2>{html.escape(where)}</h2>", _list(own, lambda f: True, ""), _picture(r)]
    body = "\n".join(parts)
    atomic_write_text(
        path,
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(cohort.name)}: recordings</title><style>{_STYLE}</style>\n{body}\n"
        f"<p class='info'>pitl {__version__}</p></html>\n",
    )
    return path


def _list(findings: Sequence[quality.Finding], wanted: Callable[[quality.Finding], bool], nothing: str) -> str:
    items = [
        f"<li class='{f.severity}'>{html.escape(f.where)}: {html.escape(f.what)}"
        f"{'; ' + html.escape(f.advice) if f.advice else ''}</li>"
        for f in findings
        if wanted(f)
    ]
    return f"<ul>{''.join(items)}</ul>" if items else f"<p>{nothing}</p>" if nothing else ""


def _picture(r: Recording) -> str:
    channels = len(r.channels)
    fig, axes = canvas.figure(0.55 * channels + (1.3 if r.angle is not None else 0.4), channels + (r.angle is not None))
    masks = faults.masks(r)
    dead = faults.dead(r)
    missing = np.zeros(len(r.emg), bool) if r.valid is None else ~r.valid
    for c, ax in enumerate(axes[:channels]):
        time, low, high = _range(r.emg[:, c] * 1e6, r.rate_hz)
        ax.fill_between(time, low, high, color=canvas.GREY if c in dead else canvas.INK, linewidth=0.4)
        label = f"{r.channels[c]}\n(dead)" if c in dead else r.channels[c]
        ax.set_ylabel(f"{label}\n[µV]", rotation=0, ha="right", va="center")
        _shade(ax, missing, r.rate_hz, canvas.GREY)
        for name, _, colour in _KINDS:
            _shade(ax, getattr(masks, name)[:, c], r.rate_hz, colour)
    if r.angle is not None:
        step = max(1, len(r.angle) // _COLUMNS)
        time = np.arange(0, len(r.angle), step) / r.rate_hz
        for d, (dof, colour) in enumerate(zip(r.dofs, (canvas.BLUE, canvas.GREEN, canvas.PINK) * 9, strict=False)):
            axes[-1].plot(time, np.degrees(r.angle[::step, d]), color=colour, label=dof)
        axes[-1].set_ylabel("angle\n[deg]", rotation=0, ha="right", va="center")
        _shade(axes[-1], missing, r.rate_hz, canvas.GREY)
        if len(r.dofs) > 1:
            axes[-1].legend(loc="upper right")
    axes[-1].set_xlabel("time [s]")
    axes[-1].set_xlim(0, r.seconds)
    return canvas.svg(fig, f"EMG and angle of {r.subject}, {r.trial}")


def _range(x: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest and largest value in each column of the picture: no spike is lost by thinning."""
    width = max(1, len(x) // _COLUMNS)
    count = len(x) // width
    blocks = x[: count * width].reshape(count, width)
    return (np.arange(count) + 0.5) * width / rate_hz, blocks.min(axis=1), blocks.max(axis=1)


def _shade(ax: Axes, mask: np.ndarray, rate_hz: float, colour: str) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        # a stretch narrower than a pixel is shown as one
        width = max((last - first) / rate_hz, len(mask) / rate_hz / _COLUMNS)
        ax.axvspan(first / rate_hz, first / rate_hz + width, color=colour, alpha=0.45, linewidth=0)
