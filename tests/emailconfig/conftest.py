from tests.support.emailconfig import configured, entry_point, with_tokens  # noqa: F401
