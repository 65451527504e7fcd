"""Recurrent networks: carries, lengths and steps agree with one another, with Flax, and with the equations."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers, models, tree

KEY = jax.random.key(0)
BATCH, TIME, INPUTS, HIDDEN = 3, 5, 4, 6
KINDS = ["rnn", "lstm", "gru"]
WHOLE = {kind: getattr(functional, kind) for kind in KINDS}
STEP = {kind: getattr(functional, f"{kind}_step") for kind in KINDS}


def made(kind, num_layers=2, **options):
    layer = getattr(layers, kind)(INPUTS, HIDDEN, num_layers, **options)
    return layer, jax.jit(layer.init)(KEY)[0]


def sequences(seed=1):
    return jax.random.normal(jax.random.key(seed), (BATCH, TIME, INPUTS))


def random_carry(params):
    return jax.tree.map(
        lambda part: jax.random.normal(jax.random.key(7), part.shape), functional.zero_carry(params, BATCH)
    )


def close(actual, expected):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6), actual, expected)


def numpy_cell(kind, weights, x, h, c):
    """One step in float64, written gate by gate."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    w, u, b, d = (
        np.asarray(weights[name], np.float64)
        for name in ("input_weight", "recurrent_weight", "input_bias", "recurrent_bias")
    )
    gate = lambda k: slice(k * HIDDEN, (k + 1) * HIDDEN)  # noqa: E731
    ours = lambda k: x @ w[:, gate(k)] + b[gate(k)]  # noqa: E731
    past = lambda k: h @ u[:, gate(k)] + d[gate(k)]  # noqa: E731
    if kind == "rnn":
        return np.tanh(ours(0) + past(0)), c
    if kind == "gru":
        reset, update = sigmoid(ours(0) + past(0)), sigmoid(ours(1) + past(1))
        return (1 - update) * np.tanh(ours(2) + reset * past(2)) + update * h, c
    into, forget = sigmoid(ours(0) + past(0)), sigmoid(ours(1) + past(1))
    c = forget * c + into * np.tanh(ours(2) + past(2))
    return sigmoid(ours(3) + past(3)) * np.tanh(c), c


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_equations(kind):
    layer, params = made(kind, 1)
    x, h, c = np.asarray(sequences(), np.float64), np.zeros((BATCH, HIDDEN)), np.zeros((BATCH, HIDDEN))
    y = layer.apply(params, (), sequences())[0]
    for t in range(TIME):
        h, c = numpy_cell(kind, params[0], x[:, t], h, c)
        np.testing.assert_allclose(y[:, t], h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_in_a_scan_are_the_whole(kind):
    _, params = made(kind)
    carry = random_carry(params)
    outputs, final = jax.jit(WHOLE[kind])(params, sequences(), carry)
    stepped = jax.jit(lambda carry, x: jax.lax.scan(partial(STEP[kind], params), carry, jnp.moveaxis(x, 1, 0)))
    last, ys = stepped(carry, sequences())
    close((jnp.moveaxis(ys, 0, 1), last), (outputs, final))


def reference(kind, params, x, carry, lengths):
    """Run one layer by JAX's scan over the steps, forward and backward, row by row with its length."""
    outputs, finals = [], []
    for i, weights in enumerate([params[0]["forward"], params[0]["backward"]]):
        rows = []
        for row, length in enumerate(lengths):
            start = jax.tree.map(lambda part, i=i, row=row: part[i : i + 1, row : row + 1], carry)
            steps = x[row, :length] if i == 0 else x[row, :length][::-1]
            final, ys = jax.lax.scan(partial(STEP[kind], (weights,)), start, steps[:, None])
            ys = ys[:, 0] if i == 0 else ys[::-1, 0]
            rows.append((jnp.pad(ys, ((0, TIME - length), (0, 0))), final))
        outputs.append(jnp.stack([ys for ys, _ in rows]))
        finals.append(jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *(final for _, final in rows)))
    return jnp.concatenate(outputs, -1), jax.tree.map(lambda *parts: jnp.concatenate(parts), *finals)


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivatives_are_those_of_a_scan_over_the_steps(kind):
    """Against JAX's own derivative, in float64, both directions, with lengths: gradient, tangent of it, vmap."""
    lengths = [3, 0, TIME]
    with jax.enable_x64(True):
        _, params = made(kind, 1, bidirectional=True)
        double = partial(jax.tree.map, lambda leaf: leaf.astype(jnp.float64))
        given = double(params), double(sequences()), double(random_carry(params))
        keys = iter(jax.random.split(jax.random.key(3), 50))
        directions = jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape, leaf.dtype), given)
        weights = jax.random.normal(jax.random.key(5), (BATCH, TIME, 2 * HIDDEN), jnp.float64)

        def whole(*given):
            outputs, final = WHOLE[kind](*given, np.array(lengths))
            return jnp.sum(weights * outputs**2) + tree.norm(final)

        def stepped(*given):
            outputs, final = reference(kind, *given, lengths)
            return jnp.sum(weights * outputs**2) + tree.norm(final)

        def derivatives(function):
            gradient = jax.grad(function, (0, 1, 2))
            many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), given)
            return jax.jvp(gradient, given, directions), jax.vmap(gradient)(*many)

        actual, expected = (
            jax.jit(derivatives, static_argnums=0)(whole),
            jax.jit(derivatives, static_argnums=0)(stepped),
        )
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-11), actual, expected)


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.softmax, lambda v: jnp.where(v > 0, v, SLOPE[0] * v)])
def test_any_activation_has_its_derivative(activation):
    _, params = made("rnn", 1)

    def by_steps(params, x):
        def step(h, at):
            w = params[0]
            h = activation(at @ w["input_weight"] + w["input_bias"] + h @ w["recurrent_weight"] + w["recurrent_bias"])
            return h, h

        return jnp.sum(jnp.sin(jax.lax.scan(step, jnp.zeros((BATCH, HIDDEN)), jnp.moveaxis(x, 1, 0))[1]))

    def whole(params, x):
        return jnp.sum(jnp.sin(functional.rnn(params, x, activation=activation)[0]))

    def of_slope(function):
        def sloped(slope):
            SLOPE[0] = slope
            return function(params, sequences())

        return jax.grad(sloped)(0.1)

    close(jax.grad(whole, (0, 1))(params, sequences()), jax.grad(by_steps, (0, 1))(params, sequences()))
    close(of_slope(whole), of_slope(by_steps))
    SLOPE[0] = 0.1


SLOPE = [0.1]  # of the leaky activation above, which closes over it: it may be learned


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_in_bfloat16_sums_biases_in_float32(kind):
    """2,400 numbers are added up: in bfloat16, of 8 bits, the sum would be 10 % off."""
    _, params = made(kind, 1)
    x = jax.random.normal(KEY, (8, 300, INPUTS))

    def gradient(x):
        return jax.jit(jax.grad(lambda params: jnp.mean(WHOLE[kind](params, x)[0].astype(jnp.float32) ** 2)))(params)

    for name, expected in gradient(x)[0].items():
        actual = gradient(x.astype(jnp.bfloat16))[0][name]
        assert jnp.linalg.norm(actual - expected) < 0.03 * jnp.linalg.norm(expected), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_carry_goes_on_where_the_first_part_ended(kind):
    _, params = made(kind)
    run = WHOLE[kind]
    outputs, final = run(params, sequences(), random_carry(params))
    first, between = run(params, sequences()[:, :2], random_carry(params))
    second, last = run(params, sequences()[:, 2:], between)
    close((jnp.concatenate([first, second], 1), last), (outputs, final))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_no_steps_give_no_outputs_and_the_initial_carry(kind):
    _, params = made(kind, bidirectional=True)
    carry = random_carry(params)
    outputs, final = WHOLE[kind](params, sequences()[:, :0], carry)
    assert outputs.shape == (BATCH, 0, 2 * HIDDEN)
    jax.tree.map(np.testing.assert_array_equal, final, carry)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_with_a_length_is_that_row_cut(kind):
    _, params = made(kind, bidirectional=True)
    carry, run, whole = random_carry(params), jax.jit(WHOLE[kind]), jax.jit(WHOLE[kind])
    lengths = np.array([3, 0, TIME])
    outputs, final = whole(params, sequences(), carry, lengths)
    for row, length in enumerate(lengths):
        one = jax.tree.map(lambda part, row=row: part[:, row : row + 1], carry)
        expected, end = run(params, sequences()[row : row + 1, :length], one)
        close(outputs[row : row + 1, :length], expected)
        close(jax.tree.map(lambda part, row=row: part[:, row : row + 1], final), end)
        assert not outputs[row, length:].any()
    for far, as_near in ((TIME + 9, TIME), (-2, 0)):  # a traced length beyond either end is that end
        close(
            whole(params, sequences(), carry, jnp.full(BATCH, far)),
            whole(params, sequences(), carry, jnp.full(BATCH, as_near)),
        )


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH), st.integers(0, 2**31 - 1))
@pytest.mark.slow
def test_what_is_beyond_the_length_changes_nothing(lengths, seed):
    lengths = np.array(lengths, np.int32)
    beyond = np.arange(TIME)[None, :, None] >= lengths[:, None, None]
    other = jnp.where(beyond, 1e3 * sequences(seed), sequences())
    jax.tree.map(np.testing.assert_array_equal, padded(other, lengths), padded(sequences(), lengths))
    slope = slopes(other, lengths)
    assert np.isfinite(slope).all()
    assert not slope[np.broadcast_to(beyond, slope.shape)].any()


@jax.jit
def padded(x, lengths):
    return functional.gru(made("gru", bidirectional=True)[1], x, lengths=lengths)


@jax.jit
def slopes(x, lengths):
    return jax.grad(lambda x: jnp.sin(padded(x, lengths)[0]).sum())(x)


def test_flax_cells():
    """Flax has one bias where two would add up, and names each gate apart."""
    names = {"lstm": "ifgo", "gru": "rzn"}
    cells = {"lstm": nn.OptimizedLSTMCell(HIDDEN), "gru": nn.GRUCell(HIDDEN)}
    for kind, cell in cells.items():
        _, params = made(kind, 1)
        carry, x = random_carry(params), sequences()[:, 0]
        mine = params[0]
        split = {
            name: dict(zip(names[kind], jnp.split(mine[name], len(names[kind]), -1), strict=True)) for name in mine
        }
        twin = {}
        for gate in names[kind]:
            twin[f"i{gate}"] = {"kernel": split["input_weight"][gate]}
            twin[f"h{gate}"] = {"kernel": split["recurrent_weight"][gate]}
            together = split["input_bias"][gate] + split["recurrent_bias"][gate]
            if kind == "lstm":
                twin["h" + gate]["bias"] = together
            else:
                twin["i" + gate]["bias"] = split["input_bias"][gate] if gate == "n" else together
        if kind == "gru":
            twin["hn"]["bias"] = split["recurrent_bias"]["n"]
        parts = tuple(part[0] for part in carry[::-1]) if kind == "lstm" else carry[0]  # Flax's carry is (c, h)
        new, y = cell.apply({"params": twin}, parts, x)
        ours, y_ours = STEP[kind](params, carry, x)
        close(y_ours, y)
        close(tuple(part[0] for part in ours[::-1]) if kind == "lstm" else ours[0], new)


@pytest.mark.slow
def test_initialisation():
    """Uniform in +-1/sqrt(hidden) for every leaf, as PyTorch's reset_parameters has it; the parts independent."""
    params, _ = jax.jit(layers.lstm(40, 64, 2, bidirectional=True).init)(KEY)
    leaves = tree.paths(params)
    assert len(leaves) == 16
    bound = 1 / math.sqrt(64)
    for path, leaf in leaves.items():
        assert np.abs(leaf).max() <= bound, path
        assert np.abs(leaf).max() > 0.97 * bound, path
        # The variance of U(-b, b) is b**2 / 3; with 256 numbers or more the estimate errs by 6 % at most (one sigma).
        np.testing.assert_allclose(leaf.std(), bound / math.sqrt(3), rtol=0.2, err_msg=path)
        assert abs(leaf.mean()) < 4 * bound / math.sqrt(3 * leaf.size), path
    assert len({float(leaf.ravel()[0]) for leaf in leaves.values()}) == 16
    assert (
        tree.size(jax.eval_shape(layers.gru(28, 128, 2).init, KEY)[0]) == 159_744
    )  # PyTorch's count for nn.GRU(28, 128, 2)


def test_dropout_acts_between_layers_alone():
    one, params = made("lstm", 1, dropout=0.5)
    np.testing.assert_array_equal(
        one.apply(params, (), sequences(), train=True)[0], one.apply(params, (), sequences())[0]
    )
    two, params = made("lstm", 2, dropout=1.0)
    y, _ = two.apply(params, (), sequences(), key=KEY, train=True)
    # With all of the first layer dropped, the second one reads zeros.
    expected, _ = functional.lstm(params[1:], jnp.zeros((BATCH, TIME, HIDDEN)))
    close(y, expected)


def test_last_step():
    y = jnp.arange(24.0).reshape(3, 4, 2)
    assert functional.last_step(y).tolist() == [[6, 7], [14, 15], [22, 23]]
    assert functional.last_step(y, np.array([4, 1, 0])).tolist() == [[6, 7], [8, 9], [0, 0]]
    assert jax.jit(functional.last_step)(y, np.array([9, 2, -1])).tolist() == [[6, 7], [10, 11], [0, 0]]


CLASSIFIERS = [models.rnn_classifier, models.lstm_classifier, models.gru_classifier]


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_padding_changes_nothing_with_pad_id(make):
    model = make(5, 6, 2, 3, vocabulary_size=9, pad_id=0)
    params, state = jax.jit(model.init)(KEY)
    logits = jax.jit(lambda tokens: model.apply(params, state, tokens)[0])
    short, padded, inside, nothing = [4, 7, 2], [4, 7, 2, 0, 0], [4, 0, 0, 7, 2], [0, 0, 0, 0, 0]
    y = logits(np.array([padded, inside, nothing]))
    close(y[:1], logits(np.array([short])))
    assert not np.allclose(y[1], y[0])  # padding between tokens is read
    close(y[2], params[3]["bias"])
    reading = make(5, 6, 2, 3, vocabulary_size=9)
    full = jax.jit(lambda tokens: reading.apply(params, state, tokens)[0])
    close(full(np.array([short])), y[:1])
    assert not np.allclose(full(np.array([padded])), y[:1])


def test_training_with_pad_id_has_the_randomness_of_the_sequential_model():
    tokens = np.array([[4, 7, 2], [1, 1, 3]])
    masked = models.lstm_classifier(5, 6, 2, 3, vocabulary_size=9, pad_id=0)
    reading = models.lstm_classifier(5, 6, 2, 3, vocabulary_size=9)
    params, state = jax.jit(masked.init)(KEY)
    run = lambda model, **mode: jax.jit(partial(model.apply, **mode))(params, state, tokens)[0]  # noqa: E731
    mode = {"key": jax.random.key(5), "train": True}
    close(run(masked, **mode), run(reading, **mode))
    assert not np.allclose(run(masked, **mode), run(masked))


def test_the_padding_gets_no_gradient_and_the_gradient_of_a_row_of_padding_is_finite():
    model = models.gru_classifier(5, 6, 1, 3, vocabulary_size=9, pad_id=0)
    params, state = jax.jit(model.init)(KEY)
    tokens = np.array([[4, 0, 2, 0], [0, 0, 0, 0]])
    gradients = jax.jit(jax.grad(lambda params: jnp.sin(model.apply(params, state, tokens)[0]).sum()))(params)
    used = np.abs(gradients[0]["embedding"]).sum(1) > 0
    assert used.tolist() == [i in (2, 4) for i in range(9)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_names():
    assert repr(layers.rnn(3, 4, activation=jax.nn.relu)) == "rnn(3, 4, activation=relu)"
    assert repr(layers.gru(3, 4, 2, dropout=0.1, bidirectional=True)) == "gru(3, 4, 2, dropout=0.1, bidirectional=True)"
    assert repr(models.lstm_classifier(28, 128, 2, 10)) == "lstm_classifier(28, 128, 2, 10)"
    text = models.rnn_classifier(8, 9, 1, 2, dropout=0.1, vocabulary_size=5, pad_id=0)
    assert repr(text) == "rnn_classifier(8, 9, 1, 2, dropout=0.1, vocabulary_size=5, pad_id=0)"


def test_the_parts_of_the_guides_model():
    model = models.lstm_classifier(28, 8, 2, 10)
    assert [part.name for part in model.parts] == ["lstm(28, 8, 2, dropout=0.2)", "last_step()", "linear(8, 10)"]
    outputs = lambda key: [y for _, y in layers.activations(model, *model.init(key), jnp.ones((2, 28, 28)))]  # noqa: E731
    assert [y.shape for y in jax.eval_shape(outputs, KEY)] == [(2, 28, 8), (2, 8), (2, 10)]
