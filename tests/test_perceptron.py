"""The perceptron against the guide's loop in NumPy, the convergence theorem, scikit-learn; threshold units."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.models.perceptron import (
    CORNERS,
    HAND_SET,
    TRUTH_TABLES,
    perceptron,
    perceptron_rule,
    predict,
    threshold_gate,
    threshold_unit,
)

LEARNABLE = ("AND", "OR", "NAND", "NOR")


def start(size=2, seed=0):
    return perceptron(size).init(jax.random.key(seed))[0]


def zeros(size):
    return {"weight": jnp.zeros(size), "bias": jnp.zeros(())}


def by_the_guide(params, x, labels, rate, epochs):
    """Run the guide's `train` as it stands, in float32; return weights, bias, errors by epoch, last epoch."""
    weights, bias, rate = np.array(params["weight"]), np.float32(params["bias"]), np.float32(rate)
    x, counts = np.asarray(x, np.float32), []
    for epoch in range(epochs):
        errors = 0
        for xi, yi in zip(x, labels, strict=True):
            prediction = 1 if np.dot(xi, weights) + bias >= 0 else 0
            error = np.float32(yi - prediction)
            weights += rate * error * xi
            bias += rate * error
            if error != 0:
                errors += 1
        counts.append(errors)
        if errors == 0:
            return weights, bias, counts, epoch
    return weights, bias, counts, -1


def separable(seed, size, samples, margin):
    """Draw points of [-1, 1]^size that a hyperplane parts by at least this margin; return them, labels, normal."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=size + 1)
    normal /= np.linalg.norm(normal)
    points = rng.uniform(-1, 1, (4096, size))
    distance = points @ normal[:-1] + normal[-1]
    kept = np.flatnonzero(np.abs(distance) >= margin)[:samples]
    return points[kept].astype(np.float32), (distance[kept] > 0).astype(np.int32), normal


@pytest.mark.parametrize("gate", TRUTH_TABLES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_gates_equal_the_guides_loop(gate, seed, rate):
    params, labels = start(seed=seed), TRUTH_TABLES[gate]
    weights, bias, errors, end = by_the_guide(params, CORNERS, labels, rate, 100)
    result = perceptron_rule(params, CORNERS, labels, learning_rate=rate)
    assert result.errors.tolist() == errors + [-1] * (100 - len(errors))
    assert int(result.converged_at) == end
    np.testing.assert_allclose(result.params["weight"], weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.params["bias"], bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_many_features_equal_the_guides_loop(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 7)).astype(np.float32)
    labels = (x @ rng.normal(size=7) + 0.5 * rng.normal(size=60) > 0).astype(np.int32)  # noise: no line parts them all
    weights, bias, errors, end = by_the_guide(start(7), x, labels, 0.01, 20)
    result = perceptron_rule(start(7), x, labels, epochs=20)
    assert (result.errors.tolist(), int(result.converged_at)) == (errors + [-1] * (20 - len(errors)), end)
    np.testing.assert_allclose(result.params["weight"], weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.params["bias"], bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gate", LEARNABLE)
def test_gates_are_learned(gate):
    result = perceptron_rule(start(), CORNERS, TRUTH_TABLES[gate])
    assert 0 <= int(result.converged_at) < 100
    np.testing.assert_array_equal(predict(result.params, CORNERS), TRUTH_TABLES[gate])


@pytest.mark.parametrize("seed", range(3))
def test_xor_never_converges(seed):
    result = perceptron_rule(start(seed=seed), CORNERS, TRUTH_TABLES["XOR"], epochs=5000)
    assert int(result.converged_at) == -1
    assert int(result.errors.min()) >= 1  # no epoch was left out


# Two shapes only, since each is a compilation.
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([2, 5]), rate=st.sampled_from([0.25, 1.0]))
def test_errors_stay_within_the_bound_of_the_convergence_theorem(seed, size, rate):
    """Novikoff's bound, (R / gamma)**2 errors from zero weights whatever the learning rate, and so as many epochs."""
    x, labels, normal = separable(seed, size, 30, margin=0.15)
    hypothesis.assume(len(x) == 30)
    with_one = np.hstack([x, np.ones((30, 1))])
    gamma = np.min((2 * labels - 1) * (with_one @ normal))
    radius = np.linalg.norm(with_one, axis=1).max()
    result = perceptron_rule(zeros(size), x, labels, learning_rate=rate, epochs=400)  # (6 / 0.15**2 = 267) + 1 do
    errors = np.asarray(result.errors)
    assert errors[errors > 0].sum() <= (radius / gamma) ** 2
    assert int(result.converged_at) >= 0
    np.testing.assert_array_equal(predict(result.params, x), labels)


@pytest.mark.slow
@pytest.mark.parametrize("gate", TRUTH_TABLES)
def test_scikit_learn_learns_the_same_gates(gate):
    from sklearn.linear_model import Perceptron

    labels = TRUTH_TABLES[gate]
    theirs = Perceptron(tol=None, max_iter=100, shuffle=False).fit(CORNERS, labels).score(CORNERS, labels)
    result = perceptron_rule(start(), CORNERS, labels)
    ours = float((predict(result.params, CORNERS) == labels).mean())
    assert (ours == 1) == (theirs == 1) == (int(result.converged_at) >= 0) == (gate in LEARNABLE)


def test_scikit_learn_separates_the_same_clouds():
    from sklearn.linear_model import Perceptron

    for seed in range(5):
        x, labels, _ = separable(seed, 5, 80, margin=0.1)
        theirs = Perceptron(tol=None, max_iter=500, shuffle=False).fit(x, labels).score(x, labels)
        result = perceptron_rule(start(5), x, labels, epochs=500)
        assert theirs == float((predict(result.params, x) == labels).mean()) == 1.0


def test_one_sample_and_a_batch_and_a_batch_of_batches():
    params = {"weight": jnp.array([1.0, -2.0]), "bias": jnp.array(0.5)}
    batch = np.array([[0.0, 0.0], [0.0, 1.0], [1.5, 1.0], [1.4, 1.0]], np.float32)
    expected = [1, 0, 1, 0]  # the third lies on the line, and step(0) = 1
    assert predict(params, batch).tolist() == expected
    assert [int(predict(params, sample)) for sample in batch] == expected
    assert predict(params, batch.reshape(2, 2, 2)).tolist() == [[1, 0], [1, 0]]
    assert predict(params, batch[0]).shape == ()
    assert predict(params, CORNERS.astype(bool)).tolist() == predict(params, CORNERS).tolist()
    layer_output, _ = perceptron(2).apply(params, (), batch)
    assert layer_output.tolist() == expected
    assert layer_output.dtype == jnp.float32


def test_initial_weights_are_small_and_the_bias_zero():
    params = start(20_000)
    assert float(params["bias"]) == 0
    np.testing.assert_allclose(params["weight"].std(), 0.01, rtol=0.03)  # 6 standard errors of 0.5 %
    np.testing.assert_allclose(params["weight"].mean(), 0, atol=0.0005)  # 7 standard errors


def test_no_epochs_change_nothing():
    result = perceptron_rule(start(), CORNERS, TRUTH_TABLES["AND"], epochs=0)
    assert (result.errors.shape, int(result.converged_at)) == ((0,), -1)
    np.testing.assert_array_equal(result.params["weight"], start()["weight"])


def test_vmap_over_seeds_labels_and_rates_equals_one_after_another():
    gates = list(TRUTH_TABLES)
    params = jax.vmap(lambda key: perceptron(2).init(key)[0])(jax.random.split(jax.random.key(1), 5))
    labels = jnp.stack([TRUTH_TABLES[gate] for gate in gates])
    rates = jnp.array([0.01, 0.03, 0.1, 0.3, 1.0])

    def train(params, labels, rate):
        return perceptron_rule(params, CORNERS, labels, learning_rate=rate, epochs=60)

    together = jax.vmap(train)(params, labels, rates)
    for i in range(5):
        alone = train(jax.tree.map(lambda leaf, i=i: leaf[i], params), labels[i], rates[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_array_equal(a[i], b), together, alone)


def test_one_compiled_program_serves_every_gate_and_rate():
    traces = []

    @jax.jit
    def train(params, labels, rate):
        traces.append(1)
        return perceptron_rule(params, CORNERS, labels, learning_rate=rate)

    for gate, rate in (("AND", 0.1), ("XOR", 0.2)):
        result = train(start(), TRUTH_TABLES[gate], rate)
        expected = perceptron_rule(start(), CORNERS, TRUTH_TABLES[gate], learning_rate=rate)
        assert result.errors.tolist() == expected.errors.tolist()
    assert len(traces) == 1


@pytest.mark.parametrize("gate", TRUTH_TABLES)
def test_hand_set_units_are_the_gates(gate):
    assert threshold_gate(gate, CORNERS).tolist() == TRUTH_TABLES[gate].tolist()
    assert [int(threshold_gate(gate, corner)) for corner in CORNERS] == TRUTH_TABLES[gate].tolist()
    assert threshold_gate(gate, CORNERS.astype(bool)).tolist() == TRUTH_TABLES[gate].tolist()


def test_not_and_a_unit_of_many_inputs():
    assert threshold_gate("NOT", np.array([[0], [1]])).tolist() == [1, 0]
    inputs = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T  # [32, 5]
    np.testing.assert_array_equal(threshold_unit(inputs, np.ones(5), 3), inputs.sum(1) >= 3)


def test_no_single_unit_of_small_weights_is_xor():
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), -1).reshape(-1, 3)
    fired = jax.vmap(lambda w: threshold_unit(CORNERS, w[:2], w[2]))(jnp.asarray(grid))  # [729, 4]
    found = {gate for gate, table in TRUTH_TABLES.items() if (fired == table).all(1).any()}
    assert found == set(HAND_SET) - {"NOT"}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        x = np.asarray(CORNERS, np.float64)
        result = perceptron_rule(start(), x, TRUTH_TABLES["AND"])
        assert result.params["weight"].dtype == jnp.float64
        assert int(result.converged_at) >= 0
