from __future__ import annotations

from tests.organization.conftest import quick_passwords  # noqa: F401
from tests.pages import busy_portal, everything  # noqa: F401
