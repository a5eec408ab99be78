"""The most likely values of the unknowns, and what the data say about each, by Gauss and Newton.

Errors of the torque balance are a share of the muscles' torques, as EMG's are of EMG; they are alike for fractions of a
second, and the fit itself finds how large they are. Their unit is how much the fitted person's own muscles vary: were
it a fixed torque, a person without muscles and weight would have no error, and everything would be found too small.
Their curvature at the fit, one matrix a kind of evidence, tells what each kind of recording brings.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array

from pitl import hill
from pitl.identify import unknowns
from pitl.identify.evidence import ROWS_HZ
from pitl.identify.unknowns import PRIOR, Rows, Unknowns
from pitl.msk.model import MusculoskeletalModel

INDEPENDENT_HZ = 4.0  # errors a second that are not each other's neighbours; the envelope passes 4 Hz
_SHARE = 0.1  # of the muscles' torques that is expected as error
_OF_MOTION = 0.5  # of what motion changes about the muscles' torques: force-velocity curves differ widely
_TOGETHER = 0.5  # error of a whole trial over that of its rows
_ALWAYS = 0.5  # of the usual torque, that errs as well even where the muscles do nothing
_STEPS = 12
_ROUNDS = 3  # of finding how large errors are


class Fitted(NamedTuple):
    """P people."""

    z: Unknowns  # stacked
    size: Array  # (P,) error of the torque balance over the one that was expected
    information: Array  # (P, K, n, n) of every kind of evidence, in z-scores; of those not seen, what they would bring


@partial(jax.jit, static_argnames=("body", "kinds", "gain_deviation"))
def fit(
    models: MusculoskeletalModel,
    on: hill.Electrodes,
    rows: Rows,
    kind: Array,
    trial: Array,
    used: Array,
    body: str,
    kinds: int,
    gain_deviation: float = PRIOR["gain"].deviation,
) -> Fitted:
    """Fits P people at once; everything is stacked over them in front.

    Args:
        models: everyone's physics as it came.
        on: everyone's electrodes.
        rows: everyone's rows.
        kind: (P, T) kind of evidence of each row, -1 for none.
        trial: (P, T, trials) 1 where a row belongs to a trial.
        used: (kinds,) 1 for the kinds that the fit may see.
        body: which carries the loads.
        kinds: how many there are.
        gain_deviation: spread of the gain among people, as a logarithm.
    """

    def one(model: Any, own_on: Any, own_rows: Any, own_kind: Array, own_trial: Array) -> Any:
        start = unknowns.none(model, own_on.peak.shape[0])
        flat, back = jax.flatten_util.ravel_pytree(start)
        per_row = jnp.where(own_kind >= 0, used[own_kind], 0.0)
        of = jnp.repeat(own_kind, len(model.dofs))  # of each error
        seen = jnp.repeat(per_row, len(model.dofs))
        # a load's torque is known: it must not tell how large errors are where none is carried
        bare = per_row * jnp.where(own_rows.load > 0, 1e-3, 1.0)
        bare = (bare / jnp.maximum(jnp.sum(bare), 1e-6))[:, None]
        # a whole trial errs together, beside its single rows: the mean of many rows that say the same, as in a trial at
        # rest, is worth no more than a few of them
        count = jnp.sum(own_trial, axis=0)
        less = (1 - 1 / jnp.sqrt(1 + _TOGETHER**2 * count * INDEPENDENT_HZ / ROWS_HZ)) / jnp.maximum(count, 1.0)
        mechanics = unknowns.known(model, body, own_rows)

        def sides(x: Array) -> unknowns.Balance:
            return unknowns.balance(model, unknowns.values(back(x), gain_deviation), own_on, own_rows.jets, mechanics)

        before = sides(flat)
        usual = jnp.sum(bare * before.effort**2, axis=0)  # (N m)2
        expected = jnp.sqrt(
            _SHARE**2 * (before.effort**2 + _ALWAYS**2 * usual[None]) + (_OF_MOTION * before.moving) ** 2
        )  # N m

        def variation(b: unknowns.Balance) -> Array:
            return jnp.sqrt(jnp.sum(bare * (b.still - jnp.sum(bare * b.still, axis=0)[None]) ** 2, axis=0))  # N m

        def errors(x: Array) -> Array:
            b = sides(x)
            unit = expected * (variation(b) / variation(before))[None]  # N m
            relative = (b.muscle - b.needed) / unit * jnp.sqrt(INDEPENDENT_HZ / ROWS_HZ)
            return (relative - own_trial @ (less[:, None] * (own_trial.T @ relative))).ravel()

        def cost(x: Array, size: Array) -> Array:
            return jnp.sum(seen * (errors(x) / size) ** 2) + jnp.sum(x * x)

        def step(carry: Any, _: None) -> Any:
            x, damping, size = carry
            e, j = errors(x), jax.jacfwd(errors)(x)
            weight = (seen / size**2)[:, None]
            curvature = j.T @ (weight * j) + jnp.eye(len(x))
            gradient = j.T @ (weight[:, 0] * e) + x
            move = jnp.linalg.solve(curvature + damping * jnp.diag(jnp.diag(curvature)), gradient)
            tried = x - move
            better = cost(tried, size) < cost(x, size)
            damping = jnp.clip(jnp.where(better, damping / 4, damping * 6), 1e-6, 1e6)
            return (jnp.where(better, tried, x), damping, size), None

        def round_(carry: Any, _: None) -> Any:
            x, size = carry
            (x, *_rest), _trace = jax.lax.scan(step, (x, jnp.asarray(1e-2), size), None, length=_STEPS)
            square = jnp.sum(seen * errors(x) ** 2) * ROWS_HZ / INDEPENDENT_HZ / jnp.maximum(jnp.sum(seen), 1.0)
            return (x, jnp.maximum(jnp.sqrt(square), 0.1)), None

        (x, size), _ = jax.lax.scan(round_, (flat, jnp.ones(())), None, length=_ROUNDS)
        j = jax.jacfwd(errors)(x) / size
        apart = jnp.stack([j.T @ (jnp.where(of == k, 1.0, 0.0)[:, None] * j) for k in range(kinds)])
        return back(x), size, apart

    return Fitted(*jax.vmap(one)(models, on, rows, kind, trial))
