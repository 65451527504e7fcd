"""Golden files against what PyTorch computes here, where it is installed."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).with_name("golden")


def regenerated(script: str, golden: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a script of tests/golden and return its arrays, or skip: without PyTorch, or with another version of it."""
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location(script, FOLDER / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    fresh = generator.golden()
    if str(fresh["torch_version"]).split("+")[0] != str(golden["torch_version"]).split("+")[0]:
        pytest.skip(f"the file is of PyTorch {golden['torch_version']}, here is {fresh['torch_version']}")
    assert fresh.keys() == golden.keys()
    return fresh
