"""A person's model and recording for the live tests: an untrained network on the wrist, random bursts of EMG."""

import jax
import jax.numpy as jnp
import numpy as np

from pitl.config.schema import EmgConfig, PersonalizeConfig
from pitl.data.recording import Recording
from pitl.learn import deviation, gains
from pitl.learn import gaussian_process as gp
from pitl.learn.model import Model
from pitl.learn.units import Spread
from pitl.mechanics.planar import builtin
from pitl.net import network
from pitl.net.head import OutputScale
from pitl.net.network import Network
from pitl.signals import emg, normalise
from pitl.signals.normalise import ChannelScale

RATE_HZ = 2000.0
CHANNELS = ("FCR", "FCU", "ECRL", "ECRB", "ECU")


def wrist_model(
    normalisation="blend", activation="tanh", derivative="total", window=40, seed=0, generic=False, steps=40
):
    limb = builtin("wrist")
    net = Network(5, 2, window, 100.0, activation=activation, derivative=derivative)
    strength = jnp.asarray(limb.max_isometric_force, jnp.float32)
    scale = OutputScale(jnp.array([0.1]), jnp.array([0.6]), strength, 0.1 * strength)
    params = network.init(jax.random.key(seed), net, scale)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(seed + 1), x.shape, x.dtype), params)
    spread = Spread(scale.angle_std, 0.05 * strength, jnp.array([0.5]))
    volts = np.full(5, 5e-5) if normalisation == "zscore" else np.array([3e-5, 5e-5, 4e-5, 6e-5, 2e-5])
    settings = EmgConfig(normalisation=normalisation)
    own = None if generic else ChannelScale(normalisation, volts, 10.0)
    return Model(
        params=params, limb=limb, scale=scale, spread=spread, channel_scale=own, net=net, emg=settings,
        personalize=PersonalizeConfig(steps=steps), channels=CHANNELS, people=() if generic else ("anna",),
    )  # fmt: skip


def deviating(model, posture=1):
    """The same person with an angle that deviates from the network's, which is the generic one then."""
    recording = wrist_recording(seed=5)
    env = emg.envelope(emg.design(model.emg, RATE_HZ), recording.emg)
    jets = normalise.normalise(model.channel_scale, env.jets, model.emg.rate_hz)
    count = len(env.time_s)
    rows = np.arange(model.net.window - 1, count, 3)
    where = np.where(np.arange(count) < count // 2, posture, 0)
    source = deviation.Envelopes(jets[:, 0], where, np.zeros(count, int), env.time_s)
    both = (gp.Hyper(between=1.0), gp.Hyper(length=-0.5, **gp.absent_parts(("generic",))))
    prior = gp.AnglePrior(both, gp.Units(*(jnp.array(x) for x in ([0.1], [0.6], [1.5] * 40, 0.8))))
    angle = 0.5 * np.sin(2 * np.pi * 0.5 * env.time_s)[:, None]
    person = deviation.fit_person(model, prior, source, rows, angle)
    without = deviation.fit_without_each(model, prior, source, rows, angle)
    own = jax.tree.map(lambda x: 1.05 * x, model.params["head"])
    return model.replace(
        params={**model.params, "head": own}, deviation=person, deviation_without=without, generic=model.params
    )


def wrist_recording(seconds=4.0, rate_hz=RATE_HZ, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * 0.5 * time[:, None] + np.arange(5)
    emg = 1e-4 * (1.1 + np.sin(phase)) * random.normal(size=(len(time), 5)) + 2e-4
    angle = 0.5 * np.sin(2 * np.pi * 0.5 * time)[:, None]
    dofs = ("wrist_flexion",)
    return Recording("anna", "rhythmic", "r1", "pronated", rate_hz, emg, CHANNELS, angle=angle, dofs=dofs)


def gained(model, seed=6):
    """The same person with gains of muscles, as efforts tell them; numbers at random."""
    random = np.random.default_rng(seed)
    prior = gains.population_prior(len(model.limb.muscles))
    factor, deviation = (
        jnp.asarray(random.uniform(*at, len(prior.mean)), jnp.float32) for at in ((0.5, 1.5), (0, 0.3))
    )
    scale = model.scale._replace(strength=model.scale.strength * factor)
    return model.replace(gains=gains.Gains(*prior, factor, deviation), scale=scale)
