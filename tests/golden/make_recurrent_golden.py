"""Make torch_recurrent.npz: what PyTorch computes for recurrent networks and the guide's two classifiers, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_recurrent_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. Arrays
are as PyTorch has them (weights [out, in]), batch first. A key reads `case/what/name`, such as
`lstm_2/gradients/weight_ih_l0`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import rnn

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_recurrent.npz")
BATCH, TIME, INPUTS, HIDDEN, CLASSES = 4, 6, 3, 5, 4
LENGTHS = torch.tensor([6, 2, 1, 5])
# (layers, bidirectional, with lengths)
CASES = [(1, False, False), (2, False, False), (2, True, True), (2, True, False), (2, False, True), (1, True, True)]


class RNN(nn.Module):
    """The guide's RNN."""

    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super().__init__()
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.rnn = nn.RNN(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        h0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size)
        out, _ = self.rnn(x, h0)
        return self.fc(out[:, -1, :])


class LSTM(nn.Module):
    """The guide's LSTM; the dropout is an argument, so that a training without randomness can be compared."""

    def __init__(self, input_size, hidden_size, num_layers, num_classes, dropout=0.2):
        super().__init__()
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        h0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size)
        c0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size)
        out, _ = self.lstm(x, (h0, c0))
        return self.fc(out[:, -1, :])


class GRU(nn.Module):
    """The guide's LSTM with a GRU in its place."""

    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, num_layers, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        return self.fc(self.gru(x)[0][:, -1, :])


def detached(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def recorded(case: str, module: nn.Module, what: str) -> Arrays:
    """Record parameters, or their gradients."""
    values = {name: p.grad if what == "gradients" else p for name, p in module.named_parameters()}
    return {f"{case}/{what}/{name}": detached(value) for name, value in values.items()}


def network(case: str, module: nn.Module, *, lengths: torch.Tensor | None = None, carry: bool = False) -> Arrays:
    """Record outputs and final carry, and the gradients of a random sum of both for x, initial carry and weights."""
    module.eval()
    x = torch.randn(BATCH, TIME, INPUTS).requires_grad_()
    parts = 2 if isinstance(module, nn.LSTM) else 1
    count = module.num_layers * (2 if module.bidirectional else 1)
    start = [torch.randn(count, BATCH, HIDDEN).requires_grad_() for _ in range(parts)]
    given = (tuple(start) if parts == 2 else start[0]) if carry else None
    if lengths is None:
        y, final = module(x, given)
    else:
        packed, final = module(rnn.pack_padded_sequence(x, lengths, True, False), given)
        y, _ = rnn.pad_packed_sequence(packed, True, total_length=TIME)
    finals = final if parts == 2 else (final,)
    outputs = {"y": y} | {f"final{i}": value for i, value in enumerate(finals)}
    cotangents = {name: torch.randn(value.shape) for name, value in outputs.items()}
    torch.autograd.backward(list(outputs.values()), list(cotangents.values()))
    arrays = {"x": x, "x_gradient": x.grad} | outputs
    arrays |= {f"cotangent_{name}": value for name, value in cotangents.items()}
    if carry:
        arrays |= {f"carry{i}": value for i, value in enumerate(start)}
        arrays |= {f"carry{i}_gradient": value.grad for i, value in enumerate(start)}
    if lengths is not None:
        arrays["lengths"] = lengths
    arrays = {f"{case}/{name}": detached(value) for name, value in arrays.items()}
    return arrays | recorded(case, module, "parameters") | recorded(case, module, "gradients")


def classifier(case: str, module: nn.Module, *shape: int) -> Arrays:
    """Record logits in evaluation mode, and the gradients of a random sum of them."""
    module.eval()
    x = torch.randn(*shape).requires_grad_()
    y = module(x)
    cotangent = torch.randn(y.shape)
    y.backward(cotangent)
    arrays = {"x": x, "y": y, "cotangent_y": cotangent, "x_gradient": x.grad}
    arrays = {f"{case}/{name}": detached(value) for name, value in arrays.items()}
    return arrays | recorded(case, module, "parameters") | recorded(case, module, "gradients")


def sgd(case: str) -> Arrays:
    """Record three steps of SGD with both biases trained, a new batch each."""
    model = LSTM(INPUTS, HIDDEN, 2, CLASSES, dropout=0.0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    arrays = recorded(case, model, "parameters")
    for i in range(3):
        x, labels = torch.randn(BATCH, TIME, INPUTS), torch.randint(CLASSES, (BATCH,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        arrays |= {f"{case}/step{i}/{k}": detached(v) for k, v in (("x", x), ("labels", labels), ("loss", loss))}
        arrays |= recorded(f"{case}/step{i}", model, "parameters")
    return arrays


def golden() -> Arrays:
    """Compute every case from one seed."""
    torch.manual_seed(0)
    arrays: Arrays = {"torch_version": np.array(torch.__version__)}
    kinds = {
        "rnn": (nn.RNN, {}),
        "relu": (nn.RNN, {"nonlinearity": "relu"}),
        "lstm": (nn.LSTM, {}),
        "gru": (nn.GRU, {}),
    }
    for kind, (module, options) in kinds.items():
        for layers, both, lengths in CASES[: 6 if kind != "relu" else 3]:
            case = f"{kind}_{layers}{'_bidirectional' if both else ''}{'_lengths' if lengths else ''}"
            made = module(INPUTS, HIDDEN, layers, batch_first=True, bidirectional=both, **options)
            arrays |= network(case, made, lengths=LENGTHS if lengths else None, carry=layers == 2)
    arrays |= classifier("rnn_classifier", RNN(INPUTS, HIDDEN, 2, CLASSES), BATCH, TIME, INPUTS)
    arrays |= classifier("lstm_classifier", LSTM(INPUTS, HIDDEN, 2, CLASSES), BATCH, TIME, INPUTS)
    arrays |= classifier("gru_classifier", GRU(INPUTS, HIDDEN, 2, CLASSES), BATCH, TIME, INPUTS)
    arrays |= classifier("lstm_classifier_rows", LSTM(28, 8, 2, 10), 3, 28, 28)  # 28 steps, as an image row by row
    arrays |= classifier("rnn_classifier_rows", RNN(28, 8, 2, 10), 3, 28, 28)
    return arrays | sgd("sgd")


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
