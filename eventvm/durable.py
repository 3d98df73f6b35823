"""What has to be on the disk before anybody is told of it."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk: a file that was renamed there has its name for good."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
