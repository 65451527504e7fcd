"""What every experiment does around its subject: the command line, the output folder, and a clean end on a bad day."""

import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from experiments import devices
from experiments.devices import Devices, is_first
from jaxnn.files import write_whole
from jaxnn.interop.trained import LABELS, PROGRAM
from jaxnn.training import FitInterrupted, FitResult, NotFiniteError, tensorboard
from jaxnn.training.parallel import gathered
from jaxnn.training.processes import agree, end_at_once
from jaxnn.training.resume import Record, refuse_unfinished

Config = TypeVar("Config")

# Options in which a run that goes on may differ from what it was.
MAY_DIFFER = {"resume", "quiet", "epochs", "seeds", "out", *(field.name for field in fields(Devices))}
CHECKPOINTS = "checkpoints"  # the folder of a run's checkpoints, in its output folder


class Stop(NamedTuple):
    """Why training ended before its time, in a sentence for the report, and the exit code that says so."""

    reason: str
    exit_code: int


def main(config_type: type[Config], run: Callable[[Config], int]) -> None:
    """Read the command line into the configuration, run the experiment, and exit with its code.

    What a user can mend (options, data, disk) ends in one message and exit code 2; Ctrl-C in one line and 130. Set
    JAXNN_TRACEBACK=1 to see where an error comes from.
    """
    import tyro

    try:
        config = tyro.cli(
            config_type, description=sys.modules[run.__module__].__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
        _set_up_jax()
        if isinstance(config, Devices):
            devices.set_up(config)
        code = run(config)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        code = end_at_once(130)
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = end_at_once(141)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("JAXNN_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        code = end_at_once(2)
    sys.exit(code)


def _set_up_jax() -> None:
    """Keep compiled programs between runs: the second start of the same experiment compiles nothing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxnn" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def open_output(folder: Path, config: Any) -> Path:
    """Make the output folder and write `config.json` into it, so that a folder that cannot be written is said first.

    The results of an earlier run in the same folder are removed: what lies there is always of one run. With
    `config.resume` the run there goes on: ValueError lists the options in which it was another one, epochs apart.
    Without, FileExistsError for a run that is not finished.
    """
    if is_first():
        _open_output(folder, config)
    agree(jax.process_count() > 1, 0)  # the others go on when it is done
    return folder


def _open_output(folder: Path, config: Any) -> None:
    values = json.loads(json.dumps(asdict(config), default=str))  # as it will be read again
    resumed = values.get("resume", False) and (folder / "config.json").is_file()
    if resumed:
        _same_options(folder, values)
    else:
        for series in {path.parent for path in folder.glob(f"{CHECKPOINTS}/**/step_*")}:
            refuse_unfinished(series)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(error.errno, f"cannot make the output folder {folder}: {error.strerror}") from error
    write_json(folder / "config.json", values)
    for old in ("summary.json", "report.html", LABELS, PROGRAM, *(path.name for path in folder.glob("*.png"))):
        (folder / old).unlink(missing_ok=True)
    if not resumed:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        write_whole(folder / "metrics.jsonl", b"")


def _same_options(folder: Path, values: Mapping[str, Any]) -> None:
    old = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    differences = [
        f"{name} was {old.get(name)!r} and is {values.get(name)!r}"
        for name in {**old, **values}
        if name not in MAY_DIFFER and old.get(name) != values.get(name)
    ]
    if differences:
        raise ValueError(f"the run in {folder} has other options: {'; '.join(differences)}. Only epochs may grow")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(values, indent=2) + "\n").encode())


def append_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to `metrics.jsonl`, in place of what a killed run wrote there after its last checkpoint."""
    if not is_first():
        return
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _before(json.loads(line), record)]
    if kept != lines:
        write_whole(path, "".join(kept).encode())
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def append_records(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to `metrics.jsonl`, all of them or none."""
    path = folder / "metrics.jsonl"
    write_whole(path, path.read_bytes() + "".join(json.dumps(record) + "\n" for record in records).encode())


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _before(old: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Say whether a line is of an earlier epoch, or of another training of the run."""
    training = ("seed", "task", "model", "length")
    return any(old.get(name) != record.get(name) for name in training) or old["epoch"] < record["epoch"]


@contextmanager
def recorder(folder: Path, tensorboard_folder: str | None) -> Iterator[Callable[[Record, Any], None]]:
    """Give `write(record, train_state)` that adds to `metrics.jsonl`, and where asked to, to files for TensorBoard."""
    if not is_first():
        yield lambda record, train_state: None
        return
    with tensorboard(folder / tensorboard_folder) if tensorboard_folder else nullcontext() as also:

        def write(record: Record, train_state: Any) -> None:
            append_record(folder, record)
            if also is not None:
                also(record, train_state)

        yield write


def over_seeds(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the entries of `summary.json` for one number of each seed: the list, its mean and its deviation.

    The deviation is that of a sample, divided by n - 1; none for a single seed.
    """
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {f"{name}_by_seed": list(values), f"{name}_mean": statistics.fmean(values), f"{name}_deviation": deviation}


def until_stopped(training: Callable[[], FitResult]) -> tuple[FitResult, Stop | None]:
    """Run a training; when it is interrupted or diverges, return what was reached and why it stopped.

    What lies on several devices is brought together on one of each process.
    """
    try:
        result, stop = training(), None
    except FitInterrupted as error:
        result, stop = error.result, Stop(f"Stopped by {error}.", 128 + error.signal_number)
    except NotFiniteError as error:
        result, stop = error.result, Stop(f"Stopped: {error}.", 1)
    return result._replace(train_state=gathered(result.train_state)), stop


def say(quiet: bool, text: str) -> None:
    """Print unless silence was asked for, in one process."""
    if not quiet and is_first():
        print(text, flush=True)
