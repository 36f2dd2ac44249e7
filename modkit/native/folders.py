"""Where modkit keeps what it installs for the user. Only names; creates nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Where modkit keeps what it installs for this user: MODKIT_HOME, or the system's usual place. Not created."""
    home = os.environ.get("MODKIT_HOME")
    if home:
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "modkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "modkit"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "modkit"
