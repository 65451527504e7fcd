"""What a comparison reads from the folders of runs: settings that differ, what to say of them, metrics side by side."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import compare_figures as figures
from jaxnn.report import Table
from jaxnn.report.table import NONE, columns

NO_SETTING = ("out", "quiet", "resume", "data_dir")  # none of these changes what is trained
LETTERS = "ABCDEF"


class Run(NamedTuple):
    """What an experiment wrote into its folder."""

    folder: Path
    settings: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]


def read_run(folder: Path) -> Run:
    """Read a finished run. Raises FileNotFoundError for no run, ValueError for one that is damaged or has not ended."""
    if not folder.is_dir():
        raise FileNotFoundError(f"compare expected the output folder of an experiment but there is no folder {folder}")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no output folder of an experiment: it has no config.json")
    settings = read_json(folder / "config.json")
    if not (folder / "summary.json").is_file():
        raise ValueError(f"the run in {folder} has not ended: it has no summary.json. Run it again, or with --resume")
    summary = read_json(folder / "summary.json")
    status = str(summary.get("status", ""))
    if status.startswith("Stopped by"):  # a run that diverged, "Stopped: ...", has ended and can be compared
        raise ValueError(f"the run in {folder} was not finished ({status.rstrip('.')}): run it again, or with --resume")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    history = [parsed(folder / "metrics.jsonl", line) for line in lines]
    # What was left open is known at the end: epochs None were 10, the dataset auto was mnist.
    settings = {name: value for name, value in settings.items() if name not in NO_SETTING}
    known = {name: summary[name] for name, value in settings.items() if value in (None, "auto") and name in summary}
    return Run(folder, settings | known, history, summary)


def read_json(path: Path) -> dict[str, Any]:
    return parsed(path, path.read_text(encoding="utf-8"))


def parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not of an experiment: it holds a {type(values).__name__}, not names and values")
    return values


def setting(run: Run, name: str) -> str:
    """Write a setting of a run; a dash where the run has no such option."""
    value = run.settings.get(name, NONE)
    return "not set" if value is None else str(value)


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the settings in which the runs are not all the same; one that a run does not have is another."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    absent = object()
    return [name for name in names if any(run.settings.get(name, absent) != runs[0].settings.get(name) for run in runs)]


def verdict(runs: Sequence[Run]) -> str:
    """Say what the differences between the results can come from."""
    names = [name for name in differing(runs) if name != "seeds"]  # more seeds are more of the same
    alone = [name for name in names if not all(name in run.settings for run in runs)]
    if not names:
        return "The settings are the same: what differs is the time, or the version of the code."
    if names == ["seed"]:
        return "Only the seed differs: the differences are those of chance."
    if len(names) == 1:
        return f"One setting differs, {names[0]}: the differences come from it, or from chance."
    more = f" Options that not all of the runs have: {', '.join(alone)}." if alone else ""
    return (
        f"{len(names)} settings differ ({', '.join(names)}): no difference in the results can be laid to one of "
        f"them. Change one thing at a time.{more}"
    )


def numbers(run: Run) -> dict[str, float]:
    """Return the metrics of a run: the numbers of its summary, of several seeds the mean."""
    found = {}
    for name, value in run.summary.items():
        metric, _, kind = name.rpartition("_")
        if f"{metric}_by_seed" in run.summary and kind in ("mean", "deviation"):
            found |= {metric: value} if kind == "mean" else {}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in run.settings:
            found.setdefault(name, value)
    return {name: value for name, value in found.items() if isinstance(value, int | float) and name != "seed"}


def of_seeds(run: Run, name: str) -> list[float]:
    return run.summary.get(f"{name}_by_seed", [])


def difference(runs: Sequence[Run], name: str) -> str:
    """Write the second run's metric less the first's, and twice its standard error where both have several seeds."""
    first, second = (numbers(run)[name] for run in runs)
    text = f"{second - first:+.4g}"
    if all(len(of_seeds(run, name)) > 1 for run in runs):
        error = math.sqrt(sum(statistics.variance(of_seeds(run, name)) / len(of_seeds(run, name)) for run in runs))
        text += f" ± {2 * error:.2g}"
    return text


def metrics(runs: Sequence[Run]) -> Table:
    """Put the metrics that all runs have side by side, what was measured on test or validation data first."""
    found = [numbers(run) for run in runs]
    common = [name for name in found[0] if all(name in other for other in found)]
    common.sort(key=lambda name: ("test" not in name, "validation" not in name))
    rows = []
    for name in common:
        values = columns(Table(("",), [(values[name],) for values in found]))[0].cells  # with the same decimals
        seeds = [len(of_seeds(run, name)) for run in runs]
        cells = [
            f"{value} ± {statistics.stdev(of_seeds(run, name)):.2g}" if count > 1 else value
            for value, run, count in zip(values, runs, seeds, strict=True)
        ]
        rows.append((name, *cells, *([difference(runs, name)] if len(runs) == 2 else [])))
    return Table(("metric", *LETTERS[: len(runs)], *(["B - A"] if len(runs) == 2 else [])), rows)


def named(runs: Sequence[Run]) -> list[str]:
    """Name each run for a legend, by what it alone has changed where that is short, else by its folder."""
    names = [name for name in differing(runs) if name != "seeds"]
    texts = [", ".join(f"{name} {setting(run, name)}" for name in names) or run.folder.name for run in runs]
    short = max(map(len, texts)) <= 32
    return [
        f"{letter}: {text if short else run.folder.name}"
        for letter, text, run in zip(LETTERS, texts, runs, strict=False)
    ]


def histories(runs: Sequence[Run]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Sort the records by what was trained, where two runs at least did: {"rnn": {"A: ...": records, ...}}."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for label, run in zip(named(runs), runs, strict=True):
        for record in run.history:
            found.setdefault(", ".join(figures.kind(record)), {}).setdefault(label, []).append(record)
    return {kind: of_runs for kind, of_runs in found.items() if figures.metrics(of_runs)}
