"""What the experiment with texts measures: words counted in a logistic regression, and which words mattered."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.text_networks import network
from experiments.text_parts import joined
from jaxnn.data.text import PAD, UNKNOWN, Texts, tokenise
from jaxnn.training import predict
from jaxnn.types import Layer, Params

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)  # C of the logistic regression: larger is less regularisation


class BagOfWords(NamedTuple):
    """A logistic regression over the words of a text without their order, chosen on the validation texts."""

    choice: str
    validation_accuracy: float
    answers: np.ndarray  # [N] for the test texts
    words: tuple[str, ...]
    weights: np.ndarray  # [classes, words]


def bag_of_words(train: Texts, validation: Texts, test: Texts, *, all_texts: bool = False) -> BagOfWords:
    """Fit scikit-learn's logistic regression on counts and on tf-idf, each with several C, and keep the best.

    The words are those of `tokenise` in the training texts. Equal accuracies go to the smaller C. With `all_texts` the
    one chosen is fitted once more, on the texts for training and validation.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    best = None
    kinds: dict[str, Any] = {"counts": CountVectorizer, "tf-idf": TfidfVectorizer}
    for name, make in kinds.items():
        vectorizer = make(analyzer=tokenise)
        counted, unseen = vectorizer.fit_transform(train.texts), vectorizer.transform(validation.texts)
        for strength in STRENGTHS:
            with threadpool_limits(1):  # the products are small: two threads wait for each other most of the time
                model = LogisticRegression(C=strength, max_iter=2000).fit(counted, train.labels)
            accuracy = float(model.score(unseen, validation.labels))
            if best is None or accuracy > best[0]:
                best = accuracy, f"{name}, C = {strength:g}", vectorizer, model
    assert best is not None
    accuracy, choice, vectorizer, model = best
    if all_texts:
        train = joined(train, validation)
        with threadpool_limits(1):
            model = model.fit(vectorizer.fit_transform(train.texts), train.labels)
    weights = np.zeros((len(train.class_names), len(vectorizer.vocabulary_)))
    weights[model.classes_ if len(model.classes_) > 2 else model.classes_[1:]] = model.coef_
    if len(model.classes_) == 2:
        weights[model.classes_[0]] = -model.coef_[0]
    words = tuple(map(str, vectorizer.get_feature_names_out()))
    return BagOfWords(choice, accuracy, model.predict(vectorizer.transform(test.texts)), words, weights)


def contributions(kind: str, params: Params, rows: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """Compute gradient x input of each token's vector, [N, T] and the class looked at [N] -> [N, T], 0 for padding.

    It is that of the class's logit minus the mean over the classes, since a number added to all of them changes
    nothing. To take the gradient by place and not by word, each place is given a row of the table of its own.
    Shrikumar, Greenside, Shcherbina, Kundaje, 2016, Not Just a Black Box (gradient x input).
    """
    length = rows.shape[1]
    model = network(kind, length + 1, classes, length)
    places = np.where(rows != PAD, np.arange(1, length + 1), PAD)

    def score(table: jax.Array, place: jax.Array, answer: jax.Array) -> jax.Array:
        logits, _ = model.apply({**params, "embedding": {"embedding": table}}, (), place[None])
        return logits[0, answer] - logits.mean()

    def one(row: jax.Array, place: jax.Array, answer: jax.Array) -> jax.Array:
        table = params["embedding"]["embedding"][jnp.concatenate([jnp.array([PAD]), row])]
        return (jax.grad(score)(table, place, answer) * table).sum(-1)[1:]

    batch = jax.jit(jax.vmap(one))
    starts = range(0, len(rows), 100)
    return np.concatenate([batch(*(v[i : i + 100] for v in (rows, places, answers))) for i in starts])


class Explained(NamedTuple):
    """Which tokens of the test texts mattered to the answers, and the test of that."""

    scores: np.ndarray  # [N, T], gradient x input
    changed: tuple[float, float]  # share of answers that change without the token that mattered most, and without any
    words: list[list[str]]  # by class


def explain(
    kind: str,
    model: Layer,
    params: Params,
    rows: np.ndarray,
    logits: np.ndarray,
    vocabulary: Sequence[str],
    seed: int,
) -> Explained:
    """Measure which tokens of the test texts mattered to what the network answers."""
    answers, classes = logits.argmax(-1), logits.shape[-1]
    scores = contributions(kind, params, rows, answers, classes)
    changed = changed_answers(model, params, rows, answers, scores, seed)
    return Explained(scores, changed, telling_words(rows, scores, answers, vocabulary, classes))


def without(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the rows with the token at one place of each replaced by the unknown one."""
    changed = rows.copy()
    changed[np.arange(len(rows)), places] = UNKNOWN
    return changed


def changed_answers(
    model: Layer, params: Params, rows: np.ndarray, answers: np.ndarray, scores: np.ndarray, seed: int
) -> tuple[float, float]:
    """Measure how often an answer changes when one token is taken away: the one that mattered most, and any one.

    The test of the scores: were they arbitrary, both shares would be alike.
    """
    most = np.where(rows == PAD, -np.inf, scores).argmax(1)
    any_one = np.random.default_rng(seed).integers(0, np.maximum((rows != PAD).sum(1), 1))
    asked = [predict(model, params, (), without(rows, places)).argmax(-1) for places in (most, any_one)]
    return float((asked[0] != answers).mean()), float((asked[1] != answers).mean())


def telling_words(
    rows: np.ndarray,
    scores: np.ndarray,
    answers: np.ndarray,
    vocabulary: Sequence[str],
    classes: int,
    *,
    seen: int = 3,
    count: int = 8,
) -> list[list[str]]:
    """List for each class the words with the largest mean contribution to answering it, of words seen often enough."""
    lists = []
    for answer in range(classes):
        chosen = rows[answers == answer], scores[answers == answer]
        totals, times = (
            np.bincount(chosen[0].ravel(), weights, len(vocabulary)) for weights in (chosen[1].ravel(), None)
        )
        times[[PAD, UNKNOWN]] = 0
        means = np.where(times >= seen, totals / np.maximum(times, 1), -np.inf)
        order = [i for i in np.argsort(-means, kind="stable")[:count] if means[i] > 0]
        lists.append([vocabulary[i] for i in order])
    return lists
