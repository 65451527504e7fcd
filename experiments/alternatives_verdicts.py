"""What the measurements say: which models can be told apart, and what became of each sentence of the guide."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.alternatives_measures import SHARE, Task

Record = Mapping[str, Any]


def by_model(records: Sequence[Record], name: str = "score") -> dict[str, np.ndarray]:
    """Sort one number of the records by model, in the order of the seeds."""
    models = dict.fromkeys(record["model"] for record in records)
    return {model: np.array([record[name] for record in records if record["model"] == model]) for model in models}


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of two models, split by split, and twice its standard error (nan for one split)."""
    lead = one - other
    return float(lead.mean()), 2 * standard_error(lead) if len(lead) > 1 else float("nan")


def standard_error(scores: np.ndarray, test_share: float = SHARE) -> float:
    """Compute the standard error of a mean over random splits, whose training parts overlap.

    sqrt(variance (1 / splits + test / training examples)): Nadeau and Bengio, 2003, Inference for the generalization
    error. Without the second term splits would seem to be independent.

    >>> print(round(standard_error(np.array([0.90, 0.92, 0.94])), 4))
    0.0163
    """
    return float(np.sqrt(np.var(scores, ddof=1) * (1 / len(scores) + test_share / (1 - test_share))))


def not_told_apart(scores: Mapping[str, np.ndarray]) -> list[str]:
    """Return the best model, and those whose difference to it, split by split, is within two standard errors.

    >>> not_told_apart({"a": np.array([0.9, 0.8]), "b": np.array([0.8, 0.8]), "c": np.array([0.5, 0.4])})
    ['a', 'b']
    """
    best = max(scores, key=lambda name: scores[name].mean())
    close = []
    for name, values in scores.items():
        lost = scores[best] - values
        if name == best or (len(lost) > 1 and lost.mean() <= 2 * standard_error(lost)):
            close.append(name)
    return sorted(close, key=lambda name: -scores[name].mean())


def rules(model: Any, task: Task) -> list[tuple[str, str, int, float]]:
    """Write a decision tree as rules: conditions, answer, training examples that fulfil them, share that is right."""
    tree = model.tree_
    found = []

    def walk(node: int, conditions: tuple[str, ...]) -> None:
        if tree.children_left[node] < 0:
            shares = tree.value[node][0] / tree.value[node][0].sum()
            answer = task.classes[int(shares.argmax())]
            found.append((" and ".join(conditions), answer, int(tree.n_node_samples[node]), float(shares.max())))
            return
        feature, threshold = task.features[tree.feature[node]], tree.threshold[node]
        walk(tree.children_left[node], (*conditions, f"{feature} ≤ {threshold:.4g}"))
        walk(tree.children_right[node], (*conditions, f"{feature} > {threshold:.4g}"))

    walk(0, ())
    return found


def claims(
    on_tables: Mapping[str, Sequence[Record]], on_images: Mapping[int, Sequence[Record]], few: str
) -> list[tuple[str, str]]:
    """Put beside each sentence of the guide what was measured; `few` names the images."""
    network, boosting, linear = "network", "gradient boosting", "linear"
    ahead: dict[str, list[str]] = {boosting: [], network: []}
    for task, records in on_tables.items():
        scores = by_model(records)
        for one, other in ((boosting, network), (network, boosting)):
            lead, error = difference(scores[one], scores[other])
            if lead > error:
                ahead[one].append(task)
    largest = max(on_images)

    def best(count: int) -> str:
        scores = {name: 100 * values for name, values in by_model(on_images[count]).items()}
        first = max(scores, key=lambda name: scores[name].mean())
        text = f"{count:,} images of {few}: best is {first}, {scores[first].mean():.1f} %"
        if first == network:
            return f"{text}."
        lead, error = difference(scores[network], scores[first])
        return f"{text}, network {lead:+.1f} ± {error:.1f} points."

    def against(task: str) -> str:
        lead, error = difference(*(by_model(on_tables[task])[model] for model in (network, linear)))
        return f"{task}: network less linear {lead:+.3f} ± {error:.3f} of R²"

    seconds = {name: values.mean() for name, values in by_model(on_images[largest], "seconds").items()}
    trees = {task: by_model(records) for task, records in on_tables.items()}
    lost = [max(scores[name].mean() for name in scores) - scores["decision tree"].mean() for scores in trees.values()]
    return [
        (
            "Small datasets: traditional ML often performs better",
            f"{best(min(on_images))} {best(largest)}",
        ),
        (
            "Tabular data: gradient boosting often beats neural networks",
            f"Ahead of the network by more than twice the standard error on {_named(ahead[boosting])}, behind it on "
            f"{_named(ahead[network])}, of {len(on_tables)} tables.",
        ),
        (
            "Simple relationships: linear regression may suffice",
            "; ".join(against(task) for task, records in on_tables.items() if not records[0]["classes"]) + ".",
        ),
        (
            "Limited compute: simpler models train faster",
            f"{largest:,} images of {few}, without compilation: "
            + ", ".join(f"{name} {value:.2g} s" for name, value in sorted(seconds.items(), key=lambda item: item[1]))
            + ".",
        ),
        (
            "Need interpretability: decision trees or linear models are clearer",
            f"The tree can be read, below; it loses {min(lost):.3f} to {max(lost):.3f} against the best model of a "
            "table (accuracy or R²).",
        ),
    ]


def _named(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"
