# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A first network
#
# From arrays to a trained network, and a look at what it gets wrong. Everything here runs in a few seconds on a laptop.

# %% [markdown]
# ## Data
#
# Scikit-learn's digits: 1,437 images to learn from and 360 to be tested on, bytes of 8x8.

# %%
import jax
import numpy as np

from jaxnn import load

data = load("digits")
print(data.train.inputs.shape, data.train.inputs.dtype, data.test.inputs.shape)

# %% [markdown]
# ## A model
#
# `normalize` scales the bytes with mean and deviation of the training images. As a part of the model it goes wherever
# the model goes.

# %%
from jaxnn import mlp, normalize, sequential
from jaxnn.report import summary

pixels = data.train.inputs / 255
model = sequential(normalize(float(pixels.mean()), float(pixels.std())), mlp((64, 64, 10), dropout=0.2))
print(summary(model, (8, 8, 1), dtype=np.uint8))

# %% [markdown]
# ## The learning rate
#
# Thirty-two short trainings in one program say which rate to take.

# %%
from jaxnn import adam, softmax_cross_entropy
from jaxnn.training import lr_finder

found = lr_finder(model, softmax_cross_entropy, adam, data.train, steps=40)
print(f"suggested {found.suggestion:.1e}, diverges from {found.edge:.1e} on")

# %% [markdown]
# ## Training
#
# An epoch is one compiled loop. A tenth of the training images is set aside to see how the network does on images that
# it has not learned from.

# %%
from jaxnn import early_stopping, fit

result = fit(
    model,
    softmax_cross_entropy,
    adam(1e-3),
    data.train,
    epochs=30,
    validation_split=0.1,
    early_stopping=early_stopping(patience=5),
    verbose=False,
)
for record in result.history[::5]:
    print({name: round(record[name], 3) for name in ("epoch", "loss", "validation_loss", "validation_accuracy")})

# %% [markdown]
# ## The test
#
# Once, at the end.

# %%
from jaxnn import accuracy, confusion_matrix, evaluate, predict

trained = result.train_state
scores = evaluate(model, trained.params, trained.model_state, data.test, softmax_cross_entropy, {"accuracy": accuracy})
print(scores)
assert scores["accuracy"] > 0.94

logits = predict(model, trained.params, trained.model_state, data.test.inputs)
print(confusion_matrix(logits.argmax(-1), data.test.targets, 10))

# %% [markdown]
# ## Its mistakes
#
# The images that it is most sure of and gets wrong, as characters.

# %%
probabilities = np.asarray(jax.nn.softmax(logits))
wrong = np.flatnonzero(logits.argmax(-1) != data.test.targets)
for i in sorted(wrong, key=lambda i: -probabilities[i].max())[:2]:
    print(f"a {data.test.targets[i]}, taken for a {logits[i].argmax()} (sure to {probabilities[i].max():.0%})")
    for row in data.test.inputs[i, :, :, 0]:
        print("".join(" .:-=+*#%@"[pixel * 9 // 255] * 2 for pixel in row.astype(int)))
