"""Train the guide's CNN on images and look inside: filters, feature maps, linear probes, saliency.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from optax import GradientTransformation

from experiments import harness, image_run, recipes
from experiments import images_figures as figures
from experiments import images_measures as measures
from experiments.image_run import VALIDATION_SHARE, Recipe
from jaxnn import checks
from jaxnn.data.images import ImageData
from jaxnn.models import cnn
from jaxnn.optimizers import adam, adamw
from jaxnn.report import Section


@dataclass(frozen=True)
class Config(image_run.Options):
    """Options; the defaults are the guide's."""

    recipe: Literal["guide", "best"] = "guide"
    """best: a wider network of the same form, on distorted images, trained as well as is known here."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the rate rises to learning_rate in the first tenth of the training, then falls to 0."""
    weight_decay: float = 0.0
    """Decay of the weights apart from the gradient (AdamW), times the rate."""
    out: Path = Path("runs/images")
    """Folder for the report and the numbers."""


def recipe(config: Config, data: ImageData) -> Recipe:
    """Choose the network and its training."""
    if config.recipe == "best":
        return recipes.best_cnn(data.name, len(data.class_names))

    def optimizer(rate: float, steps: int) -> GradientTransformation:
        schedule = recipes.warm_cosine(rate, steps) if config.schedule == "cosine" else rate
        if not config.weight_decay:
            return adam(schedule)
        return adamw(schedule, weight_decay=config.weight_decay, mask=recipes.only_weights)

    return Recipe(cnn(len(data.class_names)), optimizer)


def look_inside(config: Config, model, data, result, logits, seed, *, complete) -> list[Section]:
    """Measure and draw filters, feature maps and saliency, and where training was not stopped the linear probes."""
    if complete:
        harness.say(config.quiet, "linear probes")
    found = measures.look_inside(model, data, result, logits, seed, VALIDATION_SHARE, probe=complete)
    return figures.sections(found, data, logits, result.history)


def main(config: Config) -> int:
    image_run.check("images", config)
    checks.in_range("images", "weight_decay", config.weight_decay, 0, np.inf, open_high=True)
    if config.recipe != "guide" and (config.schedule != "constant" or config.weight_decay):
        raise ValueError(f"images got a schedule or weight decay with the recipe {config.recipe}, which has its own")
    return image_run.run(config, "convolutional network", partial(recipe, config), partial(look_inside, config))


if __name__ == "__main__":
    harness.main(Config, main)
