"""The file of a benchmark's results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxnn.files import write_whole


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(results, indent=2) + "\n").encode())
