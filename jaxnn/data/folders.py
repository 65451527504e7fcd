"""Where files are: the user's cache folder and the folder of data sets. Neither need exist."""

import os
from pathlib import Path


def user_cache_folder() -> Path | None:
    """Return `$XDG_CACHE_HOME/jaxnn`, else `~/.cache/jaxnn`; None if there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"
    return base / "jaxnn" if base.is_absolute() else None


def data_folder(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of data sets: `data_dir`, else `$JAXNN_DATA_DIR`, else the user's cache folder.

    Raises FileNotFoundError for a `data_dir` that does not exist.
    """
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"data_dir={str(folder)!r} is no folder here: create it, or leave data_dir out "
                "for $JAXNN_DATA_DIR or the user's cache folder"
            )
        return folder
    given = os.environ.get("JAXNN_DATA_DIR")
    return Path(given).expanduser() if given else user_cache_folder()
