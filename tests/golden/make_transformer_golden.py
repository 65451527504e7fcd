"""Make torch_transformer.npz: what PyTorch computes for norms, embedding, attention and the guide's Transformer.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_transformer_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU, in float32; the array `torch_version` inside says so
too. Weights are as PyTorch has them (linear weights [out, in]); images are channels-last, [B, H, W, C]; masks are
True = use (PyTorch's own are the other way round). A key reads `case/what/name`: parameters, inputs, masks, cotangent,
output, and the gradients of inputs and parameters under that cotangent. They are of the module in evaluation mode; in
training mode with its dropout set to 0 PyTorch gives the same bits, which this program asserts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_transformer.npz")


class TransformerClassifier(nn.Module):
    """The guide's model; its layer's defaults are arguments here, so that the file stays small."""

    def __init__(self, vocab_size, d_model, nhead, num_layers, num_classes, **options):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.pos_encoding = nn.Parameter(torch.randn(1, 512, d_model))
        encoder_layer = nn.TransformerEncoderLayer(d_model, nhead, batch_first=True, **options)
        self.transformer = nn.TransformerEncoder(encoder_layer, num_layers)
        self.classifier = nn.Linear(d_model, num_classes)

    def forward(self, x):
        x = self.embedding(x) + self.pos_encoding[:, : x.size(1), :]
        x = self.transformer(x)
        x = x.mean(dim=1)
        return self.classifier(x)


class MaskedClassifier(TransformerClassifier):
    """The same with padding (token 0) masked in the attention and left out of the mean."""

    def forward(self, x):
        used = x != 0
        x = self.embedding(x) + self.pos_encoding[:, : x.size(1), :]
        x = self.transformer(x, src_key_padding_mask=~used)
        x = (x * used[..., None]).sum(1) / used.sum(1, keepdim=True)
        return self.classifier(x)


def record(
    case: str, module: nn.Module, call: Callable[..., torch.Tensor], inputs: Mapping[str, torch.Tensor]
) -> Arrays:
    """Run the module in both modes and record all that goes in and comes out."""
    with torch.no_grad():  # zeros and ones would hide an exchange of two biases
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    arrays = {f"{case}/parameters/{name}": value.detach().numpy().copy() for name, value in module.named_parameters()}
    arrays |= {f"{case}/inputs/{name}": value.detach().numpy().copy() for name, value in inputs.items()}
    with torch.no_grad():
        arrays[f"{case}/cotangent"] = torch.randn_like(call(module, **inputs)).numpy()
    results = run(case, module.eval(), call, inputs, arrays[f"{case}/cotangent"])
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    training = run(case, module.train(), call, inputs, arrays[f"{case}/cotangent"])
    assert all(np.array_equal(results[key], training[key]) for key in results)
    return arrays | results


def run(
    case: str, module: nn.Module, call: Callable[..., torch.Tensor], inputs: Mapping, cotangent: np.ndarray
) -> Arrays:
    """Run the module forwards and backwards."""
    floats = {name: value.clone().requires_grad_() for name, value in inputs.items() if value.is_floating_point()}
    module.zero_grad()
    y = call(module, **{**inputs, **floats})
    y.backward(torch.from_numpy(cotangent))
    arrays = {f"{case}/output": y.detach().numpy().copy()}
    arrays |= {f"{case}/input_gradients/{name}": value.grad.numpy().copy() for name, value in floats.items()}
    return arrays | {f"{case}/gradients/{name}": value.grad.numpy().copy() for name, value in module.named_parameters()}


def norms() -> Arrays:
    x, image = 2 * torch.randn(3, 5, 6) + 1, 2 * torch.randn(2, 4, 3, 6) + 1

    def channels_first(module, x):
        return module(x.movedim(-1, 1)).movedim(1, -1)

    plain = lambda module, x: module(x)  # noqa: E731
    arrays = record("layer_norm", nn.LayerNorm(6), plain, {"x": x})
    arrays |= record("rms_norm", nn.RMSNorm(6), plain, {"x": x})
    arrays |= record("group_norm", nn.GroupNorm(3, 6), channels_first, {"x": image})
    arrays |= record("group_norm_features", nn.GroupNorm(2, 6), channels_first, {"x": x[:, 0]})
    arrays |= record("group_norm_one_group", nn.GroupNorm(1, 6), channels_first, {"x": x})
    tokens = torch.tensor([[1, 0, 3, 1], [6, 6, 0, 0]])
    arrays |= record("embedding", nn.Embedding(7, 4), plain, {"x": tokens})
    return arrays | record("embedding_with_padding", nn.Embedding(7, 4, padding_idx=0), plain, {"x": tokens})


def attention() -> Arrays:
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    steps = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], dtype=torch.bool)
    pairs = torch.rand(3, 5, 5) < 0.6
    pairs[:, torch.arange(5), torch.arange(5)] = True
    causal = torch.ones(5, 5, dtype=torch.bool).tril()

    def new():
        return nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def attend(module, x, memory=None, **masks):
        memory = x if memory is None else memory
        return module(x, memory, memory, need_weights=False, **masks)[0]

    def masked(module, x, steps):
        return attend(module, x, key_padding_mask=~steps)

    def by_pair(module, x, pairs):
        return attend(module, x, attn_mask=~pairs.repeat_interleave(2, 0))

    def past(module, x):
        return attend(module, x, attn_mask=~causal)

    def past_masked(module, x, steps):
        return attend(module, x, attn_mask=~causal, key_padding_mask=~steps)

    def across(module, x, memory, steps):
        return attend(module, x, memory, key_padding_mask=~steps)

    def weights(module, x, steps):
        return module(x, x, x, key_padding_mask=~steps, average_attn_weights=False)[1]

    first = steps.clone()
    first[:, 0] = True  # a causal first step without itself has no key at all, and is NaN in PyTorch
    arrays = record("attention", new(), attend, {"x": x})
    arrays |= record("attention_mask", new(), masked, {"x": x, "steps": steps})
    arrays |= record("attention_pairs", new(), by_pair, {"x": x, "pairs": pairs})
    arrays |= record("attention_causal", new(), past, {"x": x})
    arrays |= record("attention_causal_mask", new(), past_masked, {"x": x, "steps": first})
    arrays |= record("attention_cross", new(), across, {"x": x, "memory": memory, "steps": steps[:, 1:]})
    module = new().eval()
    arrays |= {f"attention_weights/parameters/{k}": v.detach().numpy() for k, v in module.named_parameters()}
    arrays |= {"attention_weights/inputs/x": x.numpy(), "attention_weights/inputs/steps": steps.numpy()}
    return arrays | {"attention_weights/output": weights(module, x, steps).detach().numpy()}


def encoders() -> Arrays:
    x = torch.randn(3, 5, 8)
    steps = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)

    def block(**options):
        return nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)

    plain = lambda module, x: module(x)  # noqa: E731
    masked = lambda module, x, steps: module(x, src_key_padding_mask=~steps)  # noqa: E731
    arrays = record("encoder_layer", block(), plain, {"x": x})
    arrays |= record("encoder_layer_mask", block(), masked, {"x": x, "steps": steps})
    arrays |= record("encoder_layer_norm_first", block(norm_first=True), masked, {"x": x, "steps": steps})
    arrays |= record("encoder_layer_gelu", block(activation="gelu"), plain, {"x": x})
    stack = nn.TransformerEncoder(block(), 2)
    arrays |= record("encoder", stack, plain, {"x": x})
    pre = nn.TransformerEncoder(block(norm_first=True), 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
    arrays |= record("encoder_norm_first", pre, masked, {"x": x, "steps": steps})
    classify = lambda module, tokens: module(tokens)  # noqa: E731
    tokens = torch.tensor([[4, 9, 2, 2, 7, 1], [3, 3, 8, 0, 0, 0], [10, 0, 0, 0, 0, 0]])
    model = TransformerClassifier(11, 8, 2, 2, 3, dim_feedforward=12)
    arrays |= record("classifier", model, classify, {"tokens": tokens})
    masked_model = MaskedClassifier(11, 8, 2, 2, 3, dim_feedforward=12)
    return arrays | record("classifier_mask", masked_model, classify, {"tokens": tokens})


def golden() -> Arrays:
    """Return all arrays of the file. Each family has a seed of its own."""
    arrays = {"torch_version": np.array(torch.__version__)}
    for seed, family in enumerate((norms, attention, encoders)):
        torch.manual_seed(seed)
        arrays |= family()
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size / 1e3:.0f} kB")
