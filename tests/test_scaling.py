"""How training grows and starts: the fits of `benchmarks.scaling`, and the turns of `benchmarks.startup`."""

import sys

import jax
import pytest

from benchmarks import scaling, scaling_cases, startup
from benchmarks.scaling_cases import AXES, CLASSES
from jaxnn.models import mlp, transformer_classifier


def points(sizes, seconds, megabytes):
    return [
        {"size": size, "seconds": seconds(size), "compile_seconds": 1.0, "megabytes": megabytes(size)} for size in sizes
    ]


def test_exponents_of_powers_are_found_beside_the_counted_ones():
    sizes = 2, 4, 8, 16, 32
    found = scaling.fitted("depth", points(sizes, lambda d: 3 * d**2, lambda d: 50 + 7 * d))
    assert found["seconds"] == {"exponent": 2.0, "expected": 1.0}
    memory = found["megabytes_larger_half"]
    assert memory["exponent"] == memory["expected"] > 1  # of what exceeds the smallest size: 6, 14, 30
    assert found["compile_seconds"]["exponent"] == pytest.approx(0, abs=1e-9)
    flat = scaling.fitted("depth", points(sizes, lambda d: max(d, 8), lambda d: d))
    assert flat["seconds"]["exponent"] < flat["seconds_larger_half"]["exponent"] == 1.0


def test_the_counted_arithmetic_grows_as_xla_counts_it():
    """By XLA's count of the forward pass at two sizes."""
    models = {
        "width": lambda w: (mlp((w, w, w, CLASSES)), scaling_cases.drawn(8, w)),
        "depth": lambda d: (mlp((256,) * (d + 1) + (CLASSES,)), scaling_cases.drawn(8, 256)),
        "transformer_length": lambda t: (
            transformer_classifier(1000, 128, 4, 1, CLASSES, dim_feedforward=512, max_length=t),
            scaling_cases.drawn(2, t, tokens=True),
        ),
    }
    for axis, sizes in {"width": (128, 512), "depth": (4, 8), "transformer_length": (32, 256)}.items():
        counted = []
        for size in sizes:
            model, data = models[axis](size)
            form = jax.eval_shape(model.init, jax.random.key(0))
            compiled = jax.jit(lambda p, s, x, m=model: m.apply(p, s, x)[0]).lower(*form, data.inputs).compile()
            counted.append(compiled.cost_analysis()["flops"])
        expected = AXES[axis].arithmetic(sizes[1]) / AXES[axis].arithmetic(sizes[0])
        assert counted[1] / counted[0] == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [name for name in AXES if name != "networks"])
def test_every_axis_trains_at_its_smallest_size(axis):
    size = AXES[axis].sizes[0]
    found = scaling_cases.measured(axis, size)
    assert found["size"] == size
    assert found["seconds"] > 0
    assert found["megabytes"] >= 1


def test_the_table_and_the_figure_of_made_points():
    made = points((64, 128, 256, 512), lambda w: 1e-5 * w**2, lambda w: 1.0 * w)
    counted = {
        kind: [getattr(AXES["width"], kind)(point["size"]) for point in made] for kind in ("arithmetic", "floats")
    }
    axis = {"title": "width", "timed": "a step", "points": made, "counted": counted}
    result = {"axes": [axis | {"fits": scaling.fitted("width", made)}]}
    assert "| width | 64 (41 ms) | 512 (2.62 s) | 2.00 | 1.9" in scaling.table(result)
    assert len(scaling.figure(result).axes) == 2


def test_ratios_of_starts_are_those_within_a_round():
    rounds = [{"jaxnn": 1.0, "Flax linen": 2.0}, {"jaxnn": 3.0, "Flax linen": 3.0}, {"jaxnn": 1.0, "Flax linen": 4.0}]
    found = startup.summarised(rounds, {"jaxnn": "Flax linen", "PyTorch": "Flax linen"})
    assert found["jaxnn"] == {"seconds": 1.0, "over": "Flax linen", "ratio": [0.5, 0.25, 1.0]}
    assert found["Flax linen"] == {"seconds": 3.0}
    result = {"imports": found, "steps": {"mlp": found}}
    assert "| first step, MLP | jaxnn | 1.00 | 0.50 (0.25 to 1.00) of Flax linen |" in startup.table(result)


def test_a_library_that_is_absent_is_left_out():
    left_out = {}
    programs = {
        "json": lambda: startup.import_seconds(sys.executable, "import json"),
        "none": lambda: startup.import_seconds(sys.executable, "import no_such_library"),
    }
    rounds = startup.in_turns(programs, 2, left_out)
    assert [set(one) for one in rounds] == [{"json"}, {"json"}]
    assert left_out == {"none": "ModuleNotFoundError: No module named 'no_such_library'"}
