"""The EMG-driven model as a person's model: muscles calibrated on measured net moments along the measured motion.

"Muscle torque = measured moment" takes the place of the equation of motion, so a moment that holds the ground reaction,
such as that of inverse dynamics with force plates, is enough, and inertias play no part. Several coordinates are fitted
at once; one whose moment is not a label, such as the hip where no hip muscle has an electrode, only moves the muscles
that cross it. After Lloyd & Besier 2003 (doi 10.1016/S0021-9290(03)00010-1) and Sartori et al. 2012 (doi
10.1371/journal.pone.0052618).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import Config
from pitl.config.toml import change
from pitl.data.formats import ceinms
from pitl.data.recording import Cohort
from pitl.errors import PitlError
from pitl.learn import emg_driven, hill, train, units
from pitl.learn.model import Model
from pitl.learn.prepare import Prepared, prepare
from pitl.learn.units import Spread
from pitl.mechanics import library
from pitl.mechanics.model import MusculoskeletalModel
from pitl.signals import windows

_PRIOR_WEIGHT = 1e-3  # chosen on halves of a trial held out of the calibration on the other half
_SLACK_STARTS = (-0.15, 0.0, 0.15, 0.3)  # optimal fibre lengths: the loss has several valleys, and the deepest is kept
_ROWS = 200  # of a person, evenly spaced, in the fit: on halves of a walk 200 to 800 do as well


def has_moments(people: Cohort) -> bool:
    """Whether every recording has a measured moment of some coordinate beside its angles."""
    every = [r for s in people.subjects for r in s.recordings]
    return all(r.measured_torque is not None and r.angle is not None for r in every)


def settings_measured(settings: Config) -> Config:
    """The settings for this fit: no force labels; slack lengths in which a rigid tendon's fibres work.

    A rigid tendon with the slack length of an elastic one leaves fibres at absurd lengths, from which no prior leads
    back.
    """
    data = {**settings.data.model_dump(), "force_labels": "none", "calibration_fraction": 1.0, "test_after": None}
    return change(settings, data=data, model={**settings.model.model_dump(), "slack": "calibrated"})


def fit(person: Cohort, settings: Config) -> Model:
    """One person's EMG-driven model, fitted on all of their recordings.

    Raises:
        PitlError: a recording has no measured moment or no angle, or no channel belongs to a muscle.
    """
    (subject,) = person.subjects
    for r in subject.recordings:
        if r.measured_torque is None or r.angle is None:
            raise PitlError(
                f"{r.source or r.trial} ({r.subject}/{r.trial}) has no measured "
                f"{'angle' if r.angle is None else 'moment'}; give one under [torque] in cohort.toml, leave the trial "
                "out, or learn from angles alone with --labels angle."
            )
    prepared = prepare(settings_measured(settings), person, with_dynamics=False)
    rows = windows.rows_of(prepared.table, "all", subjects=(0,), window=1)
    assert prepared.table.torque is not None
    rows = rows[np.isfinite(prepared.table.torque[rows]).any(axis=1)]  # in gait without force plates those in swing
    if not len(rows):
        raise PitlError(f"{person.name}: no row with a moment has a usable window before it; record more.")
    rows = rows[np.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).round().astype(int)]
    spread = _spread(prepared, rows)
    how = emg_driven.MuscleFit.of(settings.hill, with_forces=False)._replace(measured=True, prior_weight=_PRIOR_WEIGHT)
    on, data = emg_driven.problem(prepared, [rows], [np.ones(len(rows), bool)], how)
    # on the host: each small operation on the device would be a program to compile
    starts = _starts(jax.tree.map(lambda x: np.asarray(x)[0], prepared.limbs), subject.ceinms)
    # all at once, as if they were people: one program, which hardly takes longer than for one
    count = len(starts.tendon_slack_length)
    on, data = jax.tree.map(lambda x: np.repeat(np.asarray(x), count, axis=0), (on, data))
    spreads = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], count, axis=0), spread)
    unknown = prepared.table.maxima[0] is None
    found = emg_driven.calibrate_on(starts, on, data, spreads, how, gain_unknown=unknown)
    best = int(np.argmin(found.loss[-1]))
    limb, z, on = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[best]), (starts, found.z, found.on))
    prepared = prepared._replace(limbs=jax.tree.map(lambda x: np.asarray(x)[None], limb))
    known = np.any(np.isfinite(np.asarray(found.rows.torque[0])), axis=0).tolist()
    kept = hill.Fitted(hill.without_limb(z), on, jnp.where(jnp.asarray(known), spread.torque, jnp.inf))
    about: dict[str, Any] = {
        "config": prepared.about,
        "method": "emg_driven_measured",
        "moments": [d for d, has in zip(limb.dofs, known, strict=True) if has],
        "channels_of": _shares(limb.muscles, subject.recordings[0].channels, np.asarray(on.share)),
        "extrapolated": _extrapolated(prepared, subject.recordings[0].channels),
        "loss": float(found.loss[-1, best]),
    }
    of_units = (spread, units.standard_units(*_moments(prepared, rows), np.asarray(limb.max_isometric_force))[1])
    made = train.kept_model(prepared, {}, hill.fitted_model(limb, z), of_units, about)
    return made.replace(muscles=kept, channel_scale=prepared.table.scales[0], people=(subject.name,))


def _starts(limb: MusculoskeletalModel, from_ceinms: Path | None) -> MusculoskeletalModel:
    """The same with the muscles' tendons longer or shorter, stacked: on which side of their plateau fibres work is no
    small step for the fit, and the prior does not know it of a rigid tendon. What CEINMS found is one more.
    """
    shifts = np.asarray(_SLACK_STARTS, np.float32)
    every = jax.tree.map(lambda x: np.repeat(x[None], len(_SLACK_STARTS), axis=0), limb)
    slack = limb.tendon_slack_length + shifts[:, None] * limb.optimal_fibre_length  # m
    every = replace(every, tendon_slack_length=slack)
    if from_ceinms is None:
        return every
    one = with_ceinms(limb, from_ceinms)
    return jax.tree.map(lambda a, b: np.concatenate([a, np.asarray(b, a.dtype)[None]]), every, one)


def ceinms_model(model: Model, person: Cohort) -> Model:
    """CEINMS's own calibrated parameters in our muscle model, in place of what was fitted: for a comparison.

    Envelopes that are parts of the maximum count as they are; of others the fitted model says what they are worth.
    """
    (subject,) = person.subjects
    assert subject.ceinms is not None and model.muscles is not None and model.channel_scale is not None
    known, fitted = ceinms.read(subject.ceinms), model.muscles
    limb = with_ceinms(library.load(person.joint), subject.ceinms)
    z = jax.tree.map(jnp.zeros_like, fitted.z)
    shapes = [known[m].shape if m in known else 0.0 for m in limb.muscles]
    z = z.replace(shape=jnp.asarray(hill.z_of_shape(np.array(shapes)), jnp.float32))
    on = fitted.on
    if subject.recordings[0].emg_unit == "1":
        on = on._replace(peak=jnp.asarray(1 / np.asarray(model.channel_scale.volts), jnp.float32))
    return model.replace(limb=limb, muscles=fitted._replace(z=z, on=on))


def with_ceinms(limb: MusculoskeletalModel, subject: Path) -> MusculoskeletalModel:
    """The limb with the strengths, fibre and slack lengths of a subject file of CEINMS.

    Raises:
        PitlError: the file has none of the limb's muscles.
    """
    known = ceinms.read(subject)
    if not set(known) & set(limb.muscles):
        raise PitlError(f"{subject}: has none of the muscles {', '.join(limb.muscles[:6])} ...; take ceinms out.")
    changed = {}
    for name, field in (
        ("optimal_fibre_length", "fibre"), ("tendon_slack_length", "slack"), ("max_isometric_force", "strength"),
    ):  # fmt: skip
        own = np.array(getattr(limb, name))
        for m, muscle in enumerate(limb.muscles):
            own[m] = getattr(known[muscle], field) if muscle in known else own[m]
        changed[name] = own
    return replace(limb, **changed)


def _spread(prepared: Prepared, rows: np.ndarray) -> Spread:
    """Units of the errors: the person's own spread; where no moment is known it does not matter."""
    angle, _, torque = (np.asarray(x)[rows] for x in _labels(prepared))
    strength = np.asarray(prepared.limbs.max_isometric_force)[0]
    nothing = np.zeros((len(rows), len(strength)))
    return units.source_statistics(angle, nothing, torque, strength, labelled=False)[0]


def _labels(prepared: Prepared) -> tuple[Any, Any, Any]:
    return prepared.samples.angle, prepared.samples.force, prepared.samples.torque


def _moments(prepared: Prepared, rows: np.ndarray) -> tuple[Any, Any]:
    each = [np.asarray(x)[rows] for x in _labels(prepared)]
    return tuple(x.mean(axis=0) for x in each), tuple(x.std(axis=0) for x in each)


def _extrapolated(prepared: Prepared, channels: Sequence[str]) -> dict[str, list[str]]:
    """By trial, the channels that were taken from the others for a while, and when."""
    rate = prepared.net.rate_hz
    found = {}
    for t in prepared.table.trials:
        spans = hill.apart(prepared.table.jets[t.start : t.stop], rate).spans(rate)
        found |= {t.name: [f"{channels[c]} from {a:.0f} to {b:.0f} s" for c, a, b in spans]} if spans else {}
    return found


def _shares(muscles: Sequence[str], channels: Sequence[str], share: np.ndarray) -> dict[str, list[str]]:
    """Channels behind each muscle; none for those that have no electrode and no synergist with one."""
    return {m: [c for c, w in zip(channels, own, strict=True) if w > 0] for m, own in zip(muscles, share, strict=True)}
