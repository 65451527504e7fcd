"""Train a network to classify texts, beside a logistic regression on their words, and show which tokens mattered.

TREC, SST-2 and MR must lie in the data folder; with --dataset tsv --file PATH it reads a file of your own with lines
of label<TAB>text.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments import devices, harness, text_figures
from experiments.text_measures import BagOfWords, bag_of_words, explain
from experiments.text_networks import network
from experiments.text_parts import Parts, Tokens, as_tokens, load_parts
from jaxnn import checks, tree
from jaxnn.data.text import tokenise
from jaxnn.interop.trained import save_trained
from jaxnn.losses import softmax_cross_entropy
from jaxnn.optimizers import adam
from jaxnn.report import write_report
from jaxnn.schedules import cosine_annealing
from jaxnn.training import FitResult, TrainState, early_stopping, fit, predict, run_keys

RATE = {"rnn": 1e-3, "lstm": 2e-3, "gru": 4e-3, "transformer": 1e-3}

BEST = early_stopping("validation_accuracy", maximize=True, patience=10**9)  # no epoch is left out


@dataclass(frozen=True)
class Config(devices.Devices):
    """Options."""

    dataset: Literal["trec", "sst2", "mr", "tsv"] = "trec"
    """Questions of six kinds, sentences or snippets of film reviews, or a file of your own."""
    file: Path | None = None
    """With --dataset tsv: the file, UTF-8 with one label<TAB>text a line."""
    data_dir: Path | None = None
    """Folder that holds text/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    model: Literal["rnn", "lstm", "gru", "transformer"] = "gru"
    """The network that reads the tokens."""
    epochs: int | None = None
    """Passes over the training texts; the best one by validation accuracy is kept (default: 10; sst2 and mr 5)."""
    batch_size: int = 64
    """Texts a step."""
    learning_rate: float | None = None
    """Adam's, falling to zero in half a wave of the cosine (default: 4e-3; lstm 2e-3, rnn and transformer 1e-3)."""
    all_texts: bool = False
    """Train on the validation texts too, to the last epoch: for options that were chosen before."""
    seeds: int = 1
    """Networks trained, from seed, seed + 1, ... on the same texts; the report shows the first."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more seeds go on too."""
    out: Path = Path("runs/text")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


class Trained(NamedTuple):
    """A trained network: its best or last state, what it answers on the test set, and why it stopped."""

    result: FitResult
    best: TrainState
    validation_accuracy: float | None
    logits: np.ndarray
    stop: harness.Stop | None


def epochs_of(config: Config) -> int:
    """Return the number of epochs: as asked for, or enough for the data set."""
    return config.epochs if config.epochs is not None else 5 if config.dataset in ("sst2", "mr") else 10


def check(config: Config) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    checks.positive_int("text", "epochs", epochs_of(config))
    checks.positive_int("text", "batch_size", config.batch_size)
    checks.positive_int("text", "seeds", config.seeds)
    if config.learning_rate is not None:
        checks.in_range("text", "learning_rate", config.learning_rate, 0, np.inf, open_high=True)
    if (config.file is not None) != (config.dataset == "tsv"):
        raise ValueError("text expected --file PATH with --dataset tsv, and only there")
    run_keys(config.seed + config.seeds - 1)


def train(config: Config, model: Any, tokens: Tokens, seed: int, out: Path) -> Trained:
    """Train from one seed, keep the best epoch if there are texts to tell it, and answer the test set once."""
    epochs = epochs_of(config)
    steps = epochs * -(-tokens.train.size // config.batch_size)
    rate = RATE[config.model] if config.learning_rate is None else config.learning_rate
    result, stop = harness.until_stopped(
        lambda: fit(
            model,
            softmax_cross_entropy,
            adam(cosine_annealing(rate, steps)),
            tokens.train,
            epochs=epochs,
            batch_size=config.batch_size,
            validation=tokens.validation,
            early_stopping=tokens.validation and BEST,
            checkpoints=out / harness.CHECKPOINTS / f"seed_{seed}",
            resume=config.resume,
            seed=seed,
            mesh=devices.mesh_of(config),
            callback=lambda record, _: harness.append_record(out, {"seed": seed, **record}),
            verbose=not config.quiet,
        )
    )
    state, best = result.train_state, result.best_epoch
    reached = result.history[best - 1]["validation_accuracy"] if best else None
    return Trained(result, state, reached, predict(model, state.params, (), tokens.test.inputs), stop)


def summarise(
    config: Config, trained: list[Trained], parts: Parts, bag: BagOfWords, stop: harness.Stop | None
) -> dict[str, Any]:
    """Put the numbers of all networks together; single ones are those of the first."""
    labels, first = parts.test.labels, trained[0]
    history = first.result.history
    accuracies = [right(one.logits.argmax(-1), labels) for one in trained]
    frequent = np.full_like(labels, np.bincount(parts.train.labels).argmax())
    best = [one.validation_accuracy for one in trained if one.validation_accuracy is not None]
    return {
        **harness.over_seeds("test_accuracy", accuracies),
        "bag_of_words_test_accuracy": right(bag.answers, labels),
        "difference": float(np.mean(accuracies)) - right(bag.answers, labels),
        **(harness.over_seeds("validation_accuracy", best) if best else {}),
        "bag_of_words_validation_accuracy": bag.validation_accuracy,
        "bag_of_words": bag.choice,
        "most_frequent_class_test_accuracy": right(frequent, labels),
        "dataset": config.dataset,
        "data_source": parts.source,
        "all_texts": config.all_texts,
        "model": config.model,
        "status": stop.reason if stop else "finished",
        "epochs": len(history),
        "best_epoch": first.result.best_epoch,
        "parameters": tree.size(first.best.params),
        "params_sha256": tree.sha256(first.best.params),
        "seconds_per_epoch": float(np.median([record["seconds"] for record in history] or [0.0])),
        "compile_seconds": first.result.compile_seconds,
        "train_seconds": first.result.train_seconds,
        "seed": config.seed,
    }


def right(answers: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of right answers."""
    return float((answers == labels).mean())


def main(config: Config) -> int:
    check(config)
    parts = load_parts(config.dataset, config.file, config.data_dir, config.seed)
    tokens = as_tokens(parts, all_texts=config.all_texts)
    length, classes, labels = tokens.train.inputs.shape[1], len(parts.train.class_names), parts.test.labels
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    sizes = ", ".join(f"{len(part.texts):,}" for part in parts[:3])
    say(f"{config.dataset}: {sizes} texts for training, validation and test from {parts.source}")
    bag = bag_of_words(*parts[:3], all_texts=config.all_texts)
    say(f"bag of words: test accuracy {right(bag.answers, labels):.2%} ({bag.choice})")

    model = network(config.model, len(tokens.vocabulary), classes, length)
    trained: list[Trained] = []
    stop = None
    for seed in range(config.seed, config.seed + config.seeds):
        one = train(config, model, tokens, seed, out)
        stop = one.stop
        if not devices.is_first():  # what follows is done by process 0 alone
            if stop:
                return stop.exit_code
            continue
        if stop and trained:  # a network cut short does not belong into the mean
            break
        trained.append(one)
        say(f"{config.model}, seed {seed}: test accuracy {right(one.logits.argmax(-1), labels):.2%}")
        harness.write_json(out / "summary.json", summarise(config, trained, parts, bag, stop))
        if stop:
            break
    if not devices.is_first():
        return 0
    summary = summarise(config, trained, parts, bag, stop)
    first = trained[0]
    explained = explain(
        config.model, model, first.best.params, tokens.test.inputs, first.logits, tokens.vocabulary, config.seed
    )
    summary |= {"changed_by_top_token": explained.changed[0], "changed_by_any_token": explained.changed[1]}
    harness.write_json(out / "summary.json", summary)
    inputs, names = tokens.test.inputs, parts.train.class_names
    save_trained(out, model, first.best.params, (), inputs, names, dataset=config.dataset, vocabulary=tokens.vocabulary)
    words = [tokenise(text) for text in parts.test.texts]
    write_report(out, text_figures.page(config, model, parts, tokens, words, first, explained, bag, summary))
    if stop:
        print(stop.reason, file=sys.stderr)
    say(
        f"test accuracy {summary['test_accuracy_mean']:.2%}, bag of words {summary['bag_of_words_test_accuracy']:.2%}, "
        f"report: {out / 'report.html'}"
    )
    return stop.exit_code if stop else 0


if __name__ == "__main__":
    harness.main(Config, main)
