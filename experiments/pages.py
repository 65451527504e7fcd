"""The reports of the experiments, put together from the sections that `jaxnn.report` draws."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxnn.data.images import ImageData
from jaxnn.metrics import confusion_matrix
from jaxnn.report import (
    Page,
    Section,
    confusion,
    environment,
    key_values,
    learning_curves,
    mistakes,
    optimizer_curves,
    per_class,
    records,
    summary,
)
from jaxnn.training import FitResult
from jaxnn.types import Layer


def image_classifier(
    title: str,
    notices: Sequence[str],
    config: Any,
    model: Layer,
    data: ImageData,
    result: FitResult,
    logits: np.ndarray,
    inside: Sequence[Section],
    figures: Mapping[str, Any],
) -> Page:
    """Put together the report of a classifier of images: curves, confusion, mistakes, the model, circumstances.

    `inside` are the sections that look into the model; they stand after the mistakes.
    """
    labels = np.asarray(data.test.targets)
    predicted = logits.argmax(-1)
    confidence = np.asarray(jax.nn.softmax(logits), np.float64).max(-1)
    counts = confusion_matrix(predicted, labels, len(data.class_names))
    image_shape = data.test.inputs.shape[1:]
    wrong = int((predicted != labels).sum())
    headline = [
        ("test accuracy", f"{figures['test_accuracy']:.2%}"),
        ("test mistakes", f"{wrong:,}"),
        ("parameters", f"{figures['parameters']:,}"),
        ("seconds an epoch", f"{figures['seconds_per_epoch']:.2f}"),
        ("seconds of compiling", f"{figures['compile_seconds']:.1f}"),
    ]
    curves = Section(
        "Learning curves",
        "Training values are means over the epoch with dropout on; the others are taken after it, with dropout off.",
        partial(learning_curves, result.history),
    )
    optimizing = Section(
        "Learning rate and gradient norm",
        "The rate of each epoch's last step, and the mean norm of the epoch's gradients.",
        partial(optimizer_curves, result.history),
    )
    return Page(
        title,
        f"{model}, {figures['epochs']} epochs, seed {figures['seed']}",
        notices,
        headline,
        [
            *([curves, optimizing] if result.history else []),
            Section(
                "Confusion matrix",
                "Test images by true and predicted class.",
                partial(confusion, counts, data.class_names),
            ),
            Section("Classes", "Test images of each class.", table=per_class(counts, data.class_names)),
            Section(
                "Most confident mistakes",
                "Test images that the model was most sure of and got wrong.",
                partial(mistakes, data.test.inputs, labels, predicted, confidence, data.class_names),
            ),
            *inside,
            Section("Model", table=summary(model, image_shape, dtype=np.uint8).table()),
            *([Section("Epochs", table=records(result.history), folded=True)] if result.history else []),
            Section(
                "Data",
                f"{data.name}, from {data.source}: {data.train.size:,} training and {data.test.size:,} test images.",
            ),
            Section(
                "Time",
                "Seconds; compilation is apart from training.",
                table=key_values(
                    {k: f"{figures[k]:.2f}" for k in ("compile_seconds", "train_seconds", "seconds_per_epoch")}
                ),
            ),
            *circumstances(config),
        ],
    )


def circumstances(config: Any) -> list[Section]:
    """Make the sections that end every report: the options of the run, and the versions and the machine it ran with."""
    return [
        Section("Configuration", table=key_values(asdict(config))),
        Section("Environment", table=key_values(environment())),
    ]
