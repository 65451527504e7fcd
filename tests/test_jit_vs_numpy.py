"""The rivals of the benchmark do the same work; timing, crossings, table and figure say what was measured."""

import json
import time

import jax
import numpy as np
import pytest

from benchmarks import jit_vs_numpy, jit_vs_numpy_cases, jit_vs_numpy_figures, jit_vs_numpy_timing, numpy_network
from benchmarks.jit_vs_numpy_timing import Case

CLASSES, BINARY = (6, 5, 3), (2, 4, 1)
TINY = jit_vs_numpy_cases.Plan(
    networks=(BINARY,),
    batches=(4,),
    activations=("relu",),
    elements=(16, 64),
    epochs=((CLASSES, 4, 3),),
    small_networks=4,
    small_epochs=50,
)


def leaves(result):
    """Flatten layers [(weight, bias), ...], a tree of {"weight", "bias"}, or arrays, weights before biases."""
    if isinstance(result, dict):
        return [np.asarray(result["weight"]), np.asarray(result["bias"])]
    return (
        [leaf for part in result for leaf in leaves(part)] if isinstance(result, list | tuple) else [np.array(result)]
    )


def assert_equal(actual, expected, name, tolerance=1e-5):
    """Compare relative to the largest entry of an array; 1e-5 is 84 roundings of float32."""
    for one, other in zip(leaves(actual), leaves(expected), strict=True):
        assert one.shape == other.shape, name
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        *(lambda name=name: jit_vs_numpy_cases.activation(name, 64) for name in jit_vs_numpy_cases.FULL.activations),
        *(lambda sizes=sizes: jit_vs_numpy_cases.forward(sizes, 4) for sizes in (BINARY, CLASSES)),
        *(lambda sizes=sizes: jit_vs_numpy_cases.backward(sizes, 4) for sizes in (BINARY, CLASSES)),
    ],
)
def test_all_programs_of_a_case_give_the_same_numbers(case):
    programs = case().programs
    assert list(programs)[:3] == ["numpy", "eager", "compiled"]
    expected = programs["numpy"]()
    for name, program in programs.items():
        assert_equal(program(), expected, name)


def test_adam_updates_the_same_parameters():
    programs = jit_vs_numpy_cases.adam(CLASSES).programs
    expected = [leaf.copy() for leaf in leaves(programs["numpy"]())]
    for name in ("eager", "compiled"):
        assert_equal(programs[name]()[0], expected, name)
        programs[name]()  # the donated state is not used twice


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [BINARY, CLASSES])
def test_epochs_train_alike_from_call_to_call(sizes):
    case = jit_vs_numpy_cases.epoch(sizes, 4, 3)
    assert set(case.units.values()) == {3}
    for _ in range(3):
        expected = case.programs["numpy"]()
        for name in ("eager", "compiled", "compiled jax.grad"):
            assert float(case.programs[name]()[-1]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_small_networks_train_alike():
    case = jit_vs_numpy_cases.small_networks(4, 100)
    assert case.units == {"numpy": 3, "eager": 4 * 2 / 100, "compiled": 4}
    params, values = case.programs["compiled"]()
    assert values.shape == (100, 4)
    for i, (layers, losses) in enumerate(case.programs["numpy"]()):
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], params), layers, i, 1e-4)  # 100 steps away from the start
        np.testing.assert_allclose(values[:, i], losses, rtol=1e-4)
    assert_equal(jax.numpy.stack(case.programs["eager"]()[1]), values[:2], "eager")


def test_programs_take_turns_and_times_are_those_of_a_unit(monkeypatch):
    monkeypatch.setattr(jit_vs_numpy_timing, "PAUSE_SECONDS", 0)
    turns = []

    def sleeper(name, seconds):
        def program():
            turns.append(name)
            time.sleep(seconds)

        return program

    case = Case(
        "work", "", 1, {"numpy": sleeper("numpy", 0.04), "compiled": sleeper("compiled", 0.02)}, 0.5, {"numpy": 4}
    )
    row = jit_vs_numpy_timing.record(case, 3)
    assert turns == ["numpy", "compiled"] * 5  # once to warm up, once for its length, three rounds
    assert row["rounds"] == 3
    # A sleep is never shorter than asked for, and on a busy machine longer.
    assert 0.01 <= row["median_seconds"]["numpy"] < 0.02
    low, high = row["numpy_over_range"]["compiled"]
    assert low <= row["numpy_over"]["compiled"] <= high
    assert row["compile_seconds"] == 0.5


def test_short_calls_fill_a_turn_and_long_cases_get_few_rounds(monkeypatch):
    calls = []
    case = Case("work", "", 1, {"numpy": lambda: calls.append(0)}, 0.0)
    monkeypatch.setattr(jit_vs_numpy_timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(jit_vs_numpy_timing, "_seconds", lambda program: 0.003)
    assert len(jit_vs_numpy_timing.measure(case, 5)["numpy"]) == 5
    assert len(calls) == 1 + 5 * (1 + 7)  # 7 calls of 3 ms fill 20 ms, after one that is not timed
    monkeypatch.setattr(jit_vs_numpy_timing, "_seconds", lambda program: 5.0)
    assert len(jit_vs_numpy_timing.measure(case, 9)["numpy"]) == jit_vs_numpy_timing.LEAST_ROUNDS


def test_crossings():
    found = jit_vs_numpy_timing.crossings
    assert found([1, 10], [1.0, 1.0], [2.0, 2.0]) == []
    assert found([1, 10], [2.0, 2.0], [1.0, 1.0]) == []
    # Lines y = 10 and y = x on log-log axes meet at 10 wherever they were sampled.
    assert found([2, 50, 100], [10.0, 10.0, 10.0], [2.0, 50.0, 100.0]) == [(10.0, True)]
    assert found([1, 4, 16], [1.0, 4.0, 1.0], [2.0, 2.0, 2.0]) == [(2.0, False), (8.0, True)]


def row(work, network, size, numpy, compiled):
    return {
        "work": work,
        "network": network,
        "size": size,
        "median_seconds": {"numpy": numpy, "eager": 1e-2, "compiled": compiled},
        "numpy_over": {"compiled": numpy / compiled, "eager": 1.0},
        "numpy_over_range": {"compiled": [1.0, 2.0], "eager": [1.0, 1.0]},
        "compile_seconds": 0.1,
    }


@pytest.mark.parametrize(
    ("numpy", "compiled", "words"),
    [
        ((1e-3, 1e-3), (1e-4, 1e-4), "compiled JAX wins everywhere"),
        ((1e-4, 1e-4), (1e-3, 1e-3), "NumPy wins everywhere"),
        ((1e-4, 1e-2), (1e-3, 1e-3), "compiled JAX wins from about 8"),
        ((1e-2, 1e-4), (1e-3, 1e-3), "compiled JAX wins up to about 8"),
    ],
)
def test_figure_says_who_wins_where(numpy, compiled, words):
    cases = [row("forward pass", "2-4-1", size, n, c) for size, n, c in zip((1, 64), numpy, compiled, strict=True)]
    drawn = jit_vs_numpy_figures.figure(cases)
    (panel,) = drawn.axes
    assert panel.get_title("center") + panel.get_title("left") == "2-4-1: forward"
    assert [text.get_text() for text in panel.texts] == [words]
    lines = {line.get_label(): line for line in panel.lines}
    np.testing.assert_array_equal(lines["NumPy"].get_ydata(), numpy)
    np.testing.assert_array_equal(lines["compiled JAX"].get_ydata(), compiled)


def test_what_was_measured_at_one_size_is_not_drawn():
    cases = [row("forward pass", "2-4-1", 1, 1.0, 1.0), row("thousand networks", "2-4-1", 1000, 1.0, 1.0)]
    assert jit_vs_numpy_figures.grouped(cases) == []


@pytest.mark.slow
def test_a_whole_run_is_measured_printed_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jit_vs_numpy_timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(jit_vs_numpy_timing, "TURN_SECONDS", 0)
    monkeypatch.setattr(jit_vs_numpy, "QUICK", TINY)
    jit_vs_numpy.main(jit_vs_numpy.Options(quick=True, rounds=1, out=tmp_path / "out"))
    result = json.loads((tmp_path / "out" / "jit_vs_numpy.json").read_text())
    assert result["command"] == "python -m benchmarks.jit_vs_numpy --quick --rounds 1"
    works = [case["work"] for case in result["cases"]]
    assert works == ["relu"] * 2 + [
        "forward pass",
        "backward pass",
        "Adam update",
        "training step",
        "thousand networks",
    ]
    assert "threads" in result["environment"]["BLAS of NumPy"]
    assert all(case["numpy_over"]["compiled"] > 0 for case in result["cases"])
    assert (tmp_path / "out" / "jit_vs_numpy.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "thousand networks" in printed
    assert "…" not in printed  # no cell is cut


def test_the_plans_reach_from_the_smallest_to_the_largest():
    full = jit_vs_numpy_cases.FULL
    assert full.networks[0] == BINARY
    assert full.networks[-1] == (784, 2048, 2048, 10)
    assert (min(full.batches), max(full.batches)) == (1, 4096)
    assert set(jit_vs_numpy_cases.QUICK.networks) < set(full.networks)
    assert set(jit_vs_numpy_cases.QUICK.batches) < set(full.batches)
    assert all(hasattr(numpy_network, name) or hasattr(np, name) for name in full.activations)
