"""The networks in PyTorch, as the guide and PyTorch's tutorials write them: eager, or through `torch.compile`."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer


class CNN(nn.Module):
    """The guide's convolutional network."""

    def __init__(self, dropout):
        super().__init__()
        c1, c2, c3 = work.CHANNELS
        self.features = nn.Sequential(
            *(nn.Conv2d(1, c1, 3, padding=1), nn.BatchNorm2d(c1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(c1, c2, 3, padding=1), nn.BatchNorm2d(c2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(c2, c3, 3, padding=1), nn.BatchNorm2d(c3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        )
        self.classifier = nn.Sequential(
            *(nn.Flatten(), nn.Linear(c3, work.HIDDEN), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(work.HIDDEN, work.CLASSES),
        )

    def forward(self, x):
        """Compute the logits."""
        return self.classifier(self.features(x))


class Recurrent(nn.Module):
    """The guide's RNN or LSTM: the last step is classified."""

    def __init__(self, kind, dropout):
        super().__init__()
        sizes = work.FEATURES, work.UNITS, work.LAYERS
        self.recurrent = kind(*sizes, batch_first=True, dropout=dropout)
        self.classifier = nn.Linear(work.UNITS, work.CLASSES)

    def forward(self, x):
        """Compute the logits."""
        outputs, _ = self.recurrent(x)
        return self.classifier(outputs[:, -1])


class Transformer(nn.Module):
    """The guide's Transformer classifier: learned positions, the mean over the tokens."""

    def __init__(self, feed_forward, dropout):
        super().__init__()
        self.embedding = nn.Embedding(work.VOCABULARY, work.WIDTH)
        self.positions = nn.Parameter(torch.randn(1, work.LONGEST, work.WIDTH))
        layer = nn.TransformerEncoderLayer(work.WIDTH, work.HEADS, feed_forward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, work.LAYERS)
        self.classifier = nn.Linear(work.WIDTH, work.CLASSES)

    def forward(self, x):
        """Compute the logits."""
        y = self.embedding(x) + self.positions[:, : x.shape[1]]
        return self.classifier(self.encoder(y).mean(1))


def model(network: str, dropout: float) -> nn.Module:
    if network == "mlp":
        a, b, c, d = work.SIZES
        return nn.Sequential(
            *(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout), nn.Linear(b, c), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(c, d),
        )
    if network == "cnn":
        return CNN(dropout)
    if network == "rnn":
        return Recurrent(nn.RNN, dropout)
    if network == "lstm":
        return Recurrent(nn.LSTM, dropout)
    return Transformer(work.FEED_FORWARD[network], dropout)


def take_weights(network: str, module: nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Copy jaxnn's weights; ours are [in, out] and [H, W, in, out], PyTorch's [out, in] and [out, in, H, W]."""

    def put(name: str, value: np.ndarray) -> None:
        parameter = module.get_parameter(name)
        turned = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(turned)).reshape(parameter.shape))

    if network in ("mlp", "cnn"):  # the same order of layers
        for (name, _), value in zip(module.named_parameters(), in_order(weights), strict=True):
            put(name, value)
    elif network in ("rnn", "lstm"):
        names = {"input_weight": "weight_ih", "recurrent_weight": "weight_hh", "input_bias": "bias_ih"}
        names["recurrent_bias"] = "bias_hh"
        for path, value in weights.items():
            *_, layer, name = path.split(".")
            put(f"recurrent.{names[name]}_l{layer}" if name in names else f"classifier.{name}", value)
    else:
        for path, value in weights.items():
            if path.endswith(("embedding", "positions")):
                name = {"embedding.embedding": "embedding.weight", "positions.positions": "positions"}[path]
                with torch.no_grad():
                    parameter = module.get_parameter(name)
                    parameter.copy_(torch.tensor(value).reshape(parameter.shape))
                continue
            for ours, theirs in (("attention.out", "self_attn.out_proj"), ("attention.in_", "self_attn.in_proj_")):
                path = path.replace(ours, theirs)
            put(path.replace("scale", "weight"), value)


def in_order(weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Order ours as `named_parameters` is: by layer, weight (or scale) before bias."""
    return [weights[path] for path in sorted(weights, key=lambda path: (int(path.split(".")[0]), "bias" in path))]


def start(
    network: str,
    data: Data,
    batch: int,
    *,
    dropout: float,
    rate: float,
    weights: dict[str, np.ndarray],
    compiled: bool = False,
    channels_last: bool = False,
) -> Peer:
    torch.manual_seed(0)
    module = model(network, dropout)
    take_weights(network, module, weights)
    inputs = torch.from_numpy(data.inputs)
    if network == "cnn":
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
        if channels_last:
            module, inputs = module.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
    if network.startswith("transformer"):
        inputs = inputs.long()
    labels = torch.from_numpy(data.labels).long()
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, fused=True)
    criterion = nn.CrossEntropyLoss()
    run = torch.compile(module) if compiled else module

    def train() -> None:
        run.train()
        order = torch.randperm(len(labels))
        for rows in order[: len(labels) // batch * batch].split(batch):
            optimizer.zero_grad()
            loss = criterion(run(inputs[rows]), labels[rows])
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def predict() -> np.ndarray:
        run.eval()
        return torch.cat([run(part) for part in inputs.split(batch)]).numpy()

    return Peer(train, predict)
