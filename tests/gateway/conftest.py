from tests.support.outbox import _no_turn_fails, configured, smtp_server  # noqa: F401
