"""`fit` and what belongs to it: history, exact sums, splits, weights, callbacks, signals, and a clean end."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression

from jaxnn import checks, tree
from jaxnn.data import Dataset, from_arrays, split, take
from jaxnn.data.images import load
from jaxnn.initializers import kaiming
from jaxnn.layers import linear, normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.training import (
    FitInterrupted,
    NotFiniteError,
    compiled_init,
    evaluate,
    fit,
    init_train_state,
    predict,
    run_keys,
    train_step,
)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def blobs(size=50, classes=3):
    generator = np.random.default_rng(1)
    labels = generator.integers(0, classes, size).astype(np.int32)
    centres = generator.standard_normal((classes, 4)) * 3
    return Dataset((centres[labels] + generator.standard_normal((size, 4))).astype(np.float32), labels)


def quick(data, **options):
    options = {"epochs": 2, "batch_size": 8, "verbose": False} | options
    return fit(mlp((4, 8, 3), dropout=0.1), softmax_cross_entropy, optax.adam(1e-2), data, **options)


def same_bits(a, b):
    return tree.sha256(a) == tree.sha256(b)


def test_digits_are_learned(digits):
    model = sequential(normalize(0.3053, 0.376), mlp((64, 128, 10), dropout=0.2))
    result = fit(model, softmax_cross_entropy, optax.adam(1e-3), digits.train, epochs=25, verbose=False)
    state = result.train_state
    found = evaluate(model, state.params, state.model_state, digits.test, softmax_cross_entropy, {"accuracy": accuracy})
    flat = digits.train.inputs.reshape(-1, 64), digits.test.inputs.reshape(-1, 64)
    baseline = LogisticRegression(max_iter=2000).fit(flat[0] / 255, digits.train.targets)
    assert found["accuracy"] > baseline.score(flat[1] / 255, digits.test.targets)
    assert found["accuracy"] > 0.96


def test_history_has_the_figures_of_every_epoch():
    data = blobs()
    result = quick(data, validation=data, epochs=3, callback=lambda record, state: None)
    assert [record["epoch"] for record in result.history] == [1, 2, 3]
    assert [record["step"] for record in result.history] == [7, 14, 21]
    assert set(result.history[0]) == {
        *("epoch", "step", "loss", "accuracy", "gradient_norm"),
        *("validation_loss", "validation_accuracy", "seconds", "examples_per_second"),
    }
    assert int(result.train_state.step) == 21
    assert result.compile_seconds > 0
    assert result.train_seconds > 0


def test_learning_rate_is_recorded_where_the_optimizer_names_it():
    schedule = optax.linear_schedule(0.1, 0.0, 14)
    rates = [
        record["learning_rate"]
        for record in fit(
            linear(4, 3),
            softmax_cross_entropy,
            optax.inject_hyperparams(optax.sgd)(schedule),
            blobs(),
            epochs=2,
            batch_size=8,
            verbose=False,
        ).history
    ]
    # The state keeps the rate of the last step done: steps 6 and 13, counted from 0.
    np.testing.assert_allclose(rates, [0.1 * (1 - 6 / 14), 0.1 * (1 - 13 / 14)], rtol=1e-5)


def test_same_seed_same_bits_and_another_seed_others():
    data = blobs()
    first, second, other = quick(data), quick(data), quick(data, seed=1)
    assert same_bits(first.train_state, second.train_state)
    assert not same_bits(first.train_state.params, other.train_state.params)


def test_pace_of_the_pieces_does_not_change_bits(monkeypatch):
    data = blobs()
    reference = quick(data)
    monkeypatch.setattr("jaxnn.training.loop.PIECE_SECONDS", 0.0)  # a piece a step
    pieces = quick(data)
    assert same_bits(reference.train_state, pieces.train_state)
    assert [r["loss"] for r in reference.history] == [r["loss"] for r in pieces.history]


def test_the_callers_arrays_are_not_changed_or_donated():
    data = jax.tree.map(jnp.asarray, blobs())
    params, state = mlp((4, 8, 3), dropout=0.1).init(jax.random.key(0))
    before = tree.sha256((params, state))
    kept = []
    result = quick(data, init=lambda key: (params, state), callback=lambda record, now: kept.append(now))
    assert tree.sha256((params, state)) == before
    assert not same_bits(result.train_state.params, params)
    assert tree.sha256(kept[0]) != tree.sha256(kept[1])  # both still readable


def test_zero_epochs_return_untouched_params():
    result = quick(blobs(), epochs=0)
    expected = init_train_state(compiled_init(mlp((4, 8, 3), dropout=0.1).init), optax.adam(1e-2), run_keys(0).init)
    assert result.history == []
    assert same_bits(result.train_state, expected)


def test_init_can_be_replaced():
    model = mlp((4, 8, 3))
    result = fit(model, softmax_cross_entropy, optax.adam(1e-2), blobs(), epochs=0, init=kaiming(model), verbose=False)
    assert float(jnp.abs(result.train_state.params[1]["bias"]).max()) == 0


def test_batch_larger_than_the_data_is_one_batch():
    result = quick(blobs(size=5), batch_size=64, epochs=3)
    assert int(result.train_state.step) == 3


def test_callback_can_end_the_training():
    result = quick(blobs(), epochs=9, callback=lambda record, state: record["epoch"] == 2)
    assert len(result.history) == 2


def test_validation_split_sets_the_share_aside_and_is_a_function_of_the_seed():
    data = blobs(size=50)
    result = quick(data, validation_split=0.2, epochs=1)
    rest, part = split(data, 0.2, run_keys(0).split)
    assert (rest.size, part.size) == (40, 10)
    explicit = quick(rest, validation=part, epochs=1)
    assert same_bits(result.train_state, explicit.train_state)
    assert result.history[0]["validation_loss"] == explicit.history[0]["validation_loss"]
    rows = np.concatenate([rest.inputs, part.inputs])
    assert np.array_equal(np.sort(rows, axis=0), np.sort(data.inputs, axis=0))


def test_only_the_promised_programs_are_traced():
    """The model is traced for: its first shapes, full batch, short batch, evaluation of full and of short batch."""
    traces = []
    inner = mlp((4, 8, 3))

    def counted(params, state, x, /, *, key=None, train=False):
        if isinstance(jnp.sum(x), jax.core.Tracer):
            traces.append((x.shape[0], train))
        return inner.apply(params, state, x, key=key, train=train)

    data = blobs(size=1050)
    model = inner._replace(apply=counted, parts=())
    fit(model, softmax_cross_entropy, optax.sgd(0.1), data, epochs=3, batch_size=100, validation=data, verbose=False)
    programs = [trace for trace in traces if trace[0] != 1]  # one example: label checks, shapes alone
    assert sorted(programs) == [(50, False), (50, True), (100, True), (100, True), (1000, False)]
    # (100, True) twice: the shapes of the sums are asked for, then the program is traced.


def test_example_weights_equal_repeated_examples():
    data = blobs(size=12)
    counts = np.arange(12) % 3 + 1
    model, optimizer = linear(4, 3), optax.sgd(0.1)
    step = jax.jit(train_step(model, softmax_cross_entropy, optimizer))
    state = init_train_state(model.init, optimizer, jax.random.key(0))
    weighted, _ = step(state, data._replace(weights=counts.astype(np.float32)), jax.random.key(1))
    repeated, _ = step(state, take(data, np.repeat(np.arange(12), counts)), jax.random.key(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), weighted.params, repeated.params)


def test_class_weights_scale_the_training_loss_by_label():
    data = blobs(size=16)
    weights = np.array([1.0, 2.0, 5.0], np.float32)
    by_class = quick(data, class_weights=weights.tolist())
    by_example = quick(data._replace(weights=weights[data.targets]))
    assert same_bits(by_class.train_state, by_example.train_state)
    assert not same_bits(by_class.train_state.params, quick(data).train_state.params)


def test_a_batch_without_weight_changes_nothing_by_sgd():
    data = blobs(size=16)
    weights = np.zeros(16, np.float32)
    weights[0] = 1
    result = fit(
        linear(4, 3), softmax_cross_entropy, optax.sgd(0.1), data._replace(weights=weights),
        epochs=1, batch_size=4, verbose=False,
    )  # fmt: skip
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.train_state.params))


def test_regression_has_no_accuracy():
    data = from_arrays(np.linspace(-1, 1, 20)[:, None], np.linspace(2, 4, 20)[:, None])
    squared_error = lambda predictions, targets: ((predictions - targets) ** 2).mean(-1)  # noqa: E731
    result = fit(linear(1, 1), squared_error, optax.adam(0.1), data, epochs=200, verbose=False)
    assert "accuracy" not in result.history[0]
    np.testing.assert_allclose(result.train_state.params["weight"], [[1.0]], atol=0.01)
    np.testing.assert_allclose(result.train_state.params["bias"], [3.0], atol=0.01)


def test_evaluation_covers_every_example_exactly_once():
    data = blobs(size=53)
    params = linear(4, 3).init(jax.random.key(0))[0]
    whole = evaluate(linear(4, 3), params, (), data, softmax_cross_entropy, {"accuracy": accuracy}, batch_size=53)
    for batch_size in (1, 7, 52, 1000):
        parts = evaluate(
            linear(4, 3), params, (), data, softmax_cross_entropy, {"accuracy": accuracy}, batch_size=batch_size
        )
        assert parts["accuracy"] == whole["accuracy"]
        np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-6)
        logits = predict(linear(4, 3), params, (), data.inputs, batch_size=batch_size)
        np.testing.assert_allclose(logits, data.inputs @ params["weight"] + params["bias"], rtol=1e-5, atol=1e-5)


def test_a_model_is_compiled_for_evaluation_once_and_not_once_a_call():
    traces, inner, data = [], linear(4, 3), blobs(size=20)
    model = inner._replace(apply=lambda *args, **modes: (traces.append(1), inner.apply(*args, **modes))[1])
    params = inner.init(jax.random.key(0))[0]
    counts = []
    for scale in (1.0, 2.0, 3.0):
        logits = predict(model, {name: scale * leaf for name, leaf in params.items()}, (), data.inputs)
        np.testing.assert_allclose(
            logits, scale * (data.inputs @ params["weight"] + params["bias"]), rtol=1e-5, atol=1e-5
        )
        counts.append(len(traces))
    assert counts == [1, 1, 1]
    traces.clear()
    for _ in range(3):
        evaluate(model, params, (), data, softmax_cross_entropy)
        counts.append(len(traces))
    assert counts[3:] == [2, 2, 2]  # once for the shape of the outputs, which tells the classes, and once for the loss


def test_a_loss_without_a_hash_is_evaluated_too():
    class Smoothed:
        __hash__ = None

        def __call__(self, logits, targets):
            return softmax_cross_entropy(logits, targets)

    data, params = blobs(size=20), linear(4, 3).init(jax.random.key(0))[0]
    expected = evaluate(linear(4, 3), params, (), data, softmax_cross_entropy)
    assert evaluate(linear(4, 3), params, (), data, Smoothed()) == expected


def test_a_diverging_run_keeps_the_last_good_parameters():
    data = blobs()
    poisoned = data._replace(inputs=data.inputs.copy())
    poisoned.inputs[11, 2] = np.nan
    with pytest.raises(NotFiniteError, match=r"epoch 1, step \d+ \(inputs\[11\] holds NaN or infinity") as stop:
        quick(poisoned)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stop.value.result.train_state))
    with pytest.raises(NotFiniteError, match="training diverged at learning rate 1e\\+38"):
        fit(
            mlp((4, 8, 3)), softmax_cross_entropy, optax.inject_hyperparams(optax.sgd)(1e38), data,
            epochs=5, verbose=False,
        )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_soon_and_keeps_the_result(number):
    sent = []

    def send_later(record, state):
        if record["epoch"] == 3:
            timer = threading.Timer(0.7, lambda: (sent.append(time.monotonic()), os.kill(os.getpid(), number)))
            timer.start()

    with pytest.raises(FitInterrupted) as stop:
        quick(blobs(size=2000), epochs=10**6, callback=send_later)
    assert time.monotonic() - sent[0] < 5  # half a second on a machine with nothing else to do
    assert stop.value.signal_number == number
    assert int(stop.value.result.train_state.step) > 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_works_outside_of_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(quick(blobs())))
    thread.start()
    thread.join()
    assert same_bits(results[0].train_state, quick(blobs()).train_state)


def test_plain_lines_fit_80_columns(capsys):
    quick(blobs(), verbose=True, validation=blobs(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert max(map(len, lines)) <= 80


def test_metric_names_of_training_are_refused():
    with pytest.raises(ValueError, match="records loss itself"):
        checks.metric_names("fit", {"loss": accuracy})
