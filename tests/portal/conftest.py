from __future__ import annotations

from tests.organization.conftest import quick_passwords  # noqa: F401
