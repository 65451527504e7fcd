"""What the rounds say: medians, ratios within a round with their spread, shares of the product; and the tables."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.peers import work
from benchmarks.peers.roster import PEERS, TITLES

MODES = {"train": "training", "predict": "inference"}


def rows(
    network: str,
    batch: int,
    examples: int,
    first: Mapping[str, dict[str, Any]],
    rounds: Sequence[Mapping[str, dict[str, Any]]],
    speeds: Sequence[Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Make a row for each peer: what it took, and jaxnn's time over its time in each round.

    `share_of_product` is the speed of the network's arithmetic over that of the product (the fastest way, in the same
    round). `compile_seconds` is the first pass of training less an ordinary one.
    """
    found = []
    best = [max(speed.values()) for speed in speeds]
    for peer, said in first.items():
        row: dict[str, Any] = {"network": network, "batch": batch, "peer": peer}
        for mode in MODES:
            steps = [found[peer]["step_seconds"][mode] for found in rounds]
            ratios = [found["jaxnn"]["step_seconds"][mode] / found[peer]["step_seconds"][mode] for found in rounds]
            needed = batch * (work.training_multiply_adds if mode == "train" else work.multiply_adds)(network)
            shares = [needed / step / speed for step, speed in zip(steps, best, strict=True)]
            ordinary = statistics.median(steps) * (examples // batch)
            row[mode] = {
                "step_milliseconds": [_digits(1000 * step) for step in steps],
                "jaxnn_over_peer": _spread(ratios),
                "share_of_product": _spread(shares),
                "compile_seconds": round(max(0.0, said["first_pass_seconds"][mode] - ordinary), 3),
            }
        row["peak_megabytes"] = round(max(found[peer]["peak_megabytes"] for found in rounds))
        found.append(row)
    return found


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": _digits(statistics.median(ordered)),
        "least": _digits(ordered[0]),
        "most": _digits(ordered[-1]),
    }


def against_fastest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name the fastest peer of each network, batch and mode, the one of the least median, and jaxnn's time over its."""
    found = []
    for (network, batch), group in _groups(rows).items():
        ours = group["jaxnn"]
        peers = {name: row for name, row in group.items() if name != "jaxnn"}
        for mode in MODES if peers else ():
            fastest = min(peers, key=lambda name: statistics.median(peers[name][mode]["step_milliseconds"]))
            found.append(
                {
                    "network": network,
                    "batch": batch,
                    "mode": mode,
                    "fastest": fastest,
                    "jaxnn_over_fastest": peers[fastest][mode]["jaxnn_over_peer"],
                    "share_of_product": ours[mode]["share_of_product"],
                }
            )
    return found


def _groups(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, Mapping[str, Any]]]:
    groups: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["batch"]), {})[row["peer"]] = row
    return groups


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table.

    >>> print(markdown(["network", "ms"], [["MLP", "1.0"]]))
    | network | ms |
    | --- | --- |
    | MLP | 1.0 |
    """
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def three_digits(value: float) -> str:
    """Write a number in three digits, or all of them where there are more before the point.

    >>> three_digits(1.2345), three_digits(2419.6)
    ('1.23', '2420')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def ratio_table(rows: Sequence[Mapping[str, Any]], mode: str) -> str:
    """Write jaxnn's time over each peer's, a line for each network and batch; the fastest peer with the spread."""
    present = {row["peer"] for row in rows}
    columns = [peer for peer in PEERS if peer in present and peer != "jaxnn"]
    fastest = {(one["network"], one["batch"]): one for one in against_fastest(rows) if one["mode"] == mode}
    lines = []
    for (network, batch), group in _groups(rows).items():
        line = [TITLES[network], f"{batch}"]
        line += [f"{group[peer][mode]['jaxnn_over_peer']['median']:.2f}" if peer in group else "" for peer in columns]
        ours = group["jaxnn"][mode]
        line.append(f"{three_digits(statistics.median(ours['step_milliseconds']))} ms")
        if one := fastest.get((network, batch)):
            ratio = one["jaxnn_over_fastest"]
            line.append(f"**{ratio['median']:.2f}** ({ratio['least']:.2f} to {ratio['most']:.2f})")
        else:
            line.append("")
        line.append(f"{ours['share_of_product']['median']:.0%}".replace("%", " %"))
        lines.append(line)
    header = [MODES[mode], "batch", *(PEERS[peer].title for peer in columns)]
    return markdown([*header, "jaxnn's step", "to the fastest", "of the product"], lines)


def cost_table(rows: Sequence[Mapping[str, Any]], batch: int) -> str:
    """Write what compilation takes (training, seconds) and the peak memory (MB) of each, at this batch."""
    present = {row["peer"] for row in rows}
    columns = [peer for peer in PEERS if peer in present]
    lines = []
    for (network, size), group in _groups(rows).items():
        if size == batch:
            costs = [
                f"{group[peer]['train']['compile_seconds']:.1f} s, {group[peer]['peak_megabytes']} MB"
                if peer in group
                else ""
                for peer in columns
            ]
            lines.append([TITLES[network], *costs])
    return markdown([f"compilation, memory; batch {batch}", *(PEERS[peer].title for peer in columns)], lines)


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write all tables: training, inference, and what each takes at the smallest batch."""
    smallest = min(row["batch"] for row in rows)
    return "\n\n".join([*(ratio_table(rows, mode) for mode in MODES), cost_table(rows, smallest)])
