"""The command line: use a trained network, from the output folder of an experiment."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EPILOG = """A run folder is what an experiment writes: python -m experiments.mnist --out runs/mnist.
The experiments are started by themselves; their README lists them."""


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    >>> parser().parse_args(["predict", "runs/mnist", "seven.png"]).files
    [PosixPath('seven.png')]
    """
    whole = argparse.ArgumentParser("python -m jaxnn", description="Use a trained network.", epilog=EPILOG)
    whole.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    predict = commands.add_parser("predict", help="classify pictures, arrays of images, or texts")
    predict.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="the output folder of a finished run")
    predict.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a picture of any size (PNG, JPEG); an .npy of images [N, H, W] as bytes; a text file with a text a line",
    )
    demo = commands.add_parser("demo", help="draw with the mouse or a finger, and watch what a network makes of it")
    demo.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="the output folder of a finished run on images")
    demo.add_argument("--port", type=int, default=0, help="of the page on this machine (default: a free one)")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 for what the user can mend, 130 for Ctrl-C.

    Set JAXNN_TRACEBACK=1 to see where an error comes from.

    >>> main(["predict", "no/such/folder", "a.png"])
    2
    """
    options = parser().parse_args(arguments)
    try:
        if options.command == "predict":
            from jaxnn.commands.predict import predict

            return predict(options.folder, options.files)
        if options.command == "demo":
            from jaxnn.commands.demo import demo

            return demo(options.folder, options.port)
        parser().print_help()
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("JAXNN_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
