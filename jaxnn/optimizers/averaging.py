"""The moving average of the parameters beside the parameters themselves."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.optimizers.transformation import correction
from jaxnn.types import Array, Params

if TYPE_CHECKING:
    from optax import GradientTransformation


class AveragedState(NamedTuple):
    """The number of updates so far, the average of the parameters, and the state of the wrapped optimizer."""

    step: jax.Array
    average: Params
    inner: Any


def ema(
    optimizer: "GradientTransformation", decay: float | Array = 0.999, *, debias: bool = False
) -> "GradientTransformation":
    """Wrap an optimizer so that its state keeps the average of the parameters: a <- decay a + (1 - decay) w.

    w are the parameters after the update, which the wrapped optimizer decides alone; `averaged_params` reads a. The
    first update copies, a = w, as `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`; so the
    first w weighs decay^(t-1) after t updates. `debias` gives each w its share (1 - decay) decay^(t-i) of the sum
    1 - decay^t instead, as Adam's m̂ and `optax.ema`. The average is kept in at least float32. A state such as the
    statistics of batch norm is not averaged. Put it around a whole chain, or last in one, since it must see the
    updates that are made. `update` needs the parameters: ValueError without. Polyak and Juditsky, 1992, Acceleration
    of Stochastic Approximation by Averaging (the plain mean of the parameters).

    >>> import optax
    >>> from jaxnn.optimizers import sgd
    >>> optimizer, w = ema(sgd(1.0), 0.75), jnp.array([0.0])
    >>> state = optimizer.init(w)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(jnp.array([-1.0]), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> print(w, averaged_params(state))  # 0.75 * 1 + 0.25 * 2
    [2.] [1.25]
    """
    from optax import GradientTransformation

    if not isinstance(optimizer, GradientTransformation):
        raise TypeError(f"ema expected an optimizer such as adam(1e-3) but got {type(optimizer).__name__}")
    checks.in_range("ema", "decay", decay, 0, 1, open_high=True)

    def init(params):
        checks.trainable("ema", params)
        # A copy: where the caller donates the parameters' memory, the average must have its own.
        average = jax.tree.map(lambda w: jnp.array(w, wide(w).dtype), params)
        return AveragedState(jnp.int32(0), average, optimizer.init(params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("ema needs the parameters to average: call update(gradients, state, params)")
        checks.same_leaves("ema", "parameters", params, state.average)
        updates, inner = optimizer.update(updates, state.inner, params)
        step = state.step + 1
        weight = (1 - decay) / correction(decay, step.astype(jnp.float32)) if debias else 1 - decay
        weight = jnp.where(step == 1, 1, weight)

        def averaged(a, w, u):
            return a + jnp.asarray(weight, a.dtype) * ((w + u).astype(w.dtype).astype(a.dtype) - a)

        return updates, AveragedState(step, jax.tree.map(averaged, state.average, params, updates), inner)

    return GradientTransformation(init, update)


def averaged_params(opt_state: Any) -> Params:
    """Find the average that `ema` keeps in an optimizer's state, through `optax.chain` and other wrappers too.

    Before the first update it is the parameters that the state was made of. Raises ValueError where there is none, or
    more than one, as in `optax.partition` of two.

    >>> import optax
    >>> from jaxnn.optimizers import adam, clip_by_global_norm
    >>> optimizer = optax.chain(clip_by_global_norm(1.0), ema(adam(1e-3)))
    >>> averaged_params(optimizer.init({"weight": jnp.ones(2)}))
    {'weight': Array([1., 1.], dtype=float32)}
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AveragedState))
    found = [node.average for node in nodes if isinstance(node, AveragedState)]
    if len(found) != 1:
        raise ValueError(
            f"averaged_params expected the state of one ema(...) in opt_state but found {len(found)}: "
            "train with ema(optimizer, decay)"
        )
    return found[0]
