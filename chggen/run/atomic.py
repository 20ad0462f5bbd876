"""Files that are whole or not there: written beside their place, then renamed.

The temporary name is the writer's own, so that two writers never share it; its mode is
that of any new file, so the umask decides who may read a result.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give an empty file to write to, which replaces ``path`` when the block ends well.

    The file lies in the folder of ``path``, which is made, and is flushed to disk before
    it is renamed. If the block raises, it is removed and ``path`` is left as it was.

    Args:
        path: file to write or replace.

    Raises:
        OSError: the folder is not writable, or ``path`` is a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays: some libraries choose the format by it
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
