from __future__ import annotations

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def portal_at_localhost(settings: Settings) -> None:
    """A host for which browsers accept passkeys."""
    settings.PORTAL_URL = "http://localhost"
