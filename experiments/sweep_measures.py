"""What the sweep's best networks say about the test images: alone and together, and how far they can be believed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.data import Dataset
from jaxnn.data.images import ImageData
from jaxnn.metrics import CalibrationBins, calibration_bins, expected_calibration_error
from jaxnn.training import predict
from jaxnn.training.ensemble import ensemble_predict, stack_members
from jaxnn.training.sweep_results import Member, Sweep
from jaxnn.types import Layer

Maker = Callable[[dict[str, Any]], tuple[Layer, Any]]


class Answers(NamedTuple):
    """Scores on the test images: of the best network, of each in the ensemble, and of the ensemble."""

    members: list[Member]
    """Of the ensemble, the best on validation images first; the first is the best network."""
    member_scores: list["Scores"]
    ensemble: "Scores"
    by_size: list[float]
    """The accuracy of the first one, two, three, ... together."""


class Scores(NamedTuple):
    """Accuracy, loss and calibration of probabilities."""

    accuracy: float
    loss: float
    calibration_error: float
    bins: CalibrationBins


def scores(probabilities: np.ndarray, labels: Any) -> Scores:
    """Measure probabilities [N, classes] against labels [N]; the loss is the cross-entropy in nats."""
    labels = np.asarray(labels)
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    bins = jax.tree.map(np.asarray, calibration_bins(probabilities, labels))
    right = probabilities.argmax(-1) == labels
    return Scores(
        float(right.mean()),
        float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
        float(expected_calibration_error(bins)),
        bins,
    )


def measured(make: Maker, sweep: Sweep, test: Dataset, size: int) -> Answers:
    """Take the best networks on validation images, and ask each and all together about the test images."""
    sound = [member for member in sweep.members if member.history and not member.diverged]
    ranked = sorted(sound, key=lambda member: -member.history[-1]["validation_accuracy"])[:size]
    alone = [
        np.asarray(jax.nn.softmax(predict(make(m.hyperparameters)[0], m.params, m.model_state, test.inputs)))
        for m in ranked
    ]
    sums = np.cumsum(np.asarray(alone, np.float64), axis=0)
    labels = np.asarray(test.targets)
    return Answers(
        ranked,
        [scores(probabilities, labels) for probabilities in alone],
        scores(together(make, ranked, test.inputs), labels),
        [float((total.argmax(-1) == labels).mean()) for total in sums],
    )


def together(make: Maker, members: Sequence[Member], inputs: Any) -> np.ndarray:
    """Compute the mean of the members' probabilities; those with the same parameters' tree share a program."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        groups.setdefault(jax.tree.structure((member.params, member.model_state)), []).append(member)
    total = 0.0
    for group in groups.values():
        model, _ = make(group[0].hyperparameters)  # what differs in a group, rates, says nothing without training
        total = total + len(group) * ensemble_predict(model, *stack_members(group), inputs)
    return np.asarray(total / len(members), np.float32)


def words(h: Mapping[str, Any]) -> str:
    """Write down a setting."""
    norm = "batch norm" if h["batch_norm"] else "no batch norm"
    return f"{norm}, dropout {h['dropout']:g}, learning rate {h['learning_rate']:g}"


def summary_of(data: ImageData, sweep: Sweep, answers: Answers, status: str, seed: int) -> dict[str, Any]:
    """Make what stands in summary.json."""
    best, alone, all_of_them = answers.members[0], answers.member_scores, answers.ensemble
    return {
        "best": f"{words(best.hyperparameters)}, seed {best.seed}",
        "best_validation_accuracy": best.history[-1]["validation_accuracy"],
        "test_accuracy": alone[0].accuracy,
        "test_loss": alone[0].loss,
        "calibration_error": alone[0].calibration_error,
        "ensemble_size": len(alone),
        "ensemble_test_accuracy": all_of_them.accuracy,
        "ensemble_test_loss": all_of_them.loss,
        "ensemble_calibration_error": all_of_them.calibration_error,
        "ensemble_members_test_accuracy": [one.accuracy for one in alone],
        "ensemble_members_test_accuracy_mean": float(np.mean([one.accuracy for one in alone])),
        "ensemble_members_test_loss_mean": float(np.mean([one.loss for one in alone])),
        "ensemble_members_calibration_error_mean": float(np.mean([one.calibration_error for one in alone])),
        "networks": len(sweep.members),
        "diverged": sum(bool(member.diverged) for member in sweep.members),
        "programs": len(sweep.how),
        "steps": sum(member.steps for member in sweep.members),
        "compile_seconds": sweep.compile_seconds,
        "train_seconds": sweep.train_seconds,
        "dataset": data.name,
        "data_source": data.source,
        "status": status,
        "seed": seed,
    }
