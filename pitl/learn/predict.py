"""What a model predicts: on rows of a prepared cohort, or on a recording; and what its forces do to the joint there."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pitl.data.recording import Recording
from pitl.errors import PitlError
from pitl.files import atomic_write_text
from pitl.learn import gains, stacked
from pitl.learn.deviation import predict_angle
from pitl.learn.follow import follow
from pitl.learn.model import Model, pick_channels
from pitl.learn.prepare import Prepared
from pitl.learn.units import HALF_OF_NORMAL
from pitl.mechanics import dynamics, weak
from pitl.mechanics.model import MusculoskeletalModel, posture_index
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.signals import emg, normalise, windows
from pitl.signals.samples import COVER, Cover, Samples, cover


class Estimate(NamedTuple):
    """Angles and forces of one person on given rows."""

    angle: np.ndarray  # (W, D) rad
    force: np.ndarray | None  # (W, M) N
    angle_spread: np.ndarray | None = None  # (W, D) rad, of an ensemble's members, or of the posterior
    force_spread: np.ndarray | None = None  # (W, M) N, of an ensemble's members


@partial(jax.jit, static_argnums=0)
def _each(net: network.Network, params: Any, scale: OutputScale, samples: Samples, rows: Array) -> Any:
    out = network.outputs(params, net, samples, rows, scale)
    return out.angle[0], out.force


@partial(jax.jit, static_argnums=0)
def _along(net: network.Network, params: Any, scale: OutputScale, samples: Samples, rows: Array, covered: Cover) -> Any:
    z = network.features_of_rows(params, net, samples, covered, 1)
    out = network.infer(params, net, z, network.context(net, samples, rows, 1), scale)
    return out.angle[0], out.force


# Rows of the segments that cover the rows asked for, for each of these, up to which sharing convolutions pays.
_SPARSE = 2


def predict_rows(models: Model, samples: Samples, rows: tuple[np.ndarray, ...]) -> tuple[Estimate, ...]:
    """Everyone's own model on everyone's own rows; neighbouring windows share their convolutions.

    Args:
        models: stacked over people.
        samples: rows of everybody.
        rows: (W,) of each person.
    """
    longest = max(len(r) for r in rows)
    padded = [np.concatenate([r, np.full(longest - len(r), r[-1])]).astype(np.int32) for r in rows]
    covers = [cover(r) for r in padded]
    most = max(len(c.first) for c in covers)
    dense = most * COVER <= _SPARSE * max(longest, COVER)
    estimates = []
    for s, (r, wide, covered) in enumerate(zip(rows, padded, covers, strict=True)):
        params, scale = stacked.take((models.params, models.scale), s)
        given = (models.net, params, scale, samples, jax.device_put(wide))
        if dense:
            first = np.pad(covered.first, (0, most - len(covered.first)), mode="edge")
            angle, force = _along(*given, jax.device_put(Cover(first, covered.place)))
        else:
            angle, force = _each(*given)
        own, spread = np.asarray(angle)[: len(r)], None
        if models.deviation is not None:
            own, spread = predict_angle(stacked.take(models, s), samples, r)
        estimates.append(Estimate(own, np.asarray(force)[: len(r)], spread))
    return tuple(estimates)


@jax.jit
def _mechanics(model: MusculoskeletalModel, q: Array, force: Array, posture: Array, kernel: weak.Kernel) -> Any:
    return (
        dynamics.muscle_torque(model, q, force, posture),
        weak.weak_residual(model, q, force, posture, kernel),
    )


def mechanics(
    prepared: Prepared, subject: int, rows: np.ndarray, estimate: Estimate, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """What an arm's forces do at its angles, under the person's model.

    Args:
        prepared: physics and rows.
        subject: whose model.
        rows: (W,) rows.
        said: angles and forces there.
        length: rows are padded to it, so that everybody's answers run through one compiled function.

    Returns:
        Muscle torque (W, D) [N m], and the weak residual (W - K + 1, D) [N m], NaN where its kernel does not fit.
    """
    model = stacked.take(prepared.limbs, subject)
    kernel = weak.Kernel(*(jnp.asarray(t, jnp.float32) for t in prepared.taps))
    wide = np.concatenate([np.arange(len(rows)), np.full(length - len(rows), len(rows) - 1)])
    assert estimate.force is not None
    posture = jax.device_put(np.asarray(prepared.samples.posture)[rows[wide]])
    angle, force = (jax.device_put(x[wide].astype(np.float32)) for x in (estimate.angle, estimate.force))
    torque, residual = _mechanics(model, angle, force, posture, kernel)
    taps = len(prepared.taps.average)
    fits = windows.contiguous(rows, prepared.table, taps)
    return np.asarray(torque)[: len(rows)], np.where(
        fits[:, None], np.asarray(residual)[: len(rows) - taps + 1], np.nan
    )


@dataclass(frozen=True)
class Prediction:
    """What a model predicts along a recording; N instants.

    Example:
        answer = pitl.predict(anna, people["anna"][0])
        answer.time_s, answer.angle, answer.force, answer.torque
    """

    time_s: np.ndarray  # (N,) since the recording's first sample
    angle: np.ndarray  # (N, D) rad
    force: np.ndarray  # (N, M) N
    torque: np.ndarray  # (N, D) N m, of these forces at these angles; net, NaN where unknown, of an EMG-driven model
    dofs: tuple[str, ...]
    muscles: tuple[str, ...]
    silent: tuple[str, ...] = ()  # channels of the model that the recording lacks or in which they are dead
    angle_half: np.ndarray | None = None  # (N, D) rad, half an interval of 90 %; (D,) from held-back errors
    force_half: np.ndarray | None = None  # (N, M) N, the same from the gains' posterior; (M,) where forces had labels

    def to_frame(self) -> Any:
        """A pandas table: time, angles in degrees, forces, torques, with intervals where they are known.

        Raises:
            PitlError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as e:
            raise PitlError("tables need pandas: pip install pandas, or use .angle and .force as they are.") from e
        return pd.DataFrame({name: values for name, (values, _) in self._columns().items()})

    def to_sto(self, path: str | Path) -> None:
        """Writes angles [deg], forces [N] and torques [N m] as a table that OpenSim reads.

        Raises:
            PitlError: it cannot be written.
        """
        from pitl.data.formats import opensim
        from pitl.data.formats.signals import Stream

        columns = self._columns()
        time_s = columns.pop("time")[0]
        values = np.stack([v for v, _ in columns.values()], axis=1)
        units = tuple(unit for _, unit in columns.values())
        opensim.write(Path(path), Stream("prediction", tuple(columns), units, values, time_s))

    def write(self, path: str | Path) -> None:
        """Writes a .sto or .mot (see `to_sto`) or a .csv, by the ending of the name.

        Raises:
            PitlError: the ending is another one, or it cannot be written.
        """
        ending = Path(path).suffix.lower()
        if ending in (".sto", ".mot"):
            return self.to_sto(path)
        if ending != ".csv":
            raise PitlError(f"cannot write {path}: the ending '{ending}' is not known; use .sto, .mot or .csv.")
        columns = self._columns()
        lines = [",".join(f"{name} ({unit})" for name, (_, unit) in columns.items())]
        lines += [",".join(map(repr, row)) for row in np.stack([v for v, _ in columns.values()], axis=1).tolist()]
        return atomic_write_text(path, "\n".join(lines) + "\n")

    def _columns(self) -> dict[str, tuple[np.ndarray, str]]:
        """Columns of a table, with their units."""
        columns: dict[str, tuple[np.ndarray, str]] = {"time": (np.asarray(self.time_s, float), "s")}
        for names, values, half, factor, ending, unit in (
            (self.dofs, self.angle, self.angle_half, float(np.degrees(1.0)), "", "deg"),
            (self.muscles, self.force, self.force_half, 1.0, "_force", "N"),
            (self.dofs, self.torque, None, 1.0, "_moment", "N m"),
        ):
            for k, name in enumerate(names):
                if not np.isfinite(values[:, k]).any():
                    continue
                value = np.asarray(values[:, k], float) * factor
                columns[f"{name}{ending}"] = (value, unit)
                if half is not None:
                    columns[f"{name}{ending}_low"] = (value - half[..., k] * factor, unit)
                    columns[f"{name}{ending}_high"] = (value + half[..., k] * factor, unit)
        return columns

    def _repr_png_(self) -> bytes | None:
        """Angles and forces as a picture, for notebooks; nothing where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return None
        fig = Figure(figsize=(8, 4.5), layout="constrained")
        top, bottom = fig.subplots(2, 1, sharex=True)
        for k, name in enumerate(self.dofs):
            angle = np.degrees(self.angle[:, k])
            (line,) = top.plot(self.time_s, angle, lw=1, label=name)
            if self.angle_half is not None:
                half = np.degrees(self.angle_half[..., k])
                top.fill_between(self.time_s, angle - half, angle + half, alpha=0.2, lw=0, color=line.get_color())
        for k, name in enumerate(self.muscles):
            bottom.plot(self.time_s, self.force[:, k], lw=1, label=name)
        top.set_ylabel("angle [deg]")
        bottom.set_ylabel("force [N]")
        bottom.set_xlabel("time [s]")
        for axes in (top, bottom):
            axes.legend(fontsize=7, ncols=4, frameon=False)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def predict_recording(model: Model, recording: Recording) -> Prediction:
    """Angles and forces from EMG alone; channels are found by name, in any order.

    A channel that is missing or dead counts as silent, which costs accuracy: `silent` of the result names it, and so
    does a warning.

    Raises:
        PitlError: if no channel of the model can be used, or the model was not fitted to a person.
    """
    if model.channel_scale is None:
        raise PitlError("this is a generic model: it has no scale for this person's electrodes; personalise it first.")
    if model.muscles is not None:
        along = follow(model, recording)
        gone = tuple(c for c, silent in zip(model.channels, along.silent, strict=True) if silent)
        return Prediction(*along[:4], model.limb.dofs, model.limb.muscles, gone)
    raw, silent = pick_channels(model, recording)
    env = emg.envelope(emg.design(model.emg, recording.rate_hz, model.emg_kind), raw)
    jets = normalise.normalise(model.channel_scale, env.jets, model.emg.rate_hz)
    jets = normalise.silence(jets, silent)
    count, window = len(env.time_s), model.net.window
    posture = posture_index(model.limb, recording.posture)
    if count < window:
        raise PitlError(
            f"{recording.source or recording.trial}: {recording.seconds:.2f} s are shorter than the model's window of "
            f"{window / model.emg.rate_hz:g} s; give a longer recording."
        )
    nothing = jnp.zeros((count, 1), jnp.float32)
    samples = Samples(
        jnp.asarray(jets, jnp.float32),
        nothing,
        nothing,
        nothing,
        jnp.full((count,), posture, jnp.int32),
        jnp.zeros((count,), jnp.int32),
        jnp.asarray(env.time_s, jnp.float32),
    )
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], model.without_channels(silent))
    (estimate,) = predict_rows(one, samples, (np.arange(window - 1, count),))
    assert estimate.force is not None
    torque = _torque(model.limb, jnp.asarray(estimate.angle), jnp.asarray(estimate.force), posture)
    trust = model.history.get("trust", {})
    half = {k: None if trust.get(k) is None else np.asarray(trust[k]) for k in ("angle_half_rad", "force_half_n")}
    if estimate.angle_spread is not None:
        half["angle_half_rad"] = HALF_OF_NORMAL * estimate.angle_spread
    if model.gains is not None:
        half["force_half_n"] = gains.relative_half(model.gains)[None] * estimate.force
    return Prediction(
        env.time_s[window - 1 :],
        estimate.angle,
        estimate.force,
        np.asarray(torque),
        model.limb.dofs,
        model.limb.muscles,
        tuple(c for c, gone in zip(model.channels, silent, strict=True) if gone),
        half["angle_half_rad"],
        half["force_half_n"],
    )


_torque = jax.jit(dynamics.muscle_torque)
