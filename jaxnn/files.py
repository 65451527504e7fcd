"""Writing a file whole or not at all."""

import os
import uuid
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write the bytes beside `path` and rename, so that a reader sees the old file or the new one and never a part.

    Returns the path. On any failure, Ctrl-C included, the old file stays as it was and nothing is left beside it.
    Raises the OSError that came, with a message that names the path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/a.txt", b"whole").read_bytes()
    b'whole'
    """
    path = Path(path)
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "" if path.parent.is_dir() else f" (there is no folder {path.parent}: create it first)"
        raise type(error)(error.errno, f"cannot write {path}: {reason}{hint}") from error
    finally:
        beside.unlink(missing_ok=True)
    return path
