"""Helpers in the words of the product, and real processes on the test database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import Client

from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.access import Operator
from organization.models import App, Member, Role, RoleGrant, Stage
from testlists.services import make_test_lists
from tests.support.smtp_server import SmtpServer, listening, reserved_port

ROOT = Path(__file__).resolve().parent.parent.parent
# The product's packages.
ROOMS = sorted(init.parent.name for init in ROOT.glob("*/__init__.py") if init.parent.name not in ("tests", "tools"))


OPERATOR = Operator("the tests")


PASSWORD = "correct-horse-battery"


def make_stage(key: str, name: str, **fields: Any) -> Stage:
    """Create a stage as the service does, but without an audit entry."""
    stage = Stage.objects.create(key=key, name=name, **fields)
    make_test_lists(stages=[stage])
    return stage


def make_app(key: str, name: str) -> App:
    """Create an app as the service does, but without an audit entry."""
    app = App.objects.create(key=key, name=name, version=1)
    make_test_lists(apps=[app])
    return app


def make_member(name: str, role: Role | None = None, app: App | None = None, **fields: Any) -> Member:
    member = Member.objects.create_user(f"{name.lower().replace(' ', '.')}@acme.example", PASSWORD, name=name, **fields)
    if role is not None:
        RoleGrant.objects.create(member=member, role=role, app=app)
    return member


def signed_in(member: Member) -> Client:
    client = Client()
    client.force_login(member)
    return client


def configure(stage: Stage, relay: SmtpServer | None = None, /, **values: Any) -> SmtpSettings:
    """Point the stage at `relay` without encryption, or as `values` say, through the service."""
    settings = settings_of(stage) or SmtpSettings(stage=stage)
    defaults = {"server": "127.0.0.1", "port": relay.port if relay else 2526, "security": "none"}
    for name, value in {**defaults, "sender_address": "no-reply@acme.example", "sender_name": "Acme", **values}.items():
        setattr(settings, name, value)
    return save_smtp_settings(settings, OPERATOR)


def environment() -> dict[str, str]:
    """The environment of processes that use the test database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{database['NAME']}"
    else:
        url = f"postgres://{database['USER']}@/{database['NAME']}?host={database['OPTIONS']['host']}"
    return {**os.environ, "DATABASE_URL": url, "DEBUG": "true", "OUTBOX_APP": "crm", "OUTBOX_STAGE": "qa"}


def manage(*arguments: str, stdin: str = "", timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run `manage.py …` as another process on the test database. For tests with `transactional_db`."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def manage_json(*arguments: str) -> Any:
    done = manage(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `manage.py …` as another process until the block ends."""
    process = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of `condition` within `seconds`, or fail the test.

    On a busy machine a process may start slowly. A long limit costs nothing if it isn't reached.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)
    return value


@contextmanager
def running_gateway() -> Iterator[int]:
    """Run a real gateway process, and yield its port."""
    with reserved_port() as port, running("smtp_gateway", "--port", str(port)) as process:

        def ready() -> bool:
            assert process.poll() is None, "the gateway has ended"
            return listening(port)

        eventually(ready)
        yield port


def mail(to: str = "customer@example.com", subject: str = "Hello", body: str = "Hi!", sender: str = "crm@acme.example") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()
