"""The organization the tests speak of, a real SMTP server, and real worker and gateway processes on the test database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import hypothesis
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.db.models.signals import post_migrate
from django.test import Client
from psycopg.errors import DeadlockDetected, LockNotAvailable

from organization.builtin_roles import ADMINISTRATOR, DEVELOPER
from organization.models import App, Member, Role, Stage
from organization.permissions import Permission
from tests.support.portal import eventually, make_app, make_member, make_stage, signed_in
from tests.support.smtp_server import SmtpServer, reserved_port

_DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
_COMMITTING = {"transactional_db", "live_server"}

# A busy machine takes its time. No example fails because of that.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests whose result may depend on which database it is, and those that commit to it.

    Skips those that need the other database.
    """
    for item in items:
        fixtures, django_db = set(getattr(item, "fixturenames", ())), item.get_closest_marker("django_db")
        commits = _COMMITTING & fixtures or (django_db and django_db.kwargs.get("transaction"))
        if django_db or "db" in fixtures or commits:
            item.add_marker(pytest.mark.database)
        if commits:
            item.add_marker(pytest.mark.commits)
        for vendor, name in _DATABASES.items():
            if vendor != connection.vendor and item.get_closest_marker(f"requires_{vendor}"):
                item.add_marker(pytest.mark.skip(reason=f"only {name} can show it"))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in this process doesn't wait for the disk: what a killed process leaves is the same."""
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "sqlite":
        options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> None:
    """Members are made by the dozen. A hash that is slow by design would take most of the suite's time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def _emptying_the_database_is_quick() -> None:
    """Don't create Django's own permissions when the database is emptied.

    After a test that commits, the database is emptied and the signals of a migration are sent again. To create the rows of
    Django's permissions took longer than many tests. We have permissions of our own and don't use them.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")


@pytest.fixture(scope="session", autouse=True)
def _emptying_the_database_gives_way() -> None:
    """A gateway that serves several tests may write a refusal at that moment.

    Each may then wait for a lock of the other. On PostgreSQL, emptying gives up its locks before that counts as a deadlock, and
    tries again.
    """
    if connection.vendor != "postgresql":
        return
    empty = connection.ops.execute_sql_flush

    def emptied(statements: Iterable[str]) -> bool:
        try:
            empty(["SET LOCAL lock_timeout = '300ms'", *statements])
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
                return False
            raise
        return True

    connection.ops.execute_sql_flush = lambda statements: eventually(lambda: emptied(statements))  # type: ignore[method-assign,assignment]


@pytest.fixture(autouse=True)
def _audit_trail_can_be_emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that commits, SQLite is emptied row by row, which the audit trail's trigger refuses.

    It is removed for that moment. Emptying sends the signals of a migration, and these install it again.
    """
    if connection.vendor != "sqlite" or not request.node.get_closest_marker("commits"):
        yield
        return
    request.getfixturevalue("transactional_db")  # so that the database is emptied after this
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER IF EXISTS audit_trail_delete")


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


@pytest.fixture
def administrator(db: None) -> Member:
    """Holds every permission, and may open Django admin."""
    return make_member("Ada Admin", Role.objects.get(name=ADMINISTRATOR), is_staff=True)


@pytest.fixture
def developer(crm: App) -> Member:
    """A developer of the app crm alone: may edit its test lists, not the email configurations."""
    return make_member("Devon Dev", Role.objects.get(name=DEVELOPER), crm)


@pytest.fixture
def viewer(db: None) -> Member:
    """May read the email log, and change nothing."""
    role = Role.objects.create(name="Viewer", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    return make_member("Vera Viewer", role)


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
