"""Train the guide's MNIST classifier (784-512-256-10) and write a report of what it learned.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import harness, image_run, recipes
from experiments.image_run import Recipe
from jaxnn import tree
from jaxnn.data.images import ImageData
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import Section, first_layer_weights


@dataclass(frozen=True)
class Config(image_run.Options):
    """Options; the defaults are the guide's."""

    recipe: Literal["guide", "best", "augmented"] = "guide"
    """best: the same layer sizes, trained as well as is known here; augmented: with distorted images too."""
    batch_norm: bool = False
    """Normalise each hidden layer of the guide's network over the batch."""
    out: Path = Path("runs/mnist")
    """Folder for the report and the numbers."""


def recipe(config: Config, data: ImageData) -> Recipe:
    """Choose the network and its training."""
    pixels, classes = int(np.prod(data.train.inputs.shape[1:])), len(data.class_names)
    if config.recipe == "guide":
        network = mlp((pixels, 512, 256, classes), dropout=0.2, batch_norm=config.batch_norm)
        return Recipe(network, lambda rate, _: adam(rate))
    make = recipes.best_mlp if config.recipe == "best" else recipes.augmented_mlp
    return make(pixels, classes)


def first_layer(model, data, result, logits, seed, *, complete) -> list[Section]:
    """Draw the weights of the first layer."""
    weights = (leaf for path, leaf in tree.paths(result.train_state.params).items() if path.endswith("weight"))
    return [
        Section(
            "First layer weights",
            "Each picture shows what one unit of the first layer looks for.",
            partial(first_layer_weights, np.asarray(next(weights)), data.train.inputs.shape[1:]),
        )
    ]


def main(config: Config) -> int:
    image_run.check("mnist", config)
    if config.batch_norm and config.recipe != "guide":
        raise ValueError(f"mnist got batch_norm with the recipe {config.recipe}, which says itself where it normalises")
    return image_run.run(config, "multi-layer perceptron", partial(recipe, config), first_layer)


if __name__ == "__main__":
    harness.main(Config, main)
