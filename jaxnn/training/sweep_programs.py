"""Many trainings in one program: a chunk of members side by side or one after the other, as memory and speed allow."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.training.epoch import Progress, compile_epoch, epoch_program, no_progress
from jaxnn.training.evaluation import evaluation_step
from jaxnn.training.machine import device_memory
from jaxnn.training.state import FEW_OPTIMIZATIONS, RunKeys, TrainState, init_train_state
from jaxnn.training.step import Totals, train_step
from jaxnn.training.sweep_settings import Recipe, Structure, made
from jaxnn.types import Params, State

# On a CPU, of whole epochs: at 2,410 parameters `vmap` took 0.7 of the time of `lax.map`, at 4,810 as long, at 9,610
# 1.1 times as long and at 50,826 1.6 times.
SIDE_BY_SIDE = 3_000
# One after the other, every piece of training copies all states in and out. With 16 networks for MNIST, pieces of 4
# steps took 1.7 times as long as single networks, and pieces of 16 and more steps 0.9 to 1.0 times.
MOST_IN_TURN = 16
MEMORY_SHARE = 0.5  # of the device's memory that one program may need, with all that it works on


class Running(NamedTuple):
    """One training while it runs; with a leading axis on every leaf, many of them."""

    numbers: dict[str, jax.Array]
    keys: RunKeys
    train_state: TrainState
    progress: Progress


class Programs(NamedTuple):
    """The compiled programs of a structure, each over a chunk of members, and how they share it, in words."""

    start: Callable[..., Running]
    run: Callable[..., tuple[Running, jax.Array]]
    run_short: Callable[..., tuple[Running, jax.Array]] | None
    evaluate: Callable[..., Totals]
    chunk: int
    how: str


def over_members(function: Callable[..., Any], together: bool) -> Callable[..., Any]:
    """Make `(many, *shared) -> results` of `(one, *shared) -> result`, by `vmap` or else by `lax.map`.

    >>> over_members(lambda one, shared: one * shared, True)(jnp.arange(3), 2)
    Array([0, 2, 4], dtype=int32)
    """
    if together:
        return lambda many, *shared: jax.vmap(lambda one: function(one, *shared))(many)
    return lambda many, *shared: jax.lax.map(lambda one: function(one, *shared), many)


def compile_members(
    recipe: Recipe, structure: Structure, members: int, dataset: Dataset, size: int, batch_size: int
) -> Programs:
    """Compile the programs of a structure, for as many of its members at once as memory allows.

    An epoch has `size` of the dataset's examples: with a validation split, each seed has its own.
    """
    batch = jax.tree.map(lambda field: field[:batch_size], dataset)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    one = dict.fromkeys(structure.mapped, number), RunKeys(*(key for _ in RunKeys._fields))
    start, run = _start_member(recipe, structure, batch), _run_member(recipe, structure)
    params = jax.eval_shape(start, one).train_state.params
    together = side_by_side(params)

    def compiled(chunk: int) -> tuple[Any, Any, Any]:
        starts = jax.jit(over_members(start, together), compiler_options=FEW_OPTIMIZATIONS)
        program = jax.jit(over_members(run, together))
        many = jax.eval_shape(starts, _stacked(one, chunk))

        def lower(short: bool) -> Any:
            shape = (1, size % batch_size) if short else (size // batch_size, batch_size)
            order = jax.ShapeDtypeStruct((chunk, *shape), jnp.int32)
            return program.lower((many, order), dataset, jnp.int32(0), jnp.int32(0))

        return starts, *compile_epoch("fit_many", lower, size, batch_size)

    def equal(most: int) -> int:
        """Return the size of chunks that are as equal as they can be."""
        return -(-members // -(-members // most))

    chunk = wanted = members if together else equal(MOST_IN_TURN)
    programs, allowed = compiled(chunk), MEMORY_SHARE * device_memory()
    while chunk > 1 and (needed := memory_of(programs[1])) > allowed:
        chunk = equal(max(1, min(chunk - 1, int(chunk * allowed / needed))))
        programs = compiled(chunk)
    evaluate = jax.jit(over_members(_evaluate_member(recipe, structure), together))
    return Programs(*programs, evaluate, chunk, _how(params, members, chunk, chunk < wanted, together))


def side_by_side(params: Params) -> bool:
    """Tell whether `vmap` is the way to compute many networks: off the CPU, or for small ones without kernels.

    A kernel of its own for each network makes a convolution four to seven times slower on a CPU.

    >>> side_by_side({"weight": jnp.zeros((2, 16))})
    True
    """
    small = tree.size(params) <= SIDE_BY_SIDE and all(leaf.ndim < 3 for leaf in jax.tree.leaves(params))
    return small or jax.default_backend() != "cpu"


def _stacked(one: Any, chunk: int) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((chunk, *leaf.shape), leaf.dtype), one)


def _how(params: Params, members: int, chunk: int, short: bool, together: bool) -> str:
    """Say how the members share the program, and why."""
    networks = f"{members} networks" if members != 1 else "1 network"
    mapped = "side by side (vmap)" if together else "one after the other (lax.map)"
    parts = f" in chunks of {chunk}{', as memory is short' * short}" if chunk < members else ""
    if jax.default_backend() != "cpu":
        reason = "which keeps an accelerator busy"
    elif together:
        reason = f"of {tree.size(params):,} parameters each"
    elif any(leaf.ndim > 2 for leaf in jax.tree.leaves(params)):
        reason = "with convolutions, which vmap makes slow on a CPU"
    else:
        reason = f"of {tree.size(params):,} parameters each, which vmap does not make clearly faster on a CPU"
    return f"{networks} {mapped}{parts}: {reason}"


def memory_of(program: Any) -> float:
    """Return the bytes that a compiled program needs: what goes in, what comes out, and in between.

    >>> memory_of(jax.jit(jnp.sin).lower(jnp.ones(1000)).compile()) >= 8000
    True
    """
    needed = program.memory_analysis()
    if needed is None:  # the backend does not say
        return 0.0
    return needed.argument_size_in_bytes + needed.output_size_in_bytes + needed.temp_size_in_bytes


def _start_member(recipe: Recipe, structure: Structure, batch: Dataset) -> Callable[..., Running]:
    """Make `(numbers, keys) -> member` before its first step."""

    def start(given: tuple[dict[str, jax.Array], RunKeys]) -> Running:
        numbers, keys = given
        model, optimizer = made(recipe.make, structure.fixed | numbers)
        state = init_train_state(model.init, optimizer, keys.init)
        step = train_step(model, recipe.loss, optimizer, recipe.metrics)
        return Running(numbers, keys, state, no_progress(step, state, batch, keys.step))

    return start


def _run_member(recipe: Recipe, structure: Structure) -> Callable[..., tuple[Running, jax.Array]]:
    """Make `((member, order), dataset, first, last) -> (member, finite)`: those batches, as `epoch_program` does them.

    `finite` says whether the parameters and the model's state still are numbers.
    """

    def run(given: tuple[Running, jax.Array], dataset: Dataset, first: jax.Array, last: jax.Array):
        member, order = given
        model, optimizer = made(recipe.make, structure.fixed | member.numbers)
        step = train_step(model, recipe.loss, optimizer, recipe.metrics)
        program = epoch_program(step, recipe.augment)
        state, progress = program(member.train_state, member.progress, dataset, order, member.keys, first, last)
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state[:2])]
        return member._replace(train_state=state, progress=progress), jnp.stack(finite).all()

    return run


def _evaluate_member(recipe: Recipe, structure: Structure) -> Callable[..., Totals]:
    """Make `(((numbers, params, state), rows), dataset) -> totals` over those rows, in evaluation mode."""

    def evaluate(given: tuple[tuple[dict[str, jax.Array], Params, State], jax.Array], dataset: Dataset) -> Totals:
        (numbers, params, model_state), rows = given
        model, _ = made(recipe.make, structure.fixed | numbers)
        step = evaluation_step(model, recipe.loss, recipe.metrics)
        batch = jax.tree.map(lambda field: field.at[rows].get(mode="promise_in_bounds"), dataset)
        return step(params, model_state, batch)

    return evaluate
