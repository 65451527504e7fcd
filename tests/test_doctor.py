"""The doctor: each measurement against one made another way, and whole examinations of sick and of healthy networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import layers, losses
from jaxnn.data import Dataset, take
from jaxnn.data.images import load
from jaxnn.initializers import kaiming
from jaxnn.layers import batch_norm, linear, normalize, sequential
from jaxnn.losses import categorical_cross_entropy, mean_squared_error, softmax_cross_entropy
from jaxnn.models import lstm_classifier, mlp, transformer_classifier
from jaxnn.training import FitResult, TrainState, fit, lr_finder, run_keys
from jaxnn.training import doctor_data as data_checks
from jaxnn.training import doctor_network as network_checks
from jaxnn.training import doctor_trials as trials
from jaxnn.training.doctor import CHECKS, doctor
from jaxnn.training.doctor_findings import Diagnosis, Finding

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((40, 6)).astype(np.float32)
Y = RANDOM.integers(0, 3, 40).astype(np.int32)
MLP = mlp((6, 8, 3))


# Labels


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (Y[:, None], ""),  # in whose words, depends on who looks first: the type checker of the tests, or the loss
        (np.eye(3, dtype=np.int32)[Y], ""),
        (Y.astype(np.float32), ""),
        (Y + 1, "is 3"),
        (Y - 1, "is -1"),
        (np.full((40, 3), np.nan, np.float32), "NaN"),
    ],
)
def test_labels_that_the_loss_does_not_take_are_a_finding(targets, words):
    found = data_checks.labels(MLP, softmax_cross_entropy, *MLP.init(KEY), Dataset(X, targets))
    assert found.outcome == "finding"
    assert words in found.advice
    assert found.advice
    assert f"{[*targets.shape]} for predictions [40, 3]" in found.measured


@pytest.mark.parametrize("targets", [Y, np.eye(3, dtype=np.float32)[Y]])
def test_labels_that_the_loss_takes_are_healthy(targets):
    assert data_checks.labels(MLP, softmax_cross_entropy, *MLP.init(KEY), Dataset(X, targets)).outcome == "healthy"


def test_a_loss_that_broadcasts_is_a_finding():
    def squared(predictions, targets):
        return (predictions[:, 0] - targets) ** 2  # [40] - [40, 1]

    model = linear(6, 1)
    found = data_checks.labels(model, squared, *model.init(KEY), Dataset(X, Y[:, None].astype(np.float32)))
    assert found.outcome == "finding"
    assert "one value per example" in found.advice


# Classes


def test_the_balance_is_judged_half_way_between_even_and_all():
    def judged(*counts):
        return data_checks.balance(len(counts), np.repeat(np.arange(len(counts)), counts))

    assert judged(76, 24).outcome == "finding"  # (1 + 1/2) / 2
    assert judged(74, 26).outcome == "healthy"
    assert judged(64, 18, 18).outcome == "healthy"
    assert judged(68, 16, 16).outcome == "finding"  # (1 + 1/3) / 2
    assert judged(68, 16, 16).value == 0.68
    rare = judged(79, 1060, 1126, 1092, 739, 811)  # TREC: 79 are less than a tenth of 4907 / 6
    assert rare.outcome == "note"
    assert "class 0 is rare" in rare.advice
    assert judged(5, 5, 0).outcome == "note"
    assert data_checks.balance(None, X).outcome == "not examined"


# Overlap


def test_copies_are_counted_bit_for_bit():
    train, test = np.arange(20.0).reshape(10, 2), np.arange(12.0, 32).reshape(10, 2)  # rows 12..19 are in both
    found = data_checks.overlap(Dataset(train, Y[:10]), {"test": Dataset(test, Y[:10]), "validation": None})
    assert found.value == np.mean([any((row == other).all() for other in train) for row in test]) == 0.4
    assert found.outcome == "finding"
    few = data_checks.overlap(Dataset(train, Y[:10]), {"test": Dataset(np.concatenate([test[4:]] * 3 + [test[:1]]), Y)})
    assert (few.value, few.outcome) == (1 / 19, "note")
    assert data_checks.overlap(Dataset(train, Y[:10]), {"test": Dataset(test + 0.5, Y[:10])}).outcome == "healthy"
    assert data_checks.overlap(Dataset(train, Y[:10]), {"test": None}).outcome == "not examined"


def test_texts_with_unknown_words_are_not_compared():
    train = np.array([[5, 1, 0], [5, 6, 7]], np.int32)
    test = np.array([[5, 1, 0], [5, 6, 7], [8, 9, 7]], np.int32)
    found = data_checks.overlap(Dataset(train, Y[:2]), {"test": Dataset(test, Y[:3])})
    assert found.value == 0.5  # of the two without the unknown word
    pixels = data_checks.overlap(Dataset(train.astype(np.uint8), Y), {"test": Dataset(test.astype(np.uint8), Y)})
    assert pixels.value == 2 / 3


# The scale of the inputs


def test_the_scale_is_measured_at_the_first_weights():
    def measured(model, x):
        return data_checks.scale(model, *model.init(KEY), x, KEY)

    wide = X * np.array([1, 1, 1, 1, 1, 300], np.float32)
    found = measured(MLP, wide)
    assert found.outcome == "finding"
    assert found.value == pytest.approx(np.sqrt((wide.astype(np.float64) ** 2).mean(0)).max(), rel=1e-6)
    assert measured(MLP, X).outcome == "healthy"
    assert measured(MLP, X / 100).outcome == "finding"
    assert measured(sequential(batch_norm(6), MLP), wide).outcome == "healthy"
    pixels = RANDOM.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    dense = mlp((16, 3))
    assert measured(sequential(normalize(0.5, 0.29), dense), pixels).outcome == "healthy"
    assert measured(sequential(lambda x: x.astype(jnp.float32), dense), pixels).outcome == "finding"
    assert measured(sequential(lambda x: x.astype(jnp.float32) / 255, dense), pixels).outcome == "healthy"
    tokens = lstm_classifier(4, 5, 1, 3, vocabulary_size=9)
    assert measured(tokens, np.ones((4, 3), np.int32)).outcome == "not examined"
    holed = X.copy()
    holed[7:9, 2] = np.nan
    assert "inputs[7]" in data_checks.holes(holed).advice
    assert data_checks.holes(holed).value == 2
    assert data_checks.holes(X) is None


# Softmax twice, and the loss at the start


@pytest.mark.parametrize(
    ("end", "loss", "outcome"),
    [
        ((), softmax_cross_entropy, "healthy"),
        ((jax.nn.softmax,), softmax_cross_entropy, "finding"),
        ((jax.nn.softmax,), partial(softmax_cross_entropy, label_smoothing=0.1), "finding"),
        ((jax.nn.softmax,), categorical_cross_entropy, "healthy"),
        ((jax.nn.sigmoid,), softmax_cross_entropy, "healthy"),
    ],
)
def test_softmax_is_found_twice_and_only_then(end, loss, outcome):
    model = sequential(MLP, *end)
    outputs, _ = model.apply(*model.init(KEY), X)
    assert network_checks.doubled_softmax(outputs, loss, Y).outcome == outcome


def test_the_loss_at_the_start_is_compared_with_that_of_a_constant():
    outputs = RANDOM.standard_normal((40, 3)).astype(np.float32)
    found = network_checks.start_loss(outputs, softmax_cross_entropy, Y)
    log_p = outputs - np.log(np.exp(outputs.astype(np.float64)).sum(1, keepdims=True))
    assert found.value == pytest.approx(-log_p[np.arange(40), Y].mean() / np.log(3), rel=1e-5)
    assert found.outcome == "healthy"
    assert network_checks.start_loss(10 * outputs, softmax_cross_entropy, Y).outcome == "finding"
    assert network_checks.start_loss(jnp.eye(3)[Y] * 5, softmax_cross_entropy, Y).outcome == "finding"
    assert network_checks.start_loss(outputs * np.nan, softmax_cross_entropy, Y).outcome == "finding"
    probabilities = jax.nn.softmax(outputs)
    assert network_checks.start_loss(probabilities, categorical_cross_entropy, Y).outcome == "healthy"


def test_hes_initialisation_is_no_finding():
    model = mlp((100, 200, 200, 10))
    x, y = RANDOM.standard_normal((300, 100)).astype(np.float32), RANDOM.integers(0, 10, 300)
    outputs, _ = model.apply(*kaiming(model)(KEY), x)
    assert network_checks.start_loss(outputs, softmax_cross_entropy, y).outcome == "healthy"


def test_targets_that_were_not_scaled_show_at_the_start():
    targets = RANDOM.normal(200, 3, (40, 1)).astype(np.float32)
    found = network_checks.start_loss(np.zeros((40, 1), np.float32), mean_squared_error, targets)
    assert found.outcome == "finding"
    assert found.value == pytest.approx(
        (targets.astype(np.float64) ** 2).mean() / targets.var(dtype=np.float64), rel=1e-3
    )


# Units


def test_dead_units_are_counted():
    model = mlp((6, 20, 20, 3))
    params, state = model.init(KEY)
    params[1]["bias"] = params[1]["bias"].at[:17].set(-50.0)
    found = network_checks.dead_units(model, params, state, X)
    hidden = np.maximum(X @ np.asarray(params[1]["weight"]) + np.asarray(params[1]["bias"]), 0)
    assert found.value == pytest.approx((hidden.max(0) == 0).mean()) == 0.85
    assert (found.outcome, found.measured) == ("finding", "85 % in layer 2 (relu)")
    assert network_checks.dead_units(model, *model.init(KEY), X).value < 0.4


def test_dead_units_of_an_lstm_and_of_a_hidden_inside():
    model = lstm_classifier(6, 8, 1, 3)
    params, state = model.init(KEY)
    x = X[:, None] * np.ones((1, 3, 1), np.float32)
    assert network_checks.dead_units(model, params, state, x).value == 0
    params[0][0]["input_bias"] = jnp.full(32, -12.0)
    assert network_checks.dead_units(model, params, state, x).value == 1
    tokens = lstm_classifier(4, 5, 1, 3, vocabulary_size=9, pad_id=0)  # has no parts
    assert network_checks.dead_units(tokens, *tokens.init(KEY), np.ones((2, 3), int)).outcome == "not examined"
    assert network_checks.dead_units(linear(6, 3), *linear(6, 3).init(KEY), X).outcome == "not examined"


def test_statistics_that_were_not_carried_show_in_evaluation_mode():
    model, shifted = sequential(batch_norm(6), linear(6, 3)), X * 0.1 + 5
    params, state = model.init(KEY)
    weight = np.zeros((6, 3), np.float32)
    weight[:3] = np.eye(3)
    params[1]["weight"], params[1]["bias"] = jnp.asarray(weight), jnp.zeros(3)
    data = Dataset(shifted, X[:, :3].argmax(1))
    statistics = ({"mean": jnp.asarray(shifted.mean(0)), "variance": jnp.asarray(shifted.var(0))}, ())
    moved = network_checks.modes(model, params, statistics, state, data, KEY)
    assert (moved.outcome, moved.value) == ("healthy", 0.0)
    # Statistics of 0 and 1 leave the order of the outputs; of unequal features they do not.
    wrong = ({"mean": jnp.array([0.0, 5.0, 5.0, 5.0, 5.0, 5.0]), "variance": jnp.ones(6)}, ())
    stale = network_checks.modes(model, params, wrong, wrong, data, KEY)
    assert stale.outcome == "finding"
    assert "those of the start" in stale.advice
    moved = network_checks.modes(model, params, wrong, state, data, KEY)
    assert (moved.outcome, moved.value > 0.5) == ("finding", True)
    assert "those of the start" not in moved.advice
    unmoved = network_checks.modes(model, params, statistics, statistics, data, KEY)
    assert (unmoved.outcome, unmoved.value) == ("finding", 0.0)


def test_strong_dropout_is_a_note():
    model = sequential(layers.dropout(0.9), linear(6, 3))
    params = ((), {"weight": jnp.eye(6)[:, :3], "bias": jnp.zeros(3)})
    found = network_checks.modes(model, params, ((), ()), ((), ()), Dataset(X, X[:, :3].argmax(1)), KEY)
    assert found.outcome == "note"
    assert found.value < -0.1


# Order


def test_what_cannot_tell_orders_apart_is_found():
    tokens = RANDOM.integers(2, 9, (20, 7)).astype(np.int32)
    tokens[:5, 4:] = 0

    def judged(model, x, change=lambda params: params):
        params, state = model.init(KEY)
        return network_checks.blind_to_order(model, change(params), state, x, KEY)

    def without_positions(params):
        return params | {"positions": {"positions": jnp.zeros_like(params["positions"]["positions"])}}

    transformer = transformer_classifier(9, 8, 2, 1, 3, dim_feedforward=8, max_length=7, pad_id=0)
    assert judged(transformer, tokens).outcome == "healthy"
    blind = judged(transformer, tokens, without_positions)
    assert blind.outcome == "finding"
    assert blind.value < 1e-5
    assert judged(lstm_classifier(4, 5, 1, 3, vocabulary_size=9, pad_id=0), tokens).outcome == "healthy"
    bag = sequential(layers.embedding(9, 4), lambda x: x.mean(1), linear(4, 3))
    assert judged(bag, tokens).outcome == "finding"
    assert judged(MLP, X).outcome == "not examined"


def test_padding_keeps_its_place_and_every_token_is_kept():
    tokens = RANDOM.integers(1, 9, (30, 8)) * RANDOM.integers(0, 2, (30, 8))  # padding anywhere
    shuffled = network_checks.reordered(tokens, np.random.default_rng(1))
    np.testing.assert_array_equal(shuffled == 0, tokens == 0)
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(tokens, 1))
    assert (shuffled != tokens).any()
    steps = RANDOM.standard_normal((5, 6, 2))
    moved = network_checks.reordered(steps, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(moved[..., 0], 1), np.sort(steps[..., 0], 1))
    assert {tuple(row) for row in moved[0]} == {tuple(row) for row in steps[0]}


def stripes(size: int) -> Dataset:
    """Make images of upright or of lying stripes at random places: only what is next to what tells them apart."""
    random = np.random.default_rng(3)
    lying = random.integers(0, 2, size)
    lines = np.repeat(random.standard_normal((size, 6, 1)), 6, 2)
    images = np.where(lying[:, None, None], lines, lines.transpose(0, 2, 1)) + 0.1 * random.standard_normal(
        (size, 6, 6)
    )
    return Dataset(images[..., None].astype(np.float32), lying.astype(np.int32))


def steepness(x):
    """Compute the mean differences between neighbours, [B, H, W, 1] -> [B, 2]."""
    return jnp.stack([jnp.abs(jnp.diff(x[..., 0], axis=axis)).mean((1, 2)) for axis in (1, 2)], -1)


@pytest.mark.parametrize(
    ("model", "outcomes"),
    [(sequential(steepness, linear(2, 2)), {"healthy"}), (mlp((36, 2)), {"not examined", "note", "finding"})],
)
def test_a_shuffle_of_the_pixels_costs_what_knows_neighbours(model, outcomes):
    data = stripes(600)
    parts = take(data, np.arange(400)), take(data, np.arange(400, 600))
    optimizer, keys = optax.adam(0.03), run_keys(0)
    found = trials.order_of_pixels(
        model, softmax_cross_entropy, optimizer, *model.init(KEY), *parts, batch_size=50, keys=keys
    )
    assert found.outcome in outcomes, found
    if found.outcome == "healthy":
        assert found.value > 0.3


def test_one_order_for_all_images():
    images = RANDOM.standard_normal((4, 3, 2, 5))
    order = RANDOM.permutation(6)
    shuffled = trials.shuffled(images, order)
    for n in range(4):
        for place in range(6):
            np.testing.assert_array_equal(
                shuffled[n, place // 2, place % 2], images[n, order[place] // 2, order[place] % 2]
            )


# Training


def test_the_rate_is_judged_by_the_finder():
    model, data = mlp((6, 8, 3)), Dataset(X, X[:, :3].argmax(1).astype(np.int32))
    options = {"batch_size": 8, "init": None, "seed": 0}
    for rate, outcome, word in ((1e-7, "finding", "too low"), (50.0, "finding", "too high")):
        found, better = trials.rates(model, softmax_cross_entropy, optax.adam, data, rate, **options)
        assert (found.outcome, word in found.advice) == (outcome, True), found
        assert better in trials.DECADES
    known = lr_finder(
        model, softmax_cross_entropy, optax.adam, data, rates=[*trials.DECADES, 50.0], steps=60, batch_size=8
    )
    drops = known.start - known.final
    assert found.value == pytest.approx(max(float(drops[-1] / drops.max()), -1.0), rel=1e-5)
    found, better = trials.rates(model, softmax_cross_entropy, optax.adam, data, None, **options)
    assert found.outcome == "not examined"
    assert f"{better:g} is a good one" in found.advice


def test_what_cannot_learn_does_not_learn_a_batch_by_heart():
    params, state = MLP.init(KEY)
    data, keys = Dataset(X, Y), run_keys(0)
    judged = partial(trials.one_batch, MLP, softmax_cross_entropy, optax.adam(0.03))
    assert judged(params, state, data, keys).value == 1.0
    alike = judged(jax.tree.map(jnp.zeros_like, params), state, data, keys)
    assert alike.outcome == "finding"
    assert alike.value == pytest.approx(np.bincount(Y).max() / 40, abs=0.15)  # the most frequent class of the batch
    line = Dataset(X, X @ np.ones((6, 1), np.float32))
    model = linear(6, 1)
    judged = trials.one_batch(model, mean_squared_error, optax.adam(0.1), *model.init(KEY), line, keys)
    assert (judged.outcome, judged.value < 0.01) == ("healthy", True)


def history(*losses_of_epochs):
    return FitResult(None, [{"validation_loss": value} for value in losses_of_epochs], 0.0, 0.0)


def test_a_gap_is_a_mistake_where_a_cure_was_left_out():
    def judged(trained, training, validation, loss):
        return network_checks.generalisation(trained, {"accuracy": training}, {"accuracy": validation, "loss": loss})

    late = judged(history(0.5, 0.4, 0.7), 1.0, 0.9, 0.7)
    assert late.outcome == "finding"
    assert "stop at epoch 2" in late.advice
    assert judged(history(0.5, 0.4, 0.7), 1.0, 0.9, 0.4).outcome == "note"  # the best epoch was restored
    assert judged(history(0.5, 0.4, 0.7), 1.0, 0.97, 0.7).outcome == "healthy"
    assert judged(history(0.5, 0.4, 0.7)._replace(best_epoch=3), 1.0, 0.9, 0.7).outcome == "note"
    assert judged(TrainState((), (), (), jnp.int32(0)), 1.0, 0.9, 0.5).outcome == "finding"  # nobody knows
    assert network_checks.generalisation(None, {"accuracy": 1.0}, None).outcome == "not examined"


def test_monitoring_counts_the_validated_epochs():
    assert network_checks.monitoring(history(0.5, 0.4)).outcome == "healthy"
    assert network_checks.monitoring(FitResult(None, [{"loss": 1.0}], 0.0, 0.0)).outcome == "finding"
    assert network_checks.monitoring(TrainState((), (), (), jnp.int32(0))).outcome == "not examined"


# The whole


def found(diagnosis, outcome="finding"):
    return [finding.check for finding in diagnosis.having(outcome)]


@pytest.fixture(scope="module", name="digits")
def _digits():
    data = load("digits").train
    order = np.random.default_rng(0).permutation(data.size)
    return take(data, order[:800]), take(data, order[800:1000]), take(data, order[1000:1200])


def read_only(*parts):
    for part in parts:
        for field in part[:2]:
            field.flags.writeable = False
    return parts


def test_a_healthy_network_has_no_finding(digits):
    train, validation, test = read_only(*digits)
    model = sequential(normalize(0.3053, 0.376), mlp((64, 64, 10), dropout=0.2))
    result = fit(
        *(model, softmax_cross_entropy, optax.adam(3e-3), train),
        epochs=15,
        validation=validation,
        verbose=False,
    )
    before = jax.tree.map(np.array, result.train_state)
    diagnosis = doctor(model, train, learning_rate=3e-3, trained=result, validation=validation, test=test)
    assert tuple(finding.check for finding in diagnosis.findings) == CHECKS
    assert found(diagnosis) == []
    assert found(diagnosis, "note") == ["order of the pixels"]
    assert found(diagnosis, "not examined") == []
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, result.train_state))


@pytest.mark.slow
def test_the_same_seed_says_the_same():
    (data,) = read_only(Dataset(X.copy(), Y.copy()))
    first, again, other = (doctor(linear(6, 3), data, batch_size=8, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert [finding.value for finding in first.findings] != [finding.value for finding in other.findings]


@pytest.mark.slow
def test_several_mistakes_at_once_are_all_found(digits):
    train = digits[0]
    uneven = take(train, np.flatnonzero((train.targets == 3) | (np.arange(train.size) < 40)))
    raw = sequential(lambda x: x.astype(jnp.float32), mlp((64, 32, 10)), jax.nn.softmax)
    diagnosis = doctor(raw, uneven, learning_rate=1.0, make_optimizer=optax.sgd, validation=uneven, seed=1)
    assert {"classes", "overlap", "inputs", "softmax"} <= set(found(diagnosis))
    assert {"training mode", "generalisation", "monitoring"} == {
        check for check in found(diagnosis, "not examined") if "order" not in check
    }


def test_labels_that_do_not_fit_end_the_examination_of_training(digits):
    train, _, _ = digits
    diagnosis = doctor(mlp((64, 10)), Dataset(train.inputs.astype(np.float32) / 255, train.targets[:, None]))
    assert found(diagnosis) == ["labels"]
    assert all("mend the labels" in f.advice for f in diagnosis.findings if f.check in ("one batch", "learning rate"))


@pytest.mark.slow
def test_regression_is_examined_as_far_as_it_goes():
    model = mlp((6, 16, 1))
    data = Dataset(X, np.tanh(X @ RANDOM.standard_normal((6, 1)).astype(np.float32)))
    result = fit(model, losses.mean_squared_error, optax.adam(0.01), data, epochs=3, validation=data, verbose=False)
    diagnosis = doctor(model, data, loss=mean_squared_error, learning_rate=0.01, trained=result, batch_size=8)
    assert found(diagnosis) == []
    assert {"labels", "inputs", "loss at the start", "learning rate", "one batch"} <= set(found(diagnosis, "healthy"))


def test_the_text_is_a_table_with_the_advice_below():
    healthy = Finding("inputs", "healthy", 1.0, "root mean square 1", "0.05 to 5", "")
    ill = Finding("softmax", "finding", 0.0, "rows of outputs add up to 1 " * 4, "logits", "take it off " * 20)
    text = repr(Diagnosis("mlp((2, 2))", 1234, (healthy, ill))).splitlines()
    assert text[0] == "mlp((2, 2)), 1,234 examples: 1 finding, 1 healthy"
    assert max(map(len, text)) <= 100
    assert text[1].split() == ["check", "outcome", "measured", "healthy"]
    assert text[3].split()[:2] == ["inputs", "healthy"]
    assert [line for line in text if line.startswith("softmax (finding): take it off")]
    assert not [line for line in text if line.startswith("inputs (")]
