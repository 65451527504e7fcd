"""Programs called by a thread a core give what one thread gives, and the context of the caller holds."""

import platform
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.data import Dataset
from jaxnn.layers import linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.training import epoch, evaluate, evaluation, fit, machine, predict
from jaxnn.types import Layer

X = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(evaluation, "cores", lambda: 4)


def recorded(threads):
    """Make a program that notes which thread calls it."""

    def program(x):
        threads.add(threading.current_thread())
        return jnp.sin(x)

    return program


@pytest.mark.parametrize("calls", [1, 2, 3, 40])
def test_results_are_those_of_one_thread_in_order(four_cores, calls):
    given = [X[i] for i in range(calls)]
    threads = set()
    results = machine.on_each_core(recorded(threads), given)
    np.testing.assert_array_equal(results, [np.asarray(jnp.sin(x)) for x in given])
    assert (len(threads) > 1) == (calls > 2)
    assert all(isinstance(result, np.ndarray) for result in results)


def test_prediction_is_the_same_to_the_bit(four_cores, monkeypatch):
    layer = linear(5, 3)
    params, state = layer.init(jax.random.key(0))
    many = predict(layer, params, state, X, batch_size=4)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    monkeypatch.setattr(evaluation, "cores", lambda: 1)
    np.testing.assert_array_equal(many, predict(layer, params, state, X, batch_size=4))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 35, 69, 70, 100])
@pytest.mark.parametrize("on_device", [False, True])
def test_every_example_is_predicted_once_in_order(four_cores, batch_size, on_device):
    layer = linear(5, 3)
    params, state = layer.init(jax.random.key(0))
    outputs = predict(layer, params, state, jnp.asarray(X) if on_device else X, batch_size=batch_size)
    np.testing.assert_allclose(outputs, X @ params["weight"] + params["bias"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 35, 100])
def test_every_example_is_evaluated_once(four_cores, batch_size):
    layer = linear(5, 3)
    params, state = layer.init(jax.random.key(0))
    targets = np.random.default_rng(1).integers(0, 3, 70)
    weights = np.random.default_rng(2).uniform(size=70).astype(np.float32)
    data = Dataset(X, targets, weights)
    found = evaluate(layer, params, state, data, softmax_cross_entropy, {"accuracy": accuracy}, batch_size=batch_size)
    logits = np.asarray(X @ params["weight"] + params["bias"], np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(70), targets]
    assert found["loss"] == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-6)
    assert found["accuracy"] == np.mean(logits.argmax(-1) == targets)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(4, {4, 2}), (12, {12, 10}), (14, {7, 14}), (36, {12, 36, 10}), (37, {10, 37}), (70, {10, 70}), (100, {10, 70})],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_large_arrays_are_computed_in_parts_of_a_batch(four_cores, monkeypatch, batch_size, sizes, hidden):
    seen = set()

    def outer(x):  # 36 numbers an example, seen from outside or in a loop alone
        return jnp.outer(jnp.append(x, 1), jnp.append(x, 2)).sum()

    def wide(x):
        seen.add(len(x))
        return jax.lax.map(outer, x, batch_size=len(x)) if hidden else jax.vmap(outer)(x)

    monkeypatch.setattr(evaluation, "CACHED_BYTES", 12 * 36 * 4)
    model = sequential(wide, name=f"wide({batch_size}, {hidden})")
    outputs = predict(model, ((),), ((),), X, batch_size=batch_size)
    assert seen == sizes
    expected = np.append(X, np.full((70, 1), 1, np.float32), 1).sum(1) * (X.sum(1) + 2)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_what_is_made_of_the_weights_alone_leaves_a_batch_whole(four_cores, monkeypatch):
    seen = set()

    def apply(params, state, x, /, *, key=None, train=False):
        seen.add(len(x))
        return x @ jnp.cos(params).sum(0), state  # the cosines of 15,000 numbers, whatever the batch

    weight = np.random.default_rng(3).normal(size=(1000, 5, 3)).astype(np.float32)
    monkeypatch.setattr(evaluation, "CACHED_BYTES", 35 * 5 * 4)
    outputs = predict(Layer(lambda key: (weight, ()), apply, "cosines"), weight, (), X, batch_size=35)
    assert seen == {35}
    np.testing.assert_allclose(outputs, X @ np.cos(weight).sum(0), rtol=1e-4, atol=1e-2)  # sums of 1,000 terms


def test_a_call_takes_batches_within_its_limits(monkeypatch):
    monkeypatch.setattr(evaluation, "cores", lambda: 4)
    rows = np.zeros((8, 100), np.float32)
    assert evaluation._batches_of_a_call(rows, 3, 1) == 1  # each core has one
    assert evaluation._batches_of_a_call(rows, 20, 1) == 5  # one call a core
    assert evaluation._batches_of_a_call(rows, 40, 1) == 5  # two calls a core, of 8 batches at most
    assert evaluation._batches_of_a_call(rows, 80, 2) == 10  # halves of batches: twice as many
    monkeypatch.setattr(evaluation, "CALL_BYTES", 4 * rows.nbytes)
    assert evaluation._batches_of_a_call(rows, 100, 1) == 4  # seven calls a core
    monkeypatch.setattr(evaluation, "CALL_BYTES", rows.nbytes - 1)
    assert evaluation._batches_of_a_call(rows, 100, 1) == 1


def test_what_the_caller_has_set_for_its_thread_holds(four_cores):
    threads = set()
    with jax.enable_x64(True):
        results = machine.on_each_core(recorded(threads), list(X.astype(np.float64)))
    assert {result.dtype for result in results} == {np.dtype(np.float64)}
    assert threads == {threading.current_thread()}


def test_a_mesh_of_the_caller_holds(four_cores):
    threads, mesh = set(), jax.make_mesh((1,), ("data",))
    with jax.set_mesh(mesh):
        machine.on_each_core(recorded(threads), list(X))
    assert threads == {threading.current_thread()}


@pytest.fixture
def fresh_options():
    machine.compiler_options.cache_clear()
    yield
    machine.compiler_options.cache_clear()


@pytest.mark.parametrize(
    ("wide", "flags", "expected"),
    [
        (True, "", {"xla_cpu_prefer_vector_width": 512}),
        (True, "--xla_cpu_prefer_vector_width=128", None),
        (False, "", None),
    ],
)
def test_wide_vectors_are_asked_for_where_there_are_some(fresh_options, monkeypatch, wide, flags, expected):
    monkeypatch.setattr(machine, "_has_wide_vectors", lambda: wide)
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert machine.compiler_options() == expected


def test_an_xla_without_the_option_compiles_without_it(fresh_options, monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(machine, "_has_wide_vectors", lambda: True)
    monkeypatch.setattr(jax, "jit", lambda f, compiler_options: jit(f, compiler_options={"xla_no_such_option": 1}))
    assert machine.compiler_options() is None


@pytest.mark.parametrize(("megabytes", "options"), [(64, ""), (40, "one_arena=True")])
def test_freed_memory_is_kept(megabytes, options):
    """A second array in a thread of a process of its own: its thousands of pages come from the first one."""
    code = f"""
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from jaxnn.training import keep_freed_memory
if not keep_freed_memory({options}):
    raise SystemExit(3)
with ThreadPoolExecutor(1) as pool:
    made = lambda: pool.submit(lambda: np.ones({megabytes} * 2**17).sum()).result()
    made()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    made()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if ended.returncode == 3:
        pytest.skip("this C library gives freed memory back")
    assert int(ended.stdout) < 500, ended.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone gives memory back when asked")
def test_freed_memory_is_returned():
    """64 MiB in blocks of 16 KiB, every one of them freed but the last, which would keep the others in the heap."""
    code = """
from pathlib import Path
from jaxnn.training import return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [bytearray(2**14) for _ in range(2**12)]
del blocks[:-1]
before = resident()
assert return_freed_memory()
print(before - resident())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert int(ended.stdout or 0) > 2**25, ended.stderr


def test_fit_compiles_for_this_machine_and_gives_back_what_the_compiler_freed(monkeypatch):
    given, returned = [], []
    monkeypatch.setattr(epoch, "compiler_options", lambda: given.append({"xla_llvm_disable_expensive_passes": True}))
    monkeypatch.setattr(epoch, "return_freed_memory", lambda: returned.append(len(given)))
    data = Dataset(X, np.zeros(len(X), np.int32))
    fit(linear(X.shape[1], 2), softmax_cross_entropy, optax.sgd(0.1), data, epochs=1, verbose=False)
    assert returned == [1]
    monkeypatch.setattr(epoch, "compiler_options", lambda: {"xla_no_such_option": 1})
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        fit(linear(X.shape[1], 2), softmax_cross_entropy, optax.sgd(0.1), data, epochs=1, verbose=False)


def test_an_error_in_a_thread_is_the_callers(four_cores):
    def program(x):
        if x == 30:
            raise ValueError("no 30")
        return x

    with pytest.raises(ValueError, match="no 30"):
        machine.on_each_core(program, list(range(40)))
