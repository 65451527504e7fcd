"""Train the guide's CNN on images and look inside: filters, feature maps, linear probes, saliency.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from experiments import harness, image_run, recipes
from experiments import images_figures as figures
from experiments import images_measures as measures
from experiments.image_run import VALIDATION_SHARE, Recipe
from jaxnn.data.images import ImageData
from jaxnn.models import cnn
from jaxnn.optimizers import adam
from jaxnn.report import Section
from jaxnn.schedules import cosine_annealing


@dataclass(frozen=True)
class Config(image_run.Options):
    """Options; the defaults are the guide's."""

    recipe: Literal["guide", "best"] = "guide"
    """best: a wider network of the same form, on distorted images, trained as well as is known here."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the rate of the guide's recipe falls from learning_rate to 0 over the whole training."""
    out: Path = Path("runs/images")
    """Folder for the report and the numbers."""


def recipe(config: Config, data: ImageData) -> Recipe:
    """Choose the network and its training."""
    if config.recipe == "best":
        return recipes.best_cnn(data.name, len(data.class_names))
    falling = config.schedule == "cosine"
    return Recipe(
        cnn(len(data.class_names)), lambda rate, steps: adam(cosine_annealing(rate, steps) if falling else rate)
    )


def look_inside(config: Config, model, data, result, logits, seed, *, complete) -> list[Section]:
    """Measure and draw filters, feature maps and saliency, and where training was not stopped the linear probes."""
    if complete:
        harness.say(config.quiet, "linear probes")
    found = measures.look_inside(model, data, result, logits, seed, VALIDATION_SHARE, probe=complete)
    return figures.sections(found, data, logits, result.history)


def main(config: Config) -> int:
    image_run.check("images", config)
    if config.schedule != "constant" and config.recipe != "guide":
        raise ValueError(f"images got a schedule with the recipe {config.recipe}, which has its own")
    return image_run.run(config, "convolutional network", partial(recipe, config), partial(look_inside, config))


if __name__ == "__main__":
    harness.main(Config, main)
