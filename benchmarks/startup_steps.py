"""The first training step of a process, as a user of each library writes it; a part of `benchmarks.startup`.

    python -m benchmarks.startup_steps jaxnn mlp

imports the library, makes the network, takes one step of Adam on 64 examples, and says so.
"""

import sys

BATCH = 64


def with_jaxnn(network: str) -> None:
    import jax

    from benchmarks.peers import work
    from benchmarks.peers.with_jaxnn import model
    from jaxnn import Dataset, adam, init_train_state, softmax_cross_entropy, train_step
    from jaxnn.training import compiled_init

    layer, optimizer, data = model(network, work.DROPOUT[network]), adam(1e-3), work.data(network, BATCH)
    state = init_train_state(compiled_init(layer.init), optimizer, jax.random.key(0))
    step = jax.jit(train_step(layer, softmax_cross_entropy, optimizer))
    jax.block_until_ready(step(state, Dataset(data.inputs, data.labels), jax.random.key(1)))


def with_linen(network: str) -> None:
    import jax
    import optax

    from benchmarks.peers import work
    from benchmarks.peers.with_linen import TrainState, model, train_step

    module, data = model(network, work.DROPOUT[network]), work.data(network, BATCH)
    variables = jax.jit(module.init, static_argnames="train")(jax.random.key(0), data.inputs[:1], train=False)
    state = TrainState.create(
        apply_fn=module.apply,
        params=variables["params"],
        tx=optax.adam(1e-3),
        batch_stats=variables.get("batch_stats", {}),
        key=jax.random.key(1),
    )
    jax.block_until_ready(train_step(state, data.inputs, data.labels))


def with_torch(network: str) -> None:
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks.peers import work
    from benchmarks.peers.with_torch import model

    module, data = model(network, work.DROPOUT[network]), work.data(network, BATCH)
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels).long()
    if network == "cnn":
        inputs = inputs.permute(0, 3, 1, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    torch.nn.CrossEntropyLoss()(module(inputs), labels).backward()
    optimizer.step()


STEPS = {"jaxnn": with_jaxnn, "linen": with_linen, "torch": with_torch}

if __name__ == "__main__":
    STEPS[sys.argv[1]](sys.argv[2])
    print("stepped", flush=True)
