"""The hand-propagated jets are the derivatives along the recording, for convolutions and for a recurrent unit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pitl.net import encoder, gru, head, jet
from pitl.net import network as network_module
from pitl.signals import samples as gathering

LONG = pytest.mark.thorough  # nested derivatives take long to compile

L, C, Z, P = 40, 4, 24, 2
SCALE = head.OutputScale(jnp.array([0.7]), jnp.array([0.5]), jnp.array([100.0, 300.0]), jnp.array([10.0, 20.0]))


def network(seed=0, activation="tanh", kind="cnn"):
    k1, k2 = jax.random.split(jax.random.key(seed))
    if kind == "gru":
        enc = encoder.init_recurrent(k1, inputs=C, state=12, features=Z)
    else:
        enc = encoder.init(k1, inputs=C, window=L, features=Z)
    hd = head.init(k2, features=Z, hidden=16, context=P, scale=SCALE)

    def outputs(windows, context):
        z = encoder.encode(enc, windows, activation=activation)
        return head.infer(hd, z, context, SCALE, activation=activation)

    return enc, hd, jax.jit(outputs)


def movement(t):
    """A smooth envelope window at time t, (L, C)."""
    when = t - jnp.arange(L, dtype=jnp.float32)[::-1, None] * 0.01
    return 0.5 + 0.4 * jnp.sin(2.0 * when + jnp.arange(C, dtype=jnp.float32)[None, :])


def window_jet(t):
    d1 = jax.jacfwd(movement)
    return jnp.stack([movement(t), d1(t), jax.jacfwd(d1)(t)])


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("cnn", "tanh"),
        *(
            pytest.param(*x, marks=LONG)
            for x in [("cnn", "gelu"), ("cnn", "softplus"), ("gru", "tanh"), ("gru", "gelu")]
        ),
    ],
)
def test_jet_equals_nested_grad_along_the_recording(kind, activation):
    _, _, outputs = network(activation=activation, kind=kind)
    posture = jnp.array([[[1.0, 0.0]]])

    def q(t):
        return outputs(movement(t)[None, None], posture).angle[0, 0, 0]

    context = jnp.concatenate([posture, jnp.zeros((2, 1, P))])
    definition = [jax.jit(f) for f in (q, jax.grad(q), jax.grad(jax.grad(q)))]
    for t in (0.3, 1.1, 2.7):
        t = jnp.float32(t)
        got = outputs(window_jet(t)[:, None], context).angle[:, 0, 0]
        expected = jnp.array([f(t) for f in definition])
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)
        assert abs(float(expected[2])) > 1e-3  # inertia has something to train on


@pytest.mark.parametrize("kind", ["cnn", "gru"])
def test_acceleration_is_the_numerical_derivative_of_the_trajectory(kind):
    _, _, outputs = network(kind=kind)
    context = jnp.array([[[1.0, 0.0]]])
    t, step = 0.9, 0.02
    q = [outputs(movement(jnp.float32(s))[None, None], context).angle[0, 0, 0] for s in (t - step, t, t + step)]
    numeric = (float(q[0]) - 2 * float(q[1]) + float(q[2])) / step**2
    still = jnp.concatenate([context, jnp.zeros((2, 1, P))])
    exact = float(outputs(window_jet(jnp.float32(t))[:, None], still).angle[2, 0, 0])
    assert abs(numeric - exact) < 0.02 * abs(exact) + 2e-3


def test_relu_has_no_curvature_which_is_why_it_is_only_an_ablation():
    # a constant-velocity input leaves a ReLU network without any acceleration, a smooth one with some
    steady = window_jet(jnp.float32(0.5)).at[2].set(0.0)[:, None]
    context = jnp.concatenate([jnp.array([[[1.0, 0.0]]]), jnp.zeros((2, 1, P))])
    _, _, relu = network(activation="relu")
    _, _, tanh = network(activation="tanh")
    assert float(relu(steady, context).angle[2, 0, 0]) == 0.0
    assert abs(float(tanh(steady, context).angle[2, 0, 0])) > 1e-4


def test_value_alone_equals_the_value_of_the_jet():
    _, _, outputs = network()
    w = window_jet(jnp.float32(0.4))[:, None]
    context = jnp.concatenate([jnp.array([[[0.0, 1.0]]]), jnp.zeros((2, 1, P))])
    a, b = outputs(w, context), outputs(w[:1], context[:1])
    np.testing.assert_allclose(a.angle[:1], b.angle, rtol=1e-6)
    np.testing.assert_allclose(a.force, b.force, rtol=1e-6)


def test_the_shifted_matrix_product_is_the_convolution_of_lax():
    layer = {"w": jax.random.normal(jax.random.key(1), (5, C, 7)), "b": jnp.arange(7.0)}
    x = jax.random.normal(jax.random.key(2), (1, 3, L, C))
    expected = jax.lax.conv_general_dilated(x[0], layer["w"], (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
    np.testing.assert_allclose(
        encoder.convolve(layer, x, 2)[0], expected + layer["b"].reshape(1, 1, -1), rtol=1e-5, atol=1e-5
    )


def test_forces_are_never_negative_and_start_at_the_mean():
    enc, hd, outputs = network()
    w = 50.0 * jax.random.normal(jax.random.key(3), (1, 200, L, C))
    context = jnp.tile(jnp.array([[[1.0, 0.0]]]), (1, 200, 1))
    assert float(outputs(w, context).force.min()) >= 0.0
    silent = jax.tree.map(jnp.zeros_like, hd) | {"force": {"w": jnp.zeros((16, 2)), "b": hd["force"]["b"]}}
    z = encoder.encode(enc, w)
    force = head.infer(silent, z, context, SCALE).force
    np.testing.assert_allclose(force, np.tile(SCALE.force_mean, (200, 1)), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(jet.ACTIVATIONS))
def test_activation_derivatives_are_those_of_autodiff(name):
    f = jet.ACTIVATIONS[name]
    x = jnp.array([-3.1, -0.7, 0.2, 1.9])
    value, slope, curvature = f(x)
    reference = {
        "tanh": jnp.tanh,
        "gelu": lambda v: jax.nn.gelu(v, approximate=False),
        "softplus": jax.nn.softplus,
        "relu": jax.nn.relu,
    }[name]
    d1 = jax.grad(lambda v: reference(v))
    np.testing.assert_allclose(value, reference(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, jax.vmap(d1)(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(curvature, jax.vmap(jax.grad(d1))(x), rtol=1e-4, atol=1e-6)


def test_a_window_too_short_for_the_convolutions_is_refused():
    with pytest.raises(ValueError, match="too short"):
        encoder.init(jax.random.key(0), inputs=C, window=6)


@pytest.mark.parametrize(("strides", "window"), [((2, 2), 40), ((1, 3), 41), ((3, 1), 43)])
def test_encoding_along_a_recording_equals_encoding_every_window(strides, window):
    enc = encoder.init(jax.random.key(4), inputs=C, window=window, strides=strides, features=Z)
    recording = jax.random.normal(jax.random.key(5), (3, 2, 90, C))
    count = 90 - window + 1
    each = jnp.stack([recording[:, :, k : k + window] for k in range(count)], axis=2)
    along = encoder.encode_along(enc, recording, window, strides=strides)
    assert along.shape == (3, 2, count, Z)
    np.testing.assert_allclose(along, encoder.encode(enc, each, strides=strides), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_recurrent_encoding_along_a_recording_equals_encoding_every_window(stride):
    enc = encoder.init_recurrent(jax.random.key(4), inputs=C, state=12, features=Z)
    recording = jax.random.normal(jax.random.key(5), (3, 2, 90, C))
    each = jnp.stack([recording[:, :, k : k + L] for k in range(90 - L + 1)], axis=2)
    along = encoder.encode_along(enc, recording, L, recurrent_stride=stride)
    assert along.shape == (3, 2, 90 - L + 1, Z)
    np.testing.assert_allclose(along, encoder.encode(enc, each, recurrent_stride=stride), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 3])
def test_the_recurrent_unit_is_the_textbook_one_sample_after_sample_in_double_precision(stride):
    unit = jax.tree.map(
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape),
        gru.init(jax.random.key(0), inputs=C, state=6),
    )
    window = np.asarray(jax.random.normal(jax.random.key(1), (L, C)), float)
    w, b, u, c = (np.asarray(unit[k][n], float) for k in ("input", "state") for n in ("w", "b"))
    state = np.zeros(6)
    for x in window[::-1][::stride][::-1]:  # the newest sample is always read, and last
        say, own = np.split(x @ w + b, 3), np.split(state @ u + c, 3)
        update, reset = (1 / (1 + np.exp(-say[k] - own[k])) for k in (0, 1))
        state = (1 - update) * np.tanh(say[2] + reset * own[2]) + update * state
    result = gru.read(unit, jnp.asarray(window, jnp.float32)[None], stride=stride)[0]
    np.testing.assert_allclose(result, state, rtol=1e-5, atol=1e-6)


def test_a_product_of_jets_has_the_derivatives_of_the_product():
    def g(t):
        return jnp.sin(3.0 * t)

    def h(t):
        return jnp.exp(-t) * t

    def jet_of(f, t):
        return jnp.array([f(t), jax.grad(f)(t), jax.grad(jax.grad(f))(t)])

    t = jnp.float32(0.7)
    result = jet.product(jet_of(g, t), jet_of(h, t))
    np.testing.assert_allclose(result, jet_of(lambda x: g(x) * h(x), t), rtol=1e-5)
    np.testing.assert_allclose(jet.product(result[:1], result[:1]), result[:1] ** 2, rtol=1e-6)


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["cnn", pytest.param("gru", marks=LONG)])
@pytest.mark.parametrize(
    "recipe", ["total", *(pytest.param(r, marks=LONG) for r in ("time_input", "finite_difference"))]
)
def test_contiguous_rows_give_the_same_outputs_gradients_and_gains(recipe, kind):
    net = network_module.Network(C, P, L, 100.0, features=Z, hidden=16, derivative=recipe, encoder=kind)
    params = network_module.init(jax.random.key(6), net, SCALE)
    values = jax.random.normal(jax.random.key(7), (300, 3, C))
    still = jnp.zeros((300, 1))
    who = jnp.zeros(300, jnp.int32)
    samples = gathering.Samples(values, still, jnp.zeros((300, 2)), still, who, who, jnp.arange(300.0) / 100)
    rows = jnp.array([[60], [200], [250]], jnp.int32) + jnp.arange(30, dtype=jnp.int32)[None]
    gain = jnp.broadcast_to(jnp.array([[0.5], [1.0], [2.0]])[:, :, None], (3, 30, C))

    def total(params, contiguous):
        out = network_module.outputs(params, net, samples, rows, SCALE, order=3, gain=gain, contiguous=contiguous)
        return jnp.sum(out.angle**2 * jnp.array([1.0, 0.1, 0.01]).reshape(3, 1, 1, 1)) + jnp.mean(out.force), out

    (_, a), (_, b) = total(params, True), total(params, False)
    np.testing.assert_allclose(a.angle[0], b.angle[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(a.force, b.force, rtol=1e-4, atol=1e-4)
    if recipe != "finite_difference":  # second differences of single precision
        np.testing.assert_allclose(a.angle, b.angle, rtol=1e-3, atol=1e-4)
        ga, gb = (jax.grad(lambda p, c=c: total(p, c)[0])(params) for c in (True, False))
        for x, y in zip(jax.tree.leaves(ga), jax.tree.leaves(gb), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-3 * float(jnp.abs(y).max()))


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["cnn", "gru"])
@pytest.mark.parametrize("rows", [[40, 41, 42], [299], [50, 50, 280, 45, 299, 299], list(range(39, 300))])
def test_features_of_rows_in_any_order_are_those_of_their_windows(rows, kind):
    net = network_module.Network(C, P, L, 100.0, features=Z, hidden=16, encoder=kind)
    params = network_module.init(jax.random.key(6), net, SCALE)
    still, who = jnp.zeros((300, 1)), jnp.zeros(300, jnp.int32)
    jets = jax.random.normal(jax.random.key(7), (300, 3, C))
    samples = gathering.Samples(jets, still, jnp.zeros((300, 2)), still, who, who, jnp.arange(300.0) / 100)
    cover = jax.tree.map(jnp.asarray, gathering.cover(np.array(rows)))
    got = network_module.features_of_rows(params, net, samples, cover, 3)
    expected = network_module.features(params, net, samples, jnp.asarray(rows, jnp.int32), 3)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    trunk = network_module.features_of_rows(params, net, samples, cover, 3, trunk_only=True)
    assert trunk.shape[-1] == (net.recurrent_state if kind == "gru" else 7 * 32)
    np.testing.assert_allclose(network_module.read_out(params, net, trunk), got, rtol=1e-5, atol=1e-6)


def test_without_the_non_negative_output_muscles_may_push_and_motion_is_the_same():
    net = network_module.Network(C, P, L, 100.0, features=Z, hidden=16)
    free = dataclasses.replace(net, nonnegative=False)
    params = network_module.init(jax.random.key(6), net, SCALE)
    wide = jax.tree.map(lambda x: 3.0 * x, params)
    windows_ = jax.random.normal(jax.random.key(7), (3, 200, L, C))
    around = jnp.tile(jnp.array([1.0, 0.0]).reshape(1, 1, P), (3, 200, 1)) * jnp.array([1.0, 0, 0]).reshape(3, 1, 1)
    z = network_module.encode(wide, net, windows_)
    pull, push = (network_module.infer(wide, n, z, around, SCALE) for n in (net, free))
    np.testing.assert_array_equal(pull.angle, push.angle)
    assert float(pull.force.min()) >= 0 > float(push.force.min())
    np.testing.assert_allclose(
        pull.force,
        SCALE.strength.reshape(1, -1) * jax.nn.softplus(push.force / SCALE.strength.reshape(1, -1)),
        rtol=1e-4,
    )
    started = network_module.init(jax.random.key(6), free, SCALE)["head"]["force"]["b"]
    np.testing.assert_allclose(started * SCALE.strength, SCALE.force_mean, rtol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        *(
            pytest.param(s, marks=pytest.mark.deep)
            for s in (
                {"activation": "gelu"},
                {"activation": "softplus", "compression": 0.05},
                {"encoder": "gru"},
                {"encoder": "gru", "recurrent_stride": 1, "compression": 0.1},
                {"channels": (8,), "kernels": (3,), "strides": (1,)},
            )
        ),
    ],
    ids=lambda s: "-".join(map(str, s.values())) or "default",
)
def test_the_jets_are_what_grad_says_of_the_angle_along_the_recording(shape):
    net = network_module.Network(C, P, L, 100.0, features=Z, hidden=16, **shape)
    params = network_module.init(jax.random.key(6), net, SCALE)
    time = jnp.arange(120.0)[:, None] / 100
    w = 2 * jnp.pi * jnp.linspace(0.4, 1.1, C)[None]
    jets = jnp.stack([1.1 + jnp.sin(w * time), w * jnp.cos(w * time), -w * w * jnp.sin(w * time)], axis=1)
    still, who = jnp.zeros((120, 1)), jnp.zeros(120, jnp.int32)
    samples = gathering.Samples(jets, still, jnp.zeros((120, 2)), still, who, who, time[:, 0])
    fast = network_module.outputs(params, net, samples, jnp.arange(70, 74, dtype=jnp.int32), SCALE, order=3).angle
    definition = jax.jit(
        lambda end: network_module.acceleration_by_grad(params, net, samples, end, SCALE), static_argnums=()
    )
    for k in range(4):
        rate, acceleration = definition(jnp.int32(70 + k))
        np.testing.assert_allclose(fast[1, k, 0], rate, rtol=2e-4, atol=1e-4)
        np.testing.assert_allclose(fast[2, k, 0], acceleration, rtol=2e-3, atol=1e-3)
    assert float(jnp.abs(fast[2]).max()) > 1e-2
