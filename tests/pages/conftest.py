from tests.support.pages import busy_portal, everything  # noqa: F401
