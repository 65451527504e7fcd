"""Compare finished runs of any experiment: settings that differ, curves over one another, metrics side by side.

The guide: experiment systematically, change one thing at a time. Where two runs differ in more than one setting, this
says so, since no difference between their results then has one cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments import compare_figures as figures
from experiments import harness, pages
from experiments.compare_measures import (
    LETTERS,
    Run,
    differing,
    histories,
    metrics,
    numbers,
    read_run,
    setting,
    verdict,
)
from jaxnn.report import Page, Section, Table, write_report

SHOWN = 24  # rows of metrics on the terminal; the report has all


@dataclass(frozen=True)
class Config:
    """Options."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Two to six output folders of experiments."""
    out: Path = Path("runs/compare")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def check(config: Config, runs: Sequence[Run]) -> None:
    """Refuse what cannot be compared."""
    for name in ("dataset", "task"):
        tasks = [run.summary.get(name, run.settings.get(name)) for run in runs]
        if len(set(map(str, tasks))) > 1:
            said = ", ".join(f"{task or 'none'} in {run.folder}" for task, run in zip(tasks, runs, strict=True))
            raise ValueError(f"compare expected runs of one task but their {name} differs: {said}")
    if not metrics(runs).rows:
        raise ValueError(
            f"the runs in {', '.join(str(run.folder) for run in runs)} have no metric in common: they are of different "
            "experiments"
        )


def main(config: Config) -> int:
    if not 2 <= len(config.runs) <= len(LETTERS):
        raise ValueError(f"compare expected two to {len(LETTERS)} folders of runs but got {len(config.runs)}")
    folders = [folder.resolve() for folder in config.runs]
    if len(set(folders)) < len(folders):
        raise ValueError("compare expected different folders but got the same one twice")
    if config.out.resolve() in folders:
        raise ValueError(f"compare would write over the run in {config.out}: give another folder with --out")
    runs = [read_run(folder) for folder in config.runs]
    check(config, runs)
    out = harness.open_output(config.out, config)
    settings = Table(
        ("setting", *LETTERS[: len(runs)]),
        [(name, *(setting(run, name) for run in runs)) for name in differing(runs)],
    )
    table = metrics(runs)
    summary: dict[str, Any] = {"runs": [str(folder) for folder in config.runs], "differing": differing(runs)}
    summary |= {name: [numbers(run)[name] for run in runs] for name, *_ in table.rows}
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, runs, settings, table))
    if not config.quiet:
        show(runs, settings, table)
    harness.say(config.quiet, f"report: {out / 'report.html'}")
    return 0


def show(runs: Sequence[Run], settings: Table, table: Table) -> None:
    """Print the tables, 80 columns wide."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as Lines

    console = Console(width=80, highlight=False)
    for letter, run in zip(LETTERS, runs, strict=False):
        console.print(f"{letter}: {run.folder}", markup=False)
    for content in (settings, table._replace(rows=table.rows[:SHOWN])):
        if content.rows:
            lines = Lines(*content.header, box=None, pad_edge=False)
            for column in lines.columns[1:]:
                column.justify = "right"
            for row in content.rows:
                lines.add_row(*map(escape, row))
            console.print("", lines, sep="\n")
    if len(table.rows) > SHOWN:
        console.print(f"and {len(table.rows) - SHOWN} more in the report")
    console.print("", verdict(runs), sep="\n", markup=False)


def page(config: Config, runs: Sequence[Run], settings: Table, table: Table) -> Page:
    """Put together the report."""
    said = verdict(runs)
    several = len([name for name in differing(runs) if name != "seeds"]) > 1
    stopped = [f"{run.folder}: {run.summary['status']}" for run in runs if "Stopped" in run.summary.get("status", "")]
    caption = "All metrics that each run has; of several seeds the mean ± the deviation of a sample."
    if len(runs) == 2:
        caption += " B - A ± twice its standard error, where both have several seeds: less than that can be chance."
    equal = [name for name in runs[0].settings if name not in differing(runs)]
    parts = histories(runs)
    return Page(
        "Runs compared",
        "; ".join(f"{letter}: {run.folder}" for letter, run in zip(LETTERS, runs, strict=False)),
        [*([said] if several else []), *stopped],
        [],
        [
            Section("Settings that differ", "" if several else said, table=settings if settings.rows else None),
            Section("Metrics", caption, table=table),
            *(
                Section(
                    f"Curves: {kind}" if kind else "Curves",
                    "One point an epoch; of several seeds the mean, and a band from the smallest to the largest.",
                    partial(figures.curves, of_runs),
                )
                for kind, of_runs in parts.items()
            ),
            Section(
                "Settings that are the same",
                table=Table(("setting", "in all"), [(name, setting(runs[0], name)) for name in equal]),
                folded=True,
            ),
            pages.circumstances(config)[-1],  # the environment: the options are the runs, which stand above
        ],
    )


if __name__ == "__main__":
    harness.main(Config, main)
