"""What tells this installation with its database from every other: the installation's id, and the database itself.

PostgreSQL: the cluster's system identifier, and the database's oid and name. SQLite: the file's real path and inode, and the
machine's id. The host name, the URL and the process don't count, so that another container or worker is no copy.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from common import sql
from organization import statements
from organization.installation.identifier import installation_id

Identity = dict[str, str]

# What each part is called on pages and in commands.
LABELS = {
    "id": "Installation id",
    "cluster": "PostgreSQL system identifier",
    "oid": "Database oid",
    "name": "Database name",
    "path": "Database file",
    "inode": "Inode of the file",
    "machine": "Machine id",
}
MACHINE_ID_FILE = Path("/etc/machine-id")
# An image may bring a machine id, and some container engines make one for each container.
_MARKS_OF_CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/run/systemd/container"))
_VARIABLES_OF_CONTAINERS = ("container", "KUBERNETES_SERVICE_HOST")

# Of each thread's connection: what it is connected to. A new connection may lead to another database.
_databases: WeakKeyDictionary[BaseDatabaseWrapper, tuple[Any, Identity]] = WeakKeyDictionary()


def identity() -> Identity:
    """The identity of this process's installation and of the database that it is connected to now.

    It is read once for each connection, because a database isn't exchanged under an open one.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    known = _databases.get(connection)
    if known is None or known[0] is not connection.connection:
        database = _postgresql() if connection.vendor == "postgresql" else _sqlite(connection.settings_dict["NAME"])
        known = _databases[connection] = connection.connection, database
    return {"id": _id(connection.vendor), **known[1]}


def as_text(parts: Identity) -> str:
    """The form that is stored and compared."""
    return json.dumps(parts, sort_keys=True)


def from_text(text: str) -> Identity:
    parts: Identity = json.loads(text) if text else {}
    return parts


def database_name() -> str:
    """What a person calls the database: its name, or the file."""
    return str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"])


def _id(vendor: str) -> str:
    """The id; with PostgreSQL only a chosen one. Each machine would make another one of its own."""
    return str(settings.INSTALLATION_ID) if vendor == "postgresql" else installation_id()


def _postgresql() -> Identity:
    (database,) = sql.fetch(statements.DATABASE)
    # Everyone may call the function, unless an administrator has revoked that. Without it the id and the oid must do.
    (cluster,) = sql.fetch(statements.SYSTEM_IDENTIFIER) if database.may_read_cluster else [""]
    return {"cluster": cluster, "oid": str(database.oid), "name": database.name}


def _sqlite(name: str) -> Identity:
    path = os.path.realpath(name)
    return {"path": path, "inode": str(Path(path).stat().st_ino), "machine": _machine()}


def _machine() -> str:
    """The machine's id. In a container it is empty: the container may be another one tomorrow."""
    if any(mark.exists() for mark in _MARKS_OF_CONTAINERS) or any(os.environ.get(name) for name in _VARIABLES_OF_CONTAINERS):
        return ""
    try:
        return MACHINE_ID_FILE.read_text().strip()
    except OSError:
        return ""
