"""The organization the tests speak of, a real SMTP server, and real worker and gateway processes on the test database."""

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

import pytest
from django.db import connection
from django.db.models.signals import post_migrate
from django.test import Client

from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.access import Operator
from organization.builtin_roles import ADMINISTRATOR, DEVELOPER
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from testlists.services import make_test_lists
from tests.smtp_server import SmtpServer, listening, reserved_port

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = Operator("the tests")
PASSWORD = "correct-horse-battery"


_TOUCHES_THE_DATABASE = {"db", "transactional_db", "live_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests whose result may depend on which database it is."""
    for item in items:
        if item.get_closest_marker("django_db") or _TOUCHES_THE_DATABASE & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.database)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in this process doesn't wait for the disk: what a killed process leaves is the same."""
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "sqlite":
        options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def _emptying_the_database_is_quick() -> None:
    """After a test that commits, the database is emptied, and what follows a migration is done again. Django's rows for the
    permissions on its models took longer to make than many a test, and nobody looks at them: we have permissions of our own."""
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")


def make_stage(key: str, name: str, **fields: Any) -> Stage:
    """As the service does, but without an entry in the audit trail."""
    stage = Stage.objects.create(key=key, name=name, **fields)
    make_test_lists(stages=[stage])
    return stage


def make_app(key: str, name: str) -> App:
    """Likewise."""
    app = App.objects.create(key=key, name=name, version=1)
    make_test_lists(apps=[app])
    return app


@pytest.fixture
def development(db: None) -> Stage:
    return make_stage("development", "Development", kind=Stage.Kind.DEVELOPMENT, order=1)


@pytest.fixture
def qa(db: None) -> Stage:
    return make_stage("qa", "QA", kind=Stage.Kind.NON_PRODUCTION, order=2)


@pytest.fixture
def production(db: None) -> Stage:
    return make_stage("production", "Production", kind=Stage.Kind.PRODUCTION, order=3)


@pytest.fixture
def crm(db: None) -> App:
    return make_app("crm", "Customer Relations")


@pytest.fixture
def shop(db: None) -> App:
    return make_app("shop", "Web Shop")


def make_member(name: str, role: Role | None = None, app: App | None = None, **fields: Any) -> Member:
    member = Member.objects.create_user(f"{name.lower().replace(' ', '.')}@acme.example", PASSWORD, name=name, **fields)
    if role is not None:
        RoleGrant.objects.create(member=member, role=role, app=app)
    return member


@pytest.fixture
def administrator(db: None) -> Member:
    """Holds every permission, and may open Django admin."""
    return make_member("Ada Admin", Role.objects.get(name=ADMINISTRATOR), is_staff=True)


@pytest.fixture
def developer(crm: App) -> Member:
    """A developer of the app crm alone: may edit its test lists, not the e-mail configurations."""
    return make_member("Devon Dev", Role.objects.get(name=DEVELOPER), crm)


@pytest.fixture
def viewer(db: None) -> Member:
    """May read the email log, and change nothing."""
    role = Role.objects.create(name="Viewer", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    return make_member("Vera Viewer", role)


def signed_in(member: Member) -> Client:
    client = Client()
    client.force_login(member)
    return client


@pytest.fixture
def as_administrator(administrator: Member) -> Client:
    return signed_in(administrator)


@pytest.fixture
def as_developer(developer: Member) -> Client:
    return signed_in(developer)


@pytest.fixture
def as_viewer(viewer: Member) -> Client:
    return signed_in(viewer)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Where nobody listens."""
    with reserved_port() as port:
        yield port


def configure(stage: Stage, relay: SmtpServer | None = None, /, **values: Any) -> SmtpSettings:
    """Point the stage at `relay` without encryption, or as `values` say; saved as every door saves."""
    found = settings_of(stage) or SmtpSettings(stage=stage)
    defaults = {"server": "127.0.0.1", "port": relay.port if relay else 2526, "security": "none"}
    for name, value in {**defaults, "sender_address": "no-reply@acme.example", "sender_name": "Acme", **values}.items():
        setattr(found, name, value)
    return save_smtp_settings(found, OPERATOR)


def environment() -> dict[str, str]:
    """For processes that shall work on the test database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{database['NAME']}"
    else:
        url = f"postgres://{database['USER']}@/{database['NAME']}?host={database['OPTIONS']['host']}"
    return {**os.environ, "DATABASE_URL": url, "DEBUG": "true", "OUTBOX_APP": "crm", "OUTBOX_STAGE": "qa"}


def manage(*arguments: str, stdin: str = "", timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """`manage.py …` in a process of its own, on the test database. For tests with `transactional_db`."""
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
    """`manage.py …` as a process that goes on until the block ends."""
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
    """The first true value of `condition` within `seconds`; fails the test otherwise. On a busy machine a process may need
    long to start, and a limit that is never met costs nothing."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)
    return value


@contextmanager
def running_gateway() -> Iterator[int]:
    """A real gateway process; gives its port."""
    with reserved_port() as port, running("smtp_gateway", "--port", str(port)) as process:

        def ready() -> bool:
            assert process.poll() is None, "the gateway has ended"
            return listening(port)

        eventually(ready)
        yield port


def mail(to: str = "customer@example.com", subject: str = "Hello", body: str = "Hi!", sender: str = "crm@acme.example") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()
