"""Private instances of other people's servers on loopback, and the portal's own processes as an operator starts them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.postfix import Postfix
from tests.interop.processes import Portal


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where servers that run under other users may go too."""
    with tempfile.TemporaryDirectory(prefix="portal-interop-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def postfix(folder: Path) -> Iterator[Postfix]:
    with Postfix(folder) as server:
        yield server


@pytest.fixture
def start_portal(folder: Path, transactional_db: None) -> Iterator[Callable[[str], Portal]]:
    """Makes a Portal for a broker's address; everything it starts ends with the test, before the database is emptied."""
    with ExitStack() as stack:
        yield lambda broker: Portal(folder, broker, stack)
