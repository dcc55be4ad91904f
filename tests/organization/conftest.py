from tests.support.organization import quick_passwords  # noqa: F401
