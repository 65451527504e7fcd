# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Questions to a trained network
#
# Which labels are wrong? How large should a batch be? How sharp is the place where training has ended? Each is one
# function, because a network is one.

# %% [markdown]
# ## A training set with mistakes in it
#
# Thirty of a thousand digits get another label.

# %%
import jax
import numpy as np

from jaxnn import Dataset, fit, load, mlp, normalize, sequential, sgd, softmax_cross_entropy

rng = np.random.default_rng(0)
data = load("digits").train
chosen = rng.permutation(data.size)[:1000]
inputs, targets = data.inputs[chosen], data.targets[chosen].copy()
wrong = rng.choice(1000, 30, replace=False)
targets[wrong] = (targets[wrong] + rng.integers(1, 10, 30)) % 10
noisy = Dataset(inputs, targets)

# %% [markdown]
# ## Train, and keep the network after each epoch
#
# A callback sees the record and the state of every epoch.

# %%
model = sequential(normalize(0.3053, 0.3760), mlp((64, 32, 10)))
epochs = []
result = fit(
    model,
    softmax_cross_entropy,
    sgd(0.1),
    noisy,
    epochs=6,
    callback=lambda record, state: epochs.append((state.params, state.model_state)),
    verbose=False,
)
print(len(epochs), result.history[-1]["accuracy"])

# %% [markdown]
# ## Which labels are wrong?
#
# An example whose own steps lower its own loss by much is one that no other example helps with: first of all those with
# a wrong label (Pruthi and others, 2020).

# %%
from jaxnn.training import self_influence

influence = self_influence(model, softmax_cross_entropy, epochs, [0.1] * len(epochs), noisy)
found = np.isin(influence.order[:60], wrong).sum()
print(f"of 30 wrong labels, {found} are among the 60 examples ranked first")
assert found >= 24

# %% [markdown]
# ## How different are the examples' gradients?
#
# The noise scale says, in examples, where a larger batch stops helping (McCandlish and others, 2018).

# %%
from jaxnn.training import gradient_noise_scale, gradient_norms

trained = result.train_state.params, result.train_state.model_state
fresh = model.init(jax.random.key(1))
for name, (params, state) in {"at the start": fresh, "trained": trained}.items():
    norms = gradient_norms(model, softmax_cross_entropy, params, state, noisy)
    scale = gradient_noise_scale(model, softmax_cross_entropy, params, state, noisy)
    print(name, "norms", np.percentile(norms, [5, 50, 95]).round(2), scale)

# %% [markdown]
# ## How sharp is the minimum?
#
# The largest eigenvalue of the Hessian, without the Hessian: gradient descent is stable below 2 over it.

# %%
from jaxnn.training import sharpness

sharp = sharpness(model, softmax_cross_entropy, *trained, noisy, key=jax.random.key(0), steps=30, tolerance=0.01)
print(f"largest eigenvalue {sharp.eigenvalue:.2f}: stable below a rate of {2 / sharp.eigenvalue:.2f}")
assert sharp.eigenvalue > 0
