"""What the experiment with common mistakes measures: a network trained one way, and what the doctor says of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from experiments.mistakes_cases import Mistake, Way
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.optimizers import adam
from jaxnn.training import FitResult, NotFiniteError, early_stopping, evaluate, fit, run_keys
from jaxnn.training.doctor import doctor
from jaxnn.training.doctor_findings import Diagnosis, Finding


class Trained(NamedTuple):
    """A network trained one way; the numbers are None where training was refused."""

    accuracy: float | None
    loss: float | None
    watched: float | None  # on what was taken for a validation set
    result: FitResult | None


class Made(NamedTuple):
    """A mistake that was made with one seed, the training with its cure, and what the doctor says of the mistake."""

    mistake: Mistake
    wrong: Trained
    right: Trained
    diagnosis: Diagnosis

    def said(self) -> Finding:
        """Return the finding that belongs to the mistake; where there is none, the answer that should have been it."""
        asked = [one for one in self.diagnosis.findings if one.check in self.mistake.checks]
        return next((one for one in asked if one.outcome == "finding"), asked[0])


def train(way: Way, seed: int, record: Callable[[dict[str, Any]], None] | None = None, **saving: Any) -> Trained:
    """Train one way and test once; a training that ends in NaN is tested where it ended, wrong labels are refused.

    `saving` are `fit`'s `checkpoints` and `resume`.
    """
    try:
        result = fit(
            way.model,
            softmax_cross_entropy,
            adam(way.rate),
            way.train,
            epochs=way.epochs,
            validation=way.validation if way.watched else None,
            init=way.init,
            early_stopping=early_stopping(patience=way.epochs) if way.stop_early else None,
            seed=seed,
            callback=None if record is None else lambda measured, _: record(measured),
            verbose=False,
            **saving,
        )
    except NotFiniteError as stopped:
        result = stopped.result
    except (TypeError, ValueError):
        return Trained(None, None, None, None)
    if not way.keep_state:
        forgotten = way.model.init(run_keys(seed).init)[1]
        result = result._replace(train_state=result.train_state._replace(model_state=forgotten))
    measure = partial(evaluate, way.model, *result.train_state[:2])
    tested, watched = (
        measure(part, softmax_cross_entropy, {"accuracy": accuracy}) for part in (way.test, way.validation)
    )
    return Trained(tested["accuracy"], tested["loss"], watched["accuracy"], result)


def examine(way: Way, trained: Trained, seed: int) -> Diagnosis:
    """Ask the doctor about a way to train and what came of it."""
    return doctor(
        way.model,
        way.train,
        make_optimizer=adam,
        learning_rate=way.rate,
        trained=trained.result,
        validation=way.validation,
        test=way.test,
        init=way.init,
        seed=seed,
    )
