"""The models that stand beside the network, how their settings are chosen, and what is measured of each."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data import Dataset
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.training import fit, predict

SHARE = 0.25  # of the examples for testing, and of the others for validation
BATCH, STEPS, MOST_EPOCHS = 32, 4000, 100  # of the network: at most so many steps, and passes

Settings = Mapping[str, Any]


class Task(NamedTuple):
    """A table of examples, float32 [N, D], and what is asked for: class labels, int32 [N], or numbers, float32 [N]."""

    name: str
    inputs: np.ndarray
    targets: np.ndarray
    features: Sequence[str]
    classes: Sequence[str]  # none for regression
    hidden: tuple[int, ...] = (64, 64)  # of the network
    one_scale: bool = False  # pixels are of one kind: one mean and one deviation for all of them


class Fitted(NamedTuple):
    """A trained model: its answers, the settings it was trained with, and how long it took."""

    predict: Callable[[np.ndarray], np.ndarray]
    settings: Settings
    seconds: float  # of the processor, all its threads together, without compilation
    compile_seconds: float = 0.0
    history: Sequence[Mapping[str, Any]] = ()  # of a network


class Contender(NamedTuple):
    """A model by its name, the settings to choose from, and `make(task, settings, seed)`, scikit-learn's estimator."""

    name: str
    settings: Sequence[Settings]
    make: Callable[[Task, Settings, int], Any] | None = None  # None: the network


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return every combination.

    >>> grid(depth=(2, 4), leaf=(1,))
    [{'depth': 2, 'leaf': 1}, {'depth': 4, 'leaf': 1}]
    """
    found: list[dict[str, Any]] = [{}]
    for name, options in values.items():
        found = [chosen | {name: option} for chosen in found for option in options]
    return found


def _linear(task: Task, settings: Settings, seed: int) -> Any:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return LogisticRegression(max_iter=1000, **settings) if task.classes else LinearRegression()


def _tree(task: Task, settings: Settings, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    return (DecisionTreeClassifier if task.classes else DecisionTreeRegressor)(random_state=seed, **settings)


def _forest(task: Task, settings: Settings, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return (RandomForestClassifier if task.classes else RandomForestRegressor)(200, random_state=seed, **settings)


def _boosting(task: Task, settings: Settings, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    boosting = HistGradientBoostingClassifier if task.classes else HistGradientBoostingRegressor
    options: dict[str, Any] = {"early_stopping": False, "random_state": seed, **settings}
    return boosting(**options)


TABLES = (
    Contender("network", grid(dropout=(0.0, 0.3))),
    Contender("linear", grid(C=(0.01, 0.1, 1.0, 10.0)), _linear),
    Contender("decision tree", grid(max_depth=(2, 3, 4, 6, 10)), _tree),
    Contender("random forest", grid(min_samples_leaf=(1, 4), max_features=("sqrt", 0.5)), _forest),
    # Leaves of 5: scikit-learn's 20 would leave hardly a split in 100 examples.
    Contender(
        "gradient boosting",
        grid(learning_rate=(0.05, 0.2), max_leaf_nodes=(4, 15), max_iter=(60,), min_samples_leaf=(5,)),
        _boosting,
    ),
)
# Ten classes are ten trees a round: what takes long is not searched.
IMAGES = (
    Contender("network", grid(dropout=(0.2,))),
    Contender("linear", grid(C=(0.001, 0.01, 0.1)), _linear),
    Contender("decision tree", [{}], _tree),
    Contender("random forest", [{}], _forest),
    Contender("gradient boosting", grid(learning_rate=(0.2,), max_iter=(30,), max_features=(0.1,)), _boosting),
)


def tables() -> list[Task]:
    """Return the tabular tasks: what scikit-learn ships, and one made by a rule that no linear model can say.

    Friedman, 1991, Multivariate adaptive regression splines: 10 sin(pi a b) + 20 (c - 0.5)^2 + 10 d + 5 e + noise of
    deviation 1, and five features more that say nothing.
    """
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine, make_friedman1

    found = []
    for name, load in (("breast cancer", load_breast_cancer), ("wine", load_wine), ("iris", load_iris)):
        raw: Any = load()
        found.append(_task(name, raw.data, raw.target.astype(np.int32), raw.feature_names, raw.target_names))
    raw = load_digits()
    found.append(_task("digits", raw.data, raw.target.astype(np.int32), raw.feature_names, map(str, range(10))))
    raw = load_diabetes()
    found.append(_task("diabetes", raw.data, raw.target.astype(np.float32), raw.feature_names, ()))
    x, y = make_friedman1(1000, noise=1.0, random_state=0)
    return [*found, _task("Friedman's rule", x, y.astype(np.float32), [f"x{i}" for i in range(10)], ())]


def _task(name: str, inputs: np.ndarray, targets: np.ndarray, features: Any, classes: Any) -> Task:
    return Task(name, inputs.astype(np.float32), targets, [str(word) for word in features], [str(c) for c in classes])


def divide(task: Task, examples: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a quarter of the examples, classes in proportion; return the indices of the others and of the quarter."""
    from sklearn.model_selection import train_test_split

    same = task.targets[examples] if task.classes else None
    known, new = train_test_split(examples, test_size=SHARE, random_state=seed, stratify=same)
    return np.asarray(known), np.asarray(new)


def part(task: Task, known: np.ndarray, examples: np.ndarray) -> Dataset:
    """Return examples with features (and numbers to predict, [N, 1]) standardised by the known ones."""
    x, y = task.inputs, task.targets
    axis = None if task.one_scale else 0
    deviation = x[known].std(axis)
    inputs = (x[examples] - x[known].mean(axis)) / np.where(deviation == 0, 1, deviation)
    targets = y[examples] if task.classes else ((y[examples] - y[known].mean()) / y[known].std())[:, None]
    return Dataset(inputs, targets)


def score(task: Task, answers: np.ndarray, targets: np.ndarray) -> float:
    """Compute the accuracy, or for regression R2 = 1 - squared error / that of the mean, the best constant.

    R2 is the same of numbers that were standardised.
    """
    if task.classes:
        return float((answers == targets).mean())
    return float(1 - np.square(answers - targets[:, 0], dtype=np.float64).mean() / np.var(targets, dtype=np.float64))


def train(contender: Contender, task: Task, data: Dataset, settings: Settings, seed: int, **options: Any) -> Fitted:
    """Train one model; the options are those of `fit`, for the network."""
    if contender.make is None:
        return _train_network(task, data, settings, seed, **options)
    model = contender.make(task, settings, seed)
    begin = time.process_time()
    model.fit(data.inputs, data.targets if task.classes else data.targets[:, 0])
    return Fitted(model.predict, settings, time.process_time() - begin)


def _train_network(task: Task, data: Dataset, settings: Settings, seed: int, **options: Any) -> Fitted:
    model = mlp(
        (data.inputs.shape[1], *task.hidden, max(1, len(task.classes))), dropout=settings["dropout"]
    )  # one number is one output
    ticks: list[float] = []
    result = fit(
        model,
        softmax_cross_entropy if task.classes else mean_squared_error,
        adam(1e-3),
        data,
        epochs=settings.get("epochs", max(1, min(MOST_EPOCHS, STEPS * BATCH // data.size))),
        batch_size=BATCH,
        seed=seed,
        callback=lambda *_: ticks.append(time.process_time()),
        verbose=False,
        **options,
    )
    # The first tick comes after compilation and the first epoch; of one epoch alone there is the clock on the wall.
    seconds = (ticks[-1] - ticks[0]) * len(ticks) / (len(ticks) - 1) if len(ticks) > 1 else result.train_seconds

    def answers(inputs: np.ndarray) -> np.ndarray:
        outputs = predict(model, *result.train_state[:2], inputs)
        return outputs.argmax(-1) if task.classes else outputs[:, 0]

    return Fitted(answers, settings, seconds, result.compile_seconds, result.history)


def choose(contender: Contender, task: Task, examples: np.ndarray, seed: int) -> Settings:
    """Choose the settings that do best on a quarter of the training examples, trained on the rest of them.

    A network is also told for how many epochs to train: those with the smallest loss on that quarter.
    """
    options = [{}] if contender.name == "linear" and not task.classes else contender.settings
    if len(options) == 1 and contender.make is not None:
        return options[0]
    known, new = divide(task, examples, seed)
    data, validation = part(task, known, known), part(task, known, new)
    if contender.make is None:
        losses = []
        for settings in options:
            fitted = train(contender, task, data, settings, seed, validation=validation)
            losses.append([record["validation_loss"] for record in fitted.history])
        i = int(np.argmin([min(values) for values in losses]))
        return {**options[i], "epochs": int(np.argmin(losses[i])) + 1}
    trained = [train(contender, task, data, settings, seed) for settings in options]
    scores = [score(task, fitted.predict(validation.inputs), validation.targets) for fitted in trained]
    return options[int(np.argmax(scores))]


def measure(contender: Contender, task: Task, known: np.ndarray, test: Dataset, seed: int) -> dict[str, Any]:
    """Choose settings, train on all known examples, and look at the test part once."""
    settings = choose(contender, task, known, seed)
    fitted = train(contender, task, part(task, known, known), settings, seed)
    return {
        "task": task.name,
        "model": contender.name,
        "length": len(known),
        "classes": bool(task.classes),
        "seed": seed,
        "score": score(task, fitted.predict(test.inputs), test.targets),
        "seconds": fitted.seconds,
        "compile_seconds": fitted.compile_seconds,
        "settings": dict(settings),
    }


def compare_on_table(task: Task, seed: int, contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Measure every contender on the split of this seed: three quarters to learn from, a quarter to test."""
    known, new = divide(task, np.arange(len(task.inputs)), seed)
    return [measure(contender, task, known, part(task, known, new), seed) for contender in contenders]


def compare_on_subset(
    task: Task, test: Task, count: int, seed: int, contenders: Sequence[Contender]
) -> list[dict[str, Any]]:
    """Measure every contender on `count` examples, drawn with the classes in proportion, and on all test examples."""
    from sklearn.model_selection import train_test_split

    known = np.arange(len(task.inputs))
    if count < len(known):
        drawn, _ = train_test_split(known, train_size=count, random_state=seed, stratify=task.targets)
        known = np.asarray(drawn)
    whole = task._replace(
        inputs=np.concatenate([task.inputs, test.inputs]), targets=np.concatenate([task.targets, test.targets])
    )
    new = part(whole, known, np.arange(len(task.inputs), len(whole.inputs)))
    return [measure(contender, whole, known, new, seed) for contender in contenders]
