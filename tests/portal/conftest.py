from __future__ import annotations

from tests.support.organization import quick_passwords  # noqa: F401
from tests.support.pages import busy_portal, everything  # noqa: F401
