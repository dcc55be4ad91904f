"""A private Postfix on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.portal import eventually
from tests.support.smtp_server import free_port, listening

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.test
mydestination =
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
virtual_mailbox_domains = example.com, acme.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
smtp unix - - n - - smtp
error unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A private Postfix that keeps what it gets in a Maildir, or does what its `settings` say."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.port, self.log = free_port(), folder / "log"
        self._inbox, self._config = folder / "mail" / "all", folder / "config"
        self._config.mkdir()
        (folder / "queue").mkdir()
        (folder / "mail").mkdir()
        (folder / "mail").chmod(0o777)
        (self._config / "main.cf").write_text(_MAIN.format(folder=folder) + settings)
        (self._config / "master.cf").write_text(_MASTER.format(port=self.port))

    def __enter__(self) -> Postfix:
        self._run("start")
        eventually(lambda: listening(self.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._run("stop")

    def _run(self, command: str) -> None:
        done = subprocess.run(["postfix", "-c", self._config, command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr + done.stdout

    @property
    def inbox(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self._inbox.glob("new/*"))]
