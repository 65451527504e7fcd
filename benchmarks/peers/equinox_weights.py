"""jaxnn's weights in Equinox's modules of `with_equinox`."""

from typing import Any

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp
import numpy as np


def take_weights(network: str, module: Any, weights: dict[str, np.ndarray]) -> Any:
    """Put jaxnn's weights in; ours are [in, out] and [H, W, in, out], Equinox's [out, in] and [out, in, H, W]."""

    def put(layer: Any, path: str) -> Any:
        weight, bias = weights[f"{path}.weight"], weights[f"{path}.bias"]
        weight = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        return placed(layer, weight, bias)

    def placed(layer: Any, weight: np.ndarray, bias: np.ndarray) -> Any:
        new = jnp.asarray(weight), jnp.asarray(bias).reshape(layer.bias.shape)
        return eqx.tree_at(lambda part: (part.weight, part.bias), layer, new)

    def norm(layer: Any, path: str) -> Any:
        return placed(layer, weights[f"{path}.scale"], weights[f"{path}.bias"])

    def set_parts(module: Any, parts: dict[str, Any]) -> Any:
        return eqx.tree_at(lambda m: [getattr(m, name) for name in parts], module, list(parts.values()))

    def all_of(function: Any, layers: list, paths: str) -> list:
        return [function(layer, path) for layer, path in zip(layers, paths.split(), strict=True)]

    if network == "mlp":
        return set_parts(module, {"layers": all_of(put, module.layers, "1 3 5")})
    if network == "cnn":
        parts = {
            "convolutions": all_of(put, module.convolutions, "0 4 8"),
            "norms": all_of(norm, module.norms, "1 5 9"),
            "hidden": put(module.hidden, "13"),
            "classifier": put(module.classifier, "16"),
        }
        return set_parts(module, parts)
    if network in ("rnn", "lstm"):
        cells = []
        for i, cell in enumerate(module.cells):
            into, back = (jnp.asarray(weights[f"0.{i}.{name}_weight"].T) for name in ("input", "recurrent"))
            bias = jnp.asarray(weights[f"0.{i}.input_bias"] + weights[f"0.{i}.recurrent_bias"])
            if network == "lstm":
                cells.append(set_parts(cell, {"weight_ih": into, "weight_hh": back, "bias": bias}))
            else:
                cells.append(
                    eqx.tree_at(lambda c: (c.into.weight, c.back.weight, c.into.bias), cell, (into, back, bias))
                )
        return set_parts(module, {"cells": cells, "classifier": put(module.classifier, "2")})
    layers = []
    for i, layer in enumerate(module.layers):
        at = f"encoder.layers.{i}"
        into = np.split(weights[f"{at}.attention.in_weight"], 3, -1)
        bias = np.split(weights[f"{at}.attention.in_bias"], 3, -1)
        names = "query_proj", "key_proj", "value_proj"
        parts = {name: placed(getattr(layer.attention, name), into[k].T, bias[k]) for k, name in enumerate(names)}
        parts["output_proj"] = put(layer.attention.output_proj, f"{at}.attention.out")
        attention = {"attention": set_parts(layer.attention, parts)}
        linear = {name: put(getattr(layer, name), f"{at}.{name}") for name in ("linear1", "linear2")}
        norms = {name: norm(getattr(layer, name), f"{at}.{name}") for name in ("norm1", "norm2")}
        layers.append(set_parts(layer, attention | linear | norms))
    embedding = set_parts(module.embedding, {"weight": jnp.asarray(weights["embedding.embedding"])})
    parts = {"embedding": embedding, "positions": jnp.asarray(weights["positions.positions"]), "layers": layers}
    return set_parts(module, parts | {"classifier": put(module.classifier, "classifier")})
