"""The epoch program: every example once, cut anywhere to the same bits, and a bad step that changes nothing."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.training import epoch_order, epoch_program, init_train_state, no_progress, run_keys, train_step
from jaxnn.training.order import host_order

SIZE, BATCH = 40, 4
KEYS = run_keys(7)
MODEL = mlp((6, 8, 3), batch_norm=True, dropout=0.3)
# Not Adam: the bias before batch norm has the gradient 0, and Adam makes whole steps of its rounding.
OPTIMIZER = optax.sgd(0.05, momentum=0.9)
STEP = train_step(MODEL, softmax_cross_entropy, OPTIMIZER, {"accuracy": accuracy})
RUN = jax.jit(epoch_program(STEP))


def dataset(inputs=None):
    generator = np.random.default_rng(0)
    features = generator.standard_normal((SIZE, 6), np.float32)
    return Dataset(features if inputs is None else inputs, generator.integers(0, 3, SIZE).astype(np.int32))


def start(data):
    state = init_train_state(MODEL.init, OPTIMIZER, KEYS.init)
    batch = jax.tree.map(lambda field: field[:BATCH], data)
    return state, no_progress(STEP, state, batch, KEYS.step)


def order_of(epoch):
    return epoch_order(KEYS.order, epoch, size=SIZE, batch_size=BATCH)[0]


def run_in_pieces(cuts):
    data = dataset()
    state, progress = start(data)
    for first, last in zip([0, *cuts], [*cuts, SIZE // BATCH], strict=True):
        state, progress = RUN(state, progress, data, order_of(0), KEYS, first, last)
    return jax.device_get((state, progress))


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 1625, 1626, 40_000, pytest.param(2_700_000, marks=pytest.mark.slow)])
def test_the_order_of_the_host_is_that_of_jax(size):  # which sorts once, twice, and three times from 2.6 million on
    key = jax.random.key(2**31 + 5)
    for epoch in (3, jnp.int32(3), jnp.int32(-2)):
        expected = jax.random.permutation(jax.random.fold_in(key, epoch), size)
        np.testing.assert_array_equal(host_order(key, epoch, size), expected)


@pytest.mark.parametrize("kind", ["rbg", "threefry4x32", "philox2x32", "not partitionable"])
def test_the_order_of_the_host_is_that_of_jax_for_other_keys(kind):
    try:
        key = jax.random.key(5, impl=None if kind == "not partitionable" else kind)
    except ValueError:
        pytest.skip("this JAX has no such keys")
    if kind == "not partitionable" and not hasattr(jax, "threefry_partitionable"):
        pytest.skip("this JAX has one form of Threefry")
    with jax.threefry_partitionable(False) if kind == "not partitionable" else contextlib.nullcontext():
        expected = jax.random.permutation(jax.random.fold_in(key, 3), 100)
        np.testing.assert_array_equal(host_order(key, 3, 100), expected)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 300), batch_size=st.integers(1, 70), epoch=st.integers(0, 5))
def test_an_epoch_sees_every_example_exactly_once(size, batch_size, epoch):
    batch_size = min(batch_size, size)
    full, short = epoch_order(KEYS.order, epoch, size=size, batch_size=batch_size)
    compiled = jax.jit(partial(epoch_order, size=size, batch_size=batch_size))(KEYS.order, epoch)
    for on_the_host, on_the_device in zip((full, short), compiled, strict=True):
        np.testing.assert_array_equal(on_the_host, on_the_device)
    assert full.shape == (size // batch_size, batch_size)
    assert short.shape == (1, size % batch_size)
    assert sorted([*np.ravel(full).tolist(), *np.ravel(short).tolist()]) == list(range(size))


def test_an_order_is_drawn_inside_of_a_program_too():
    """With a key that the program closes over; and the one of the host can be indexed by what a program counts."""
    order, _ = epoch_order(KEYS.order, 1, size=SIZE, batch_size=BATCH)
    drawn = jax.jit(lambda i: epoch_order(KEYS.order, 1, size=SIZE, batch_size=BATCH)[0][i])
    for i in range(3):
        np.testing.assert_array_equal(drawn(i), jax.jit(lambda i: order[i])(i))


def test_each_epoch_has_an_order_of_its_own():
    assert not np.array_equal(order_of(0), order_of(1))
    np.testing.assert_array_equal(order_of(1), order_of(1))


@pytest.mark.parametrize("cut", range(1, SIZE // BATCH))
def test_cut_at_every_step_gives_the_same_bits(cut):
    assert_same_bits(run_in_pieces([cut]), run_in_pieces([]))


def test_cut_at_all_steps_at_once_gives_the_same_bits():
    assert_same_bits(run_in_pieces(range(1, SIZE // BATCH)), run_in_pieces([]))


def test_the_program_equals_single_steps_by_hand():
    data, order = dataset(), order_of(0)
    state, _ = start(data)
    step, losses = jax.jit(STEP), []
    for rows in order:
        batch = Dataset(data.inputs[rows], data.targets[rows])
        state, totals = step(state, batch, jax.random.fold_in(KEYS.step, state.step))
        losses.append(totals["loss"])
    whole, progress = run_in_pieces([])
    # The loop is another program, so XLA may fuse and round otherwise.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), jax.device_get(state), whole)
    np.testing.assert_allclose(sum(float(total) for total, _ in losses), progress.totals["loss"][0], rtol=1e-5)
    assert float(progress.totals["loss"][1]) == SIZE


@pytest.mark.parametrize("bad_row", [0, 17])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_and_ends_the_run(bad_row, value):
    good = dataset()
    inputs = good.inputs.copy()
    inputs[bad_row] = value
    order = order_of(0)
    bad_step = int(np.argwhere(np.asarray(order) == bad_row)[0][0])
    state, progress = start(good)
    poisoned = RUN(state, progress, dataset(inputs), order, KEYS, 0, SIZE // BATCH)
    reference = RUN(state, progress, good, order, KEYS, 0, bad_step)
    assert int(poisoned[1].failed_step) == bad_step == int(poisoned[0].step)
    assert int(reference[1].failed_step) == -1
    assert_same_bits(jax.device_get(poisoned[0]), jax.device_get(reference[0]))
    assert_same_bits(jax.device_get(poisoned[1].totals), jax.device_get(reference[1].totals))


def test_bounds_do_not_compile_again():
    data = dataset()
    traces = []

    def counted(params, state, x, /, *, key=None, train=False):
        traces.append(1)
        return MODEL.apply(params, state, x, key=key, train=train)

    step = train_step(MODEL._replace(apply=counted, parts=()), softmax_cross_entropy, OPTIMIZER)
    state = init_train_state(MODEL.init, OPTIMIZER, KEYS.init)
    progress = no_progress(step, state, jax.tree.map(lambda field: field[:BATCH], data), KEYS.step)
    run = jax.jit(epoch_program(step))
    traces.clear()
    for first, last in ((0, 1), (1, 4), (4, 10), (0, 0)):
        run(state, progress, data, order_of(0), KEYS, jnp.int32(first), jnp.int32(last))
    assert run._cache_size() == 1
    assert len(traces) == 1


def test_a_start_is_one_program_and_its_arrays_are_new():
    """Twice the shapes do not compile more programs, and nothing is shared with what init returned."""
    drawn = mlp((6, 9, 11, 3)).init(KEYS.init)
    jax.jit(jnp.zeros_like)(0.0)  # what a first program sets up
    compiled = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        optimizer = optax.adam(0.1)
        state = init_train_state(lambda key: drawn, optimizer, KEYS.init)
        first = len(compiled)
        init_train_state(lambda key: drawn, optimizer, KEYS.init)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert first == len(compiled) == 1  # and none for the second start with this optimizer
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((drawn, state))]
    assert len(set(places)) == len(places)
