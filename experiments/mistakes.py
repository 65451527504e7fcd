"""Make the guide's common mistakes on purpose, each beside its cure: the accuracy lost, and what the doctor says.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

from experiments import harness, mistakes_cases, mistakes_figures, pages
from experiments import mistakes_measures as measures
from experiments.image_run import MEAN_STD, load_images
from experiments.mistakes_cases import Way
from experiments.mistakes_measures import Made
from jaxnn import checks
from jaxnn.data.images import ImageData
from jaxnn.report import Page, Section, Table, write_report
from jaxnn.training import FitInterrupted, run_keys

EPOCHS = {"mnist": 6, "fashion_mnist": 6, "digits": 20}


@dataclass(frozen=True)
class Config:
    """Options."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    network: Literal["mlp", "cnn", "lstm"] = "mlp"
    """In which the mistakes are made; the LSTM reads an image row by row."""
    images: int = 3_000
    """Images, drawn at random: five in six to train on, one in six for validation."""
    epochs: int | None = None
    """Passes over the images to train on, but for overfitting (default: 6; 20 on digits)."""
    seeds: int = 1
    """How often each mistake is made, from seed, seed + 1, ...; the report shows the words about the first."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed."""
    out: Path = Path("runs/mistakes")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: Config) -> int:
    for name in ("images", "seeds"):
        checks.positive_int("mistakes", name, getattr(config, name))
    checks.positive_int("mistakes", "epochs", 1 if config.epochs is None else config.epochs)
    run_keys(config.seed + config.seeds - 1)
    data, substitute = load_images(config)
    checks.in_range("mistakes", "images", config.images, 2 * mistakes_cases.FEW, data.train.size)
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    say(f"{data.name}: {config.images:,} of {data.train.size:,} images from {data.source}")
    if substitute:
        say(f"note: {substitute}")
    made: list[Made] = []
    stop = None
    try:
        for seed in range(config.seed, config.seed + config.seeds):
            make_all(config, data, seed, out, made)
    except KeyboardInterrupt as interrupt:
        if not made:
            raise
        code = 128 + interrupt.signal_number if isinstance(interrupt, FitInterrupted) else 130
        stop = harness.Stop(f"Stopped after {len(made)} mistakes.", code)
    by_mistake = {name: [one for one in made if one.mistake.name == name] for name in {m.mistake.name: 0 for m in made}}
    summary = summarise(config, data, by_mistake, stop)
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, data, substitute, stop, by_mistake, summary))
    if stop:
        print(stop.reason, file=sys.stderr)
    say(f"{summary['found']} of {summary['made']} mistakes found, report: {out / 'report.html'}")
    return stop.exit_code if stop else 0


def make_all(config: Config, data: ImageData, seed: int, out: Path, made: list[Made]) -> None:
    """Make every mistake with one seed and train its cure, once where mistakes share it."""
    prepared = mistakes_cases.prepared(data, config.images, MEAN_STD[data.name], seed)
    cured: dict[int, measures.Trained] = {}
    for mistake in mistakes_cases.mistakes(config.network, prepared, config.epochs or EPOCHS[data.name], seed):

        def trained(way: Way, kind: str, name: str = mistake.name) -> measures.Trained:
            def record(measured: Mapping[str, Any]) -> None:
                harness.append_record(out, {"seed": seed, "task": f"{name}, {kind}", **measured})

            folder = out / harness.CHECKPOINTS / f"seed_{seed}" / f"{name}_{kind}".replace(" ", "_")
            return measures.train(way, seed, record, checkpoints=folder, resume=config.resume)

        wrong = trained(mistake.wrong, "mistake")
        if id(mistake.right) not in cured:
            cured[id(mistake.right)] = trained(mistake.right, "cure")
        right = cured[id(mistake.right)]
        made.append(Made(mistake, wrong, right, measures.examine(mistake.wrong, wrong, seed)))
        said = made[-1].said()
        harness.say(
            config.quiet,
            f"seed {seed}, {mistake.name}: {written(wrong)} against {written(right)}; doctor, {said.check}: "
            f"{said.outcome}, {said.measured}",
        )


def written(trained: measures.Trained) -> str:
    """Write an accuracy."""
    return "refused" if trained.accuracy is None else f"{trained.accuracy:.1%}"


def summarise(
    config: Config, data: ImageData, by_mistake: Mapping[str, Sequence[Made]], stop: harness.Stop | None
) -> dict[str, Any]:
    """Put the numbers together: for each mistake both accuracies, and how often it was found."""
    everything = [one for made in by_mistake.values() for one in made]
    summary: dict[str, Any] = {
        "made": len(everything),
        "found": sum(one.said().outcome == "finding" for one in everything),
        "dataset": data.name,
        "data_source": data.source,
        "network": config.network,
        "status": stop.reason if stop else "finished",
        "seed": config.seed,
    }
    for name, made in by_mistake.items():
        key = name.replace(" ", "_")
        for way, number in product(("wrong", "right"), ("accuracy", "loss")):
            known = [value for one in made if (value := getattr(getattr(one, way), number)) is not None]
            summary |= harness.over_seeds(f"{key}_{way}_test_{number}", known) if known else {}
        summary[f"{key}_found"] = sum(one.said().outcome == "finding" for one in made)
    return summary


def page(
    config: Config,
    data: ImageData,
    substitute: str | None,
    stop: harness.Stop | None,
    by_mistake: Mapping[str, Sequence[Made]],
    summary: Mapping[str, Any],
) -> Page:
    """Put together the report."""
    firsts = [made[0] for made in by_mistake.values()]
    rows = [(one.mistake.title, [(m.wrong, m.right) for m in by_mistake[one.mistake.name]]) for one in firsts]
    costs = [
        (one.mistake.title, one.mistake.cure, *map(written, ways), *(one.loss and round(one.loss, 2) for one in ways))
        for one in firsts
        for ways in [(one.wrong, one.right)]
    ]
    words = [(one.mistake.title, one.said().measured) for one in firsts]
    advice = "\n\n".join(
        f"{one.mistake.title} (check: {one.said().check}, healthy: {one.said().healthy}). "
        f"Advice: {one.said().advice or 'none, it was not found'}."
        for one in firsts
    )
    found = [[finding.check for finding in one.diagnosis.having("finding")] for one in firsts]
    everything = [(one.mistake.title, ", ".join(names) or None) for one, names in zip(firsts, found, strict=True)]
    name = data.name.replace("_", "-").upper()
    return Page(
        "Common mistakes, and what the doctor says",
        f"{config.images:,} images of {name}, network {config.network}, seed {config.seed}",
        [notice for notice in (substitute, stop and stop.reason) if notice],
        [("mistakes found", f"{summary['found']} of {summary['made']}")],
        [
            Section(
                "Accuracy with the mistake and with its cure",
                "Test accuracy, the mean over seeds where there are several. The stroke is the accuracy on what the "
                "training took for its validation set: where that was trained on, it promises too much. Overfitting "
                "costs more loss than accuracy: what is wrong is wrong with more confidence.",
                partial(mistakes_figures.accuracies, rows),
                Table(("mistake", "cure", "accuracy", "with cure", "loss", "with cure"), costs),
            ),
            Section(
                "What the doctor measured",
                "Examined is the network that was trained with the mistake.",
                table=Table(("mistake", "measured"), words),
            ),
            Section("What the doctor advises", text=advice),
            Section(
                "All findings",
                "A mistake has consequences, so one brings on others: unnormalised inputs make the first loss large.",
                table=Table(("mistake", "findings"), everything),
                folded=True,
            ),
            *pages.circumstances(config),
        ],
    )


if __name__ == "__main__":
    harness.main(Config, main)
