"""One process of a run on several devices: `python tests/parallel_run.py JSON`, the JSON being that of a `Task`.

It makes its devices, joins the other processes if there are any, trains what is asked for one after the other, and
writes what came out as JSON. A process can be told to die, or to hang, in the middle of it.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Task(NamedTuple):
    """What one process does. `trainings` are options of `train`; `dies` = [process, epoch, how]."""

    trainings: list[dict]
    out: str
    devices: int = 1
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    dies: tuple[int, int, str] | None = None
    x64: bool = False


def train(
    data: str = "digits", split: str | None = None, mesh: Any = None, dies: Any = None, files: Any = None, **options
) -> dict:
    """Train in this process, on a mesh where `split` is "batch" or "state"; what is compared comes back.

    With `files`, the paths of inputs and targets, it trains on a stream of them.
    """
    import optax

    from jaxnn import tree
    from jaxnn.augmentation import shift
    from jaxnn.data import from_npy_files
    from jaxnn.data.images import load
    from jaxnn.layers import normalize, sequential
    from jaxnn.losses import softmax_cross_entropy
    from jaxnn.models import mlp
    from jaxnn.training import fit
    from jaxnn.training.parallel import data_mesh, fully_sharded, gathered

    if data == "digits":  # everything that looks at a whole batch, with a last batch of 13 that cannot be split
        network = mlp((64, 256, 128, 10), dropout=0.2, batch_norm=True)
        dataset, augment, optimizer = load("digits").train, shift(1), optax.sgd(0.05, momentum=0.9)
    else:
        single = mlp((784, 512, 256, 10), dropout=0.2)
        network = single._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype(float), single.init(key)))
        augment, optimizer = None, optax.adam(1e-3)  # float64 where x64 is asked for
        dataset = jax.tree.map(lambda field: field[:12_000], load("mnist").train)
        dataset = dataset._replace(inputs=dataset.inputs / 255)

    read = []
    if files is not None:
        stream = from_npy_files(*files)

        def counted(indices):
            read.append(len(indices))
            return stream.read(indices)

        dataset = replace(stream, read=counted)

    def callback(record, state):
        if dies is not None and dies[:2] == [jax.process_index(), record["epoch"]]:
            if dies[2] == "raises":
                raise KeyError("an error of one process alone")
            os.kill(os.getpid(), getattr(signal, dies[2]))

    result = fit(
        *(sequential(normalize(0.13, 0.31), network), softmax_cross_entropy, optimizer, dataset),
        **{"validation_split": 0.1 if files is None else 0.0, "augment": augment, "verbose": False} | options,
        mesh=None if split is None else data_mesh(mesh),
        sharding=fully_sharded if split == "state" else None,
        callback=callback,
    )
    state = result.train_state.params, result.train_state.opt_state
    own = [shard.data.nbytes for leaf in jax.tree.leaves(state) for shard in leaf.addressable_shards[:1]]
    times = {"seconds", "examples_per_second"}
    return {
        "history": [{name: record[name] for name in record.keys() - times} for record in result.history],
        "share": sum(own) / tree.nbytes(state),
        "read": sum(read),
        "params": tree.sha256(gathered(result.train_state.params)),
    }


def main(task: Task) -> None:
    jax.config.update("jax_num_cpu_devices", task.devices)
    jax.config.update("jax_enable_x64", task.x64)
    if cache := os.environ.get("TEST_XLA_CACHE"):
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    from jaxnn.training import loop
    from jaxnn.training.parallel import initialize

    if task.coordinator is not None:
        initialize(task.coordinator, task.processes, task.process_id)
    if task.dies is not None:
        loop.PIECE_SECONDS, loop.SAVE_SECONDS = 0.05, 0.0  # a checkpoint after every piece
    found = [train(dies=task.dies, **options) for options in task.trainings]
    Path(task.out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
