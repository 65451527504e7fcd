"""Make the pictures of the documentation: run the experiments that pictures.json names, and keep them small.

    python docs/pictures.py              # minutes
    python docs/pictures.py --runs DIR   # from runs that are in DIR already, one folder for each experiment

Each picture is scaled to 1,100 pixels and 64 colours, and further until it has at most 60,000 bytes. The site shows
each with the command that made it.
"""

import argparse
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "pictures"
LIMIT = 60_000


def small(path):
    """Return the bytes of a smaller copy."""
    original = Image.open(path).convert("RGB")
    for width, colours in ((1100, 64), (1100, 32), (880, 64), (880, 32), (720, 32)):
        size = width, round(original.height * width / original.width)
        file = BytesIO()
        picture = original.resize(size, Image.Resampling.LANCZOS)
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= LIMIT:
            return file.getvalue()
    raise ValueError(f"{path} has {file.tell()} bytes when it is small: choose another picture")


def main():
    """Run what must be run, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="the folder of runs that are there already")
    given = parser.parse_args().runs
    runs = given or Path("runs/pictures")
    pictures = json.loads((FOLDER / "pictures.json").read_text())
    for command in dict.fromkeys(picture["command"] for picture in pictures.values()) if given is None else ():
        words = command.split()[1:]
        subprocess.run([sys.executable, *words, "--out", str(runs / experiment(command)), "--quiet"], check=True)
    for name, picture in pictures.items():
        content = small(runs / experiment(picture["command"]) / picture["made"])
        (FOLDER / f"{name}.png").write_bytes(content)
        print(f"{name}.png: {len(content):,} bytes")


def experiment(command):
    """Return the name of the experiment in `python -m experiments.NAME ...`."""
    return command.split()[2].removeprefix("experiments.")


if __name__ == "__main__":
    main()
