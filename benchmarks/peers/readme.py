"""Write the README's tables of the last run of `benchmarks.peers`, from its JSON, between two markers.

python -m benchmarks.peers.readme
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.roster import PEERS
from benchmarks.peers.tables import cost_table, ratio_table
from jaxnn.files import write_whole

ROOT = Path(__file__).parents[2]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results" / "peers.json"
BEGIN, END = "<!-- benchmarks.peers.readme writes from here -->", "<!-- to here -->"


def section(result: Mapping[str, Any]) -> str:
    """Write the tables and what they were measured with."""
    environment, rows = result["environment"], result["rows"]
    packages = dict.fromkeys(entry.package for entry in PEERS.values())
    versions = ", ".join(f"{name} {environment[name]}" for name in ["jax", *packages] if name in environment)
    speeds = result["product_giga_multiply_adds_per_second"]
    product = " and ".join(f"{speed:g} by {way}" for way, speed in speeds.items())
    words = (
        f"jaxnn's time for a step over each peer's, below 1 where jaxnn is faster: medians of the ratios within a "
        f"round, for the fastest peer with the least and the most. {environment['threads']} threads each, "
        f"{environment['processor']}, Python {environment['python']}, {versions}. The large matrix product ran at "
        f"{product} (thousand million multiply-adds a second) in the same run; a share of it counts multiply-adds as "
        f"networks are defined, and jaxnn's 3x3 convolutions of many channels take a third of theirs."
    )
    smallest = min(row["batch"] for row in rows)
    return "\n\n".join([words, ratio_table(rows, "train"), ratio_table(rows, "predict"), cost_table(rows, smallest)])


def written(readme: str, result: Mapping[str, Any]) -> str:
    """Put the section between the two markers.

    Raises ValueError where they are not there once each, in this order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"expected {BEGIN} and, after it, {END} in the README, once each")
    return f"{before}{BEGIN}\n{section(result)}\n{END}{after}"


def main() -> None:
    result = json.loads(RESULTS.read_text())
    write_whole(README, written(README.read_text(), result).encode())
    print(section(result))


if __name__ == "__main__":
    main()
