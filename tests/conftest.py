"""What all tests share: programs that compile quickly, a cache folder of their own, real data where there are any."""

import os
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

# Almost all of the time of the tests is that of XLA's compiler: without its optimizations they take less than half.
# `make test XLA_FLAGS=...` tests with other flags, as `XLA_FLAGS=--xla_backend_optimization_level=3`, XLA's default.
if "XLA_FLAGS" not in os.environ:
    emitters = " --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0" + emitters
    jax.devices()  # reads the flags, once
    del os.environ["XLA_FLAGS"]  # programs that tests start run as a user's do

# Many tests compile the same programs; a second run of the tests compiles next to nothing.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep the user's cache folder out of the tests; one for all, so that MNIST is decoded once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def mnist_folder() -> Path:
    """Return the folder that holds real MNIST, or skip and say so."""
    folder = os.environ.get("JAXNN_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("real MNIST is not here: set JAXNN_DATA_DIR to the folder that holds mnist/")
    return Path(folder)
