"""The figures of the experiment with texts, and the page that they stand on."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from experiments import pages
from experiments.text_networks import attention
from jaxnn.data.text import PAD, UNKNOWN
from jaxnn.metrics import confusion_matrix
from jaxnn.report import Page, Section, Table, confusion, key_values, learning_curves, per_class, records, summary
from jaxnn.report.theme import WIDTH, color_scale, colors, contrast, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOKENS = 40  # shown of a text, at most
LINE, HEAD, GAP = 0.43, 0.24, 0.2  # inches: a line of tokens with its numbers, the line above a text, between texts


class Marked(NamedTuple):
    """A text with a number for each token, and the line to stand above it."""

    head: str
    tokens: tuple[str, ...]
    known: np.ndarray
    scores: np.ndarray


def chosen(labels: np.ndarray, logits: np.ndarray) -> list[int]:
    """Choose the texts to show: of each class the first that are right, six or so, and the three surest mistakes."""
    answers, sure = logits.argmax(-1), np.asarray(jax.nn.softmax(logits)).max(-1)
    classes = range(logits.shape[-1])
    each = max(6 // len(classes), 1)
    first = [i for c in classes for i in np.flatnonzero((labels == c) & (answers == c))[:each].tolist()][:8]
    wrong = np.flatnonzero(labels != answers)
    return [*first, *wrong[np.argsort(-sure[wrong], kind="stable")][:3].tolist()]


def marked(
    rows: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    words: Sequence[Sequence[str]],
    names: Sequence[str],
) -> list[Marked]:
    """Put the chosen texts together for `tokens_that_mattered`; `words` are the tokens before the unknown ones went."""
    probabilities = np.asarray(jax.nn.softmax(logits))
    texts = []
    for i in chosen(labels, logits):
        answer, count = int(logits[i].argmax()), min(int((rows[i] != PAD).sum()), TOKENS)
        verdict = "right" if answer == labels[i] else f"wrong, it is {short(names[labels[i]], 20)}"
        head = f"{short(names[answer], 20)}, sure to {probabilities[i, answer]:.1%}: {verdict}"
        texts.append(Marked(head, tuple(words[i][:count]), rows[i, :count] != UNKNOWN, scores[i, :count]))
    return texts


def _lines(tokens: Sequence[str], size: float) -> list[tuple[float, float, int]]:
    """Break tokens into lines of the page's width: for each its left end and width in inches, and its line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    places, x, line = [], 0.0, 0
    for token in tokens:
        font = FontProperties(family="DejaVu Sans", weight="bold")  # the widest it can be
        width = max(float(TextPath((0, 0), token, size=size, prop=font).get_extents().x1) / 72 + 0.1, 0.36)
        if x and x + width > WIDTH - 0.1:
            x, line = 0.0, line + 1
        places.append((x, width, line))
        x += width + 0.04
    return places


def tokens_that_mattered(texts: Sequence[Marked]) -> "Figure":
    """Write texts with each token on the colour of its number, and the number below those that count."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    now, size = colors(), 10.5
    against, towards = now.series[1], now.series[0]
    scale = color_scale(against, now.paper, towards)
    laid_out = [_lines(text.tokens, size) for text in texts]
    heights = [HEAD + LINE * (1 + places[-1][2]) + GAP for places in laid_out]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.35))
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(-0.05, WIDTH - 0.05), ylim=(-sum(heights) - 0.35, 0))
    canvas.axis("off")
    top = 0.0
    for text, places, height in zip(texts, laid_out, heights, strict=True):
        canvas.text(0.0, top - 0.05, text.head, color=now.muted, fontsize=9.5, va="top", parse_math=False)
        largest = float(np.abs(text.scores).max()) or 1.0
        shown = zip(text.tokens, text.known, text.scores / largest, places, strict=True)
        for token, known, score, (x, width, line) in shown:
            y = top - HEAD - LINE * line
            behind = scale(0.5 + 0.5 * float(score))
            ink = max(("black", "white"), key=lambda color, behind=behind: contrast(color, behind))
            strong = abs(score) >= 0.5
            canvas.add_patch(Rectangle((x, y - 0.25), width, 0.23, facecolor=behind, edgecolor=now.line, linewidth=0.5))
            canvas.text(
                x + width / 2,
                y - 0.135,
                token,
                color=ink,
                fontsize=size,
                fontweight="bold" if strong else "normal",
                fontstyle="normal" if known else "italic",
                ha="center",
                va="center_baseline",
                parse_math=False,
            )
            if abs(score) >= 0.15:
                number = f"{score * largest:+.{1 if abs(score * largest) >= 0.1 else 2}f}".replace(
                    "-", "\N{MINUS SIGN}"
                )
                canvas.text(x + width / 2, y - 0.27, number, color=now.muted, fontsize=8, ha="center", va="top")
        top -= height
    _key(figure, canvas, scale, top)
    return figure


def _key(figure: Any, canvas: Any, scale: Any, top: float) -> None:
    now = colors()
    canvas.imshow(
        np.linspace(0, 1, 256)[None], cmap=scale, extent=(3.1, 6.1, top - 0.22, top - 0.06), aspect="auto", zorder=0
    )
    canvas.set(xlim=(-0.05, WIDTH - 0.05), ylim=(top - 0.35, 0))
    canvas.text(3.0, top - 0.14, "against the answer (\N{MINUS SIGN})", color=now.muted, ha="right", va="center")
    canvas.text(6.2, top - 0.14, "for the answer (+)", color=now.muted, ha="left", va="center")


def attention_figure(weights: np.ndarray, tokens: Sequence[str]) -> "Figure":
    """Draw attention [layers, heads, T, T]: in each row, how much the token at its left looks at the one below."""
    from matplotlib.figure import Figure

    now = colors()
    blocks, heads, size = weights.shape[:3]
    names = [short(token, 12) for token in tokens]
    figure = Figure(figsize=(WIDTH, 2.15 * blocks + 1.0), layout="constrained")
    panels = figure.subplots(blocks, heads, sharex=True, sharey=True, squeeze=False)
    scale = color_scale(now.paper, now.series[0])
    for (block, head), axes in np.ndenumerate(panels):
        picture = axes.imshow(weights[block, head], cmap=scale, vmin=0, vmax=float(weights.max()))
        axes.set_title(f"layer {block + 1}, head {head + 1}", fontsize=9.5)
        axes.set_xticks(range(size), names, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(size), names, fontsize=8, parse_math=False)
        axes.tick_params(length=0)
    figure.supxlabel("token looked at", fontsize=9.5, color=now.muted)
    figure.supylabel("token that looks", fontsize=9.5, color=now.muted)
    bar = figure.colorbar(picture, ax=panels, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("share of attention")
    bar.outline.set_visible(False)
    return figure


def attention_section(
    params: Any, rows: np.ndarray, words: Sequence[Sequence[str]], labels: Any, logits: Any
) -> Section:
    """Show where the Transformer looks in the shortest of the chosen texts of six tokens and more."""
    counts = (rows != PAD).sum(1)
    i = min(chosen(labels, logits), key=lambda i: (counts[i] < 6, abs(int(counts[i]) - 9)))
    count = min(int(counts[i]), 16)
    layer = attention(params["embedding"]["embedding"].shape[0], logits.shape[-1], rows.shape[1])
    weights = np.asarray(layer.apply(params, (), rows[i : i + 1])[0])[0, :, :, :count, :count]
    return Section(
        "Attention",
        "Each row says how one token of this text spreads its attention over all of them; rows sum to 1. What a head "
        "looks at is not yet what the answer rests on.",
        partial(attention_figure, weights, words[i][:count]),
    )


def page(
    config: Any, model: Any, parts: Any, tokens: Any, words: Any, trained: Any, explained: Any, bag: Any, figures: Any
) -> Page:
    """Put together the report; `words` are the tokens of the test texts."""
    labels, logits, names = parts.test.labels, trained.logits, parts.train.class_names
    rows, history = tokens.test.inputs, trained.result.history
    counts = confusion_matrix(logits.argmax(-1), labels, len(names))
    spread = figures["test_accuracy_deviation"]
    seeds = len(figures["test_accuracy_by_seed"])
    mean = f"{figures['test_accuracy_mean']:.2%}"
    beside = [
        (config.model, figures.get("validation_accuracy_mean"), figures["test_accuracy_mean"]),
        (f"bag of words ({bag.choice})", bag.validation_accuracy, figures["bag_of_words_test_accuracy"]),
        ("always the most frequent class", None, figures["most_frequent_class_test_accuracy"]),
    ]
    bag_words = [[bag.words[i] for i in np.argsort(-row, kind="stable")[:8]] for row in bag.weights]
    sizes = [len(part.texts) for part in parts[:3]]
    best = figures["best_epoch"]
    kept = f"after epoch {best} had the best validation accuracy and" if best else "after the last epoch"
    return Page(
        f"{config.dataset.upper() if config.dataset != 'tsv' else config.file.name}: texts by {_ARTICLE[config.model]}",
        f"{model.name}, {figures['epochs']} epochs, seed {config.seed}",
        [] if figures["status"] == "finished" else [figures["status"]],
        [
            ("test accuracy" + (f", mean of {seeds} seeds" if seeds > 1 else ""), mean),
            ("with a bag of words", f"{figures['bag_of_words_test_accuracy']:.2%}"),
            ("parameters", f"{figures['parameters']:,}"),
            ("seconds an epoch", f"{figures['seconds_per_epoch']:.2f}"),
        ],
        [
            Section(
                "What the network adds",
                "The bag of words is a logistic regression on how often each word occurs, blind to their order; its "
                "regularisation and counts or tf-idf were chosen on the validation texts."
                + (" Then both were trained on the texts for training and validation." if config.all_texts else "")
                + (
                    f" The network's are means of {seeds} seeds, deviation {100 * spread:.2f} points." if spread else ""
                ),
                table=Table(
                    ("", "validation accuracy", "test accuracy"), [(n, _percent(v), _percent(t)) for n, v, t in beside]
                ),
            ),
            *(
                [
                    Section(
                        "Learning curves",
                        f"Training values are means over the epoch with dropout on. The network {kept} was kept.",
                        partial(learning_curves, history),
                    )
                ]
                if history
                else []
            ),
            Section("Confusion matrix", "Test texts by true and predicted class.", partial(confusion, counts, names)),
            Section("Classes", "Test texts of each class.", table=per_class(counts, names)),
            Section(
                "Tokens that mattered",
                "Test texts: the first right answers of each class, and the three surest mistakes. The number is "
                "gradient x input: by how much the score of the answer would rise in a straight line from taking the "
                "token's vector away to having it. Colours are relative to the largest number of a text; what is below "
                "15 % of it has none. Words in italics are not in the vocabulary: the network sees one unknown token.",
                partial(tokens_that_mattered, marked(rows, explained.scores, labels, logits, words, names)),
                text=f"With the token that mattered most replaced by an unknown one, {explained.changed[0]:.1%} of the "
                f"test answers change; with any one token, {explained.changed[1]:.1%}.",
            ),
            Section(
                "Words of each class",
                "Left the words with the largest mean gradient x input in the test texts that got the class as "
                "answer, of words seen there three times and more; right the largest weights of the bag of words.",
                table=Table(
                    ("class", config.model, "bag of words"),
                    [
                        (n, ", ".join(a) or None, ", ".join(b))
                        for n, a, b in zip(names, explained.words, bag_words, strict=True)
                    ],
                ),
            ),
            *(
                [attention_section(trained.best.params, rows, words, labels, logits)]
                if config.model == "transformer"
                else []
            ),
            Section("Most confident mistakes", table=_mistakes(parts.test.texts, labels, logits, names)),
            Section("Model", table=summary(model, rows.shape[1:], dtype=np.int32).table()),
            *([Section("Epochs", table=records(history), folded=True)] if history else []),
            Section(
                "Data",
                f"{parts.source}: {sizes[0]:,} texts for training, {sizes[1]:,} for validation, {sizes[2]:,} for the "
                f"test. {len(tokens.vocabulary):,} tokens in the vocabulary, {rows.shape[1]} tokens a text, longer "
                "ones lose their end.",
            ),
            Section("Numbers", table=key_values(figures), folded=True),
            *pages.circumstances(config),
        ],
    )


_ARTICLE = {"rnn": "an RNN", "lstm": "an LSTM", "gru": "a GRU", "transformer": "a Transformer"}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"


def _mistakes(texts: Sequence[str], labels: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> Table:
    answers, sure = logits.argmax(-1), np.asarray(jax.nn.softmax(logits)).max(-1)
    wrong = np.flatnonzero(labels != answers)
    order: list[int] = wrong[np.argsort(-sure[wrong], kind="stable")][:12].tolist()
    rows = [(short(texts[i], 120), names[labels[i]], names[answers[i]], _percent(float(sure[i]))) for i in order]
    return Table(("text", "true", "answer", "sure to"), rows)
