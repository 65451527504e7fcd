"""Early stopping: the guide's class, written out here, decides when; the best epoch's parameters are the result."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import early_stopping, evaluate, fit
from jaxnn.training.early_stopping import metric_of, no_best, should_stop, update_best


class Guide:
    """The guide's EarlyStopping, line by line."""

    def __init__(self, patience=7, min_delta=0):
        self.patience = patience
        self.min_delta = min_delta
        self.counter = 0
        self.best_loss = None
        self.early_stop = False

    def __call__(self, val_loss):
        if self.best_loss is None:
            self.best_loss = val_loss
        elif val_loss > self.best_loss - self.min_delta:
            self.counter += 1
            if self.counter >= self.patience:
                self.early_stop = True
        else:
            self.best_loss = val_loss
            self.counter = 0


def followed(rule, values):
    """Give a rule the values of epochs 1, 2, ...; return what it knew after each, until it stops."""
    best, known = no_best({"epoch": 0}, ()), []
    for epoch, value in enumerate(values, start=1):
        best = update_best(rule, best, value, epoch, {"epoch": epoch}, ())
        known.append(best)
        if should_stop(rule, best):
            break
    return known


@pytest.mark.parametrize("patience", [1, 2, 7])
@pytest.mark.parametrize("min_delta", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(10))
def test_stops_where_the_guides_class_stops(patience, min_delta, seed):
    # A falling curve with noise, rounded so that ties and values exactly min_delta better occur.
    generator = np.random.default_rng(seed)
    values = np.round(2 / np.arange(1, 41) ** 0.5 + generator.normal(0, 0.1, 40), 1).tolist()
    guide, expected = Guide(patience, min_delta), []
    for value in values:
        guide(value)
        expected.append((guide.best_loss, guide.counter))
        if guide.early_stop:
            break
    known = followed(early_stopping(patience=patience, min_delta=min_delta), values)
    assert [(best.value, best.waited) for best in known] == expected
    assert known[-1].params == {"epoch": known[-1].epoch}
    assert values[known[-1].epoch - 1] == known[-1].value
    largest = early_stopping(patience=patience, min_delta=min_delta, maximize=True)
    mirrored = followed(largest, [-value for value in values])
    assert [(-best.value, best.waited) for best in mirrored] == expected


def test_a_tie_is_better_and_a_gain_below_min_delta_is_not():
    assert [best.epoch for best in followed(early_stopping(), [0.5, 0.5, 0.5])] == [1, 2, 3]
    assert [best.epoch for best in followed(early_stopping(min_delta=0.25), [1.0, 0.76, 0.75, 0.51])] == [1, 1, 3, 3]


def test_nan_is_never_better_and_is_waited_for():
    nan = float("nan")
    known = followed(early_stopping(patience=3), [nan, nan, 0.5, nan, 0.4, nan, nan, nan, 0.1])
    assert [best.epoch for best in known] == [0, 0, 3, 3, 5, 5, 5, 5]
    assert [best.waited for best in known] == [1, 2, 0, 1, 0, 1, 2, 3]
    assert len(followed(early_stopping(patience=2), [nan] * 9)) == 2


def test_a_metric_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="watches validation_loss, but the record of an epoch has only loss, accuracy"):
        metric_of(early_stopping(), {"loss": 0.5, "accuracy": 1.0})


def overfitted(**options):
    """Fit 6 examples of noise, whose validation loss on other noise gets worse and worse."""
    generator = np.random.default_rng(3)

    def noise(size):
        inputs, labels = generator.standard_normal((size, 20)), generator.integers(0, 2, size)
        return Dataset(inputs.astype(np.float32), labels.astype(np.int32))

    data, validation = noise(6), noise(40)
    kept = []
    result = fit(
        *(linear(20, 2), softmax_cross_entropy, optax.sgd(0.5), data),
        **{"epochs": 40, "validation": validation, "verbose": False},
        callback=lambda record, state: kept.append(state),
        **options,
    )
    return result, kept, validation


def test_fit_ends_by_the_rule_and_returns_the_best_epoch():
    result, kept, validation = overfitted(early_stopping=early_stopping(patience=3))
    losses = [record["validation_loss"] for record in result.history]
    guide = Guide(patience=3)
    stopped = next(epoch for epoch, loss in enumerate(losses, start=1) if guide(loss) or guide.early_stop)
    assert len(losses) == stopped < 40
    assert result.best_epoch == 1 + int(np.argmin(losses)) == stopped - 3
    best = kept[stopped - 4]
    assert tree.sha256(result.train_state[:2]) == tree.sha256(best[:2])
    assert tree.sha256(result.train_state.opt_state) == tree.sha256(kept[-1].opt_state)
    state = result.train_state
    found = evaluate(linear(20, 2), state.params, state.model_state, validation, softmax_cross_entropy)
    assert found["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_the_guide_keeps_the_last_parameters_and_so_does_restore_best_false():
    result, kept, _ = overfitted(early_stopping=early_stopping(patience=3, restore_best=False))
    assert result.best_epoch is None
    assert tree.sha256(result.train_state) == tree.sha256(kept[-1])


def test_the_best_epoch_counts_where_something_else_ended_the_training():
    result, kept, _ = overfitted(early_stopping=early_stopping("validation_accuracy", patience=100, maximize=True))
    accuracies = [record["validation_accuracy"] for record in result.history]
    assert len(accuracies) == 40
    best = 40 - int(np.argmax(accuracies[::-1]))  # the last of those that are equal
    assert result.best_epoch == best
    assert tree.sha256(result.train_state.params) == tree.sha256(kept[best - 1].params)


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -0.1}, {"min_delta": float("nan")}])
def test_rules_that_are_none(options):
    with pytest.raises(ValueError, match=f"early_stopping expected {next(iter(options))}"):
        early_stopping(**options)


def test_fit_refuses_a_rule_for_what_it_does_not_measure():
    data = Dataset(jnp.ones((4, 2)), jnp.zeros(4, jnp.int32))
    run = partial(fit, linear(2, 2), softmax_cross_entropy, optax.sgd(0.1), data, epochs=1)
    with pytest.raises(ValueError, match=r"watches validation_loss, .* accuracy, loss: give validation"):
        run(early_stopping=early_stopping(), verbose=False)
    with pytest.raises(ValueError, match=r"watches validation_f1, but fit measures .*validation_accuracy"):
        run(early_stopping=early_stopping("validation_f1"), validation=data, verbose=False)
