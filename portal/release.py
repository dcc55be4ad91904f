"""The release of the portal."""

import tomllib
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
RELEASE: str = tomllib.loads(_PROJECT.read_text())["project"]["version"]
