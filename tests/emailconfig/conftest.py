from tests.support.emailconfig import configured, door, with_tokens  # noqa: F401
