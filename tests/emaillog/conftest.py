from tests.support.outbox import _no_turn_fails, _quick_passwords, configured, smtp_server  # noqa: F401
