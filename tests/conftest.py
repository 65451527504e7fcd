"""What all tests share: a cache folder of their own, and the real data where there are any."""

import os
from pathlib import Path

import jax
import pytest

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
