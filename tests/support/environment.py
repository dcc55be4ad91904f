"""Set the environment before Django's settings are loaded: the tests run as the demo does, over plain HTTP."""

import os

os.environ.setdefault("DEBUG", "true")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright runs an event loop in the test's own thread
os.environ.setdefault("SMTP_ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")  # pytest-django switches DEBUG off within its process
os.environ.setdefault("LOG_LEVEL", "WARNING")
