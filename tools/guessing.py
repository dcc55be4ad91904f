"""python -m tools.guessing [--guesses N]: wrong sign-ins at page, Django admin and gateway, on loopback.

It prints what each of them answered and how fast, what /healthz took meanwhile, and whether known, unknown and inactive names
take equally long. It starts a portal of its own on a new SQLite database, and ends after --seconds at the latest.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
GUESSERS = 8
LOGIN, ADMIN = "/accounts/login/", "/accounts/login/?next=/admin/"
# Each name is tried so often to compare the times.
COMPARED = 25


@dataclass
class Answers:
    """What was answered, and how long each answer took."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, code: object, began: float) -> None:
        self.seconds.append(time.perf_counter() - began)
        self.codes[str(code)] += 1

    def __str__(self) -> str:
        codes = ", ".join(f"{count:,} × {code}" for code, count in sorted(self.codes.items()))
        return f"{codes}; median {statistics.median(self.seconds) * 1000:.1f} ms, longest {max(self.seconds) * 1000:.0f} ms"


class Portal:
    """A web server and a gateway on loopback, which trust the address that we name."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = {**environment, "LOG_LEVEL": "ERROR"}
        self.web, self.gateway = _free_port(), _free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Portal:
        options = ("--bind", f"127.0.0.1:{self.web}", "--workers", "1", "--no-control-socket")
        self._start("gunicorn", "portal.wsgi", *options, trusted="127.0.0.1")
        self._start("manage.py", "smtp_gateway", "--port", str(self.gateway), trusted="")
        for port in (self.web, self.gateway):
            _wait_for(port)
        return self

    def _start(self, *command: str, trusted: str) -> None:
        program = [sys.executable, "-m", *command] if command[0] == "gunicorn" else [sys.executable, *command]
        environment = {**self.environment, "TRUSTED_PROXIES": trusted}
        self._processes.append(subprocess.Popen(program, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL))

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)

    def guess_at_page(self, answers: Answers, path: str, address: str, name: str, guesses: Iterator[int]) -> None:
        """Send wrong passwords with one form, as long as `guesses` has more."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=60)
        headers = {"X-Forwarded-For": address, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        token = response.read().decode().partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        headers["Cookie"] = response.getheader("Set-Cookie", "").partition(";")[0]
        for number in guesses:
            form = {"csrfmiddlewaretoken": token, "username": name, "password": f"wrong-{number}"}
            began = time.perf_counter()
            connection.request("POST", path, urlencode(form), headers)
            response = connection.getresponse()
            response.read()
            answers.add(response.status, began)
        connection.close()

    def guess_at_gateway(self, answers: Answers, username: str, guesses: Iterator[int]) -> None:
        """Send wrong passwords. Connect again whenever the gateway ends the connection."""
        client = None
        for number in guesses:
            client = client or _Smtp(self.gateway)
            began = time.perf_counter()
            code = client.sign_in(username, f"wrong-{number}")
            answers.add(code, began)
            if code == "421":
                client.close()
                client = None
        if client is not None:
            client.close()

    @contextmanager
    def health_watched(self) -> Iterator[Answers]:
        """Ask /healthz all the time."""
        answers, stop = Answers(), threading.Event()

        def ask() -> None:
            while not stop.wait(0.02):
                began = time.perf_counter()
                connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=60)
                connection.request("GET", "/healthz")
                answers.add(connection.getresponse().status, began)
                connection.close()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield answers
        finally:
            stop.set()
            thread.join()


class _Smtp:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._replies = self._socket.makefile("rb")
        self._hear()
        self._socket.sendall(b"EHLO guesser\r\n")
        self._hear()

    def _hear(self) -> str:
        line = self._replies.readline()
        while line[3:4] == b"-":
            line = self._replies.readline()
        return line[:3].decode() or "421"

    def sign_in(self, username: str, password: str) -> str:
        try:
            self._socket.sendall(b"AUTH PLAIN " + base64.b64encode(f"\0{username}\0{password}".encode()) + b"\r\n")
            return self._hear()
        except OSError:  # the gateway has ended the connection after the last answer
            return "421"

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def flood(
    portal: Portal, guesses: int, seconds: float, member: str, credential: str, guessers: int = GUESSERS
) -> dict[str, Answers]:
    """Divide the guesses among page, Django admin and gateway. At the pages each guesser has an address of its own."""
    results = {}
    for number, (place, path) in enumerate({"page": LOGIN, "admin": ADMIN, "gateway": ""}.items()):
        answers, numbers = Answers(), _numbers(guesses // 3 + (number < guesses % 3), time.monotonic() + seconds / 3)
        work: list[Callable[[], None]] = [
            partial(portal.guess_at_page, answers, path, f"198.51.{number}.{guesser}", member, numbers)
            if path
            else partial(portal.guess_at_gateway, answers, credential, numbers)
            for guesser in range(guessers)
        ]
        threads = [threading.Thread(target=target) for target in work]
        with portal.health_watched() as health:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        results[place], results[f"/healthz during {place}"] = answers, health
    return results


def compare(portal: Portal, names: dict[str, str]) -> dict[str, Answers]:
    """Try each name in turn, each time from another address, so that none has to wait."""
    results = {kind: Answers() for kind in names}
    for number in range(COMPARED):
        for kind, name in names.items():
            portal.guess_at_page(results[kind], LOGIN, f"203.0.{number}.{len(kind)}", name, iter([0]))
    return results


class _numbers:
    """Numbers that several threads share, until there are none left or the time is up."""

    def __init__(self, count: int, deadline: float) -> None:
        self._left, self._deadline, self._lock = count, deadline, threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            if not self._left or time.monotonic() > self._deadline:
                raise StopIteration
            self._left -= 1
            return self._left


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def new_database(folder: str) -> tuple[dict[str, str], dict[str, str], str]:
    """Make a database with two members. Returns its environment, the names to compare, and a credential's username."""
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/portal.sqlite3", "DEBUG": "true"}

    def manage(*arguments: str, password: str = "") -> str:
        with_password = {**environment, "DJANGO_SUPERUSER_PASSWORD": password}
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=with_password, check=True, capture_output=True, text=True).stdout

    manage("migrate")
    manage("seed_demo", "--minimal")
    names = {kind: f"{kind}@acme.example" for kind in ("known", "unknown", "inactive")}
    for kind in ("known", "inactive"):
        manage("createsuperuser", "--noinput", "--email", names[kind], "--name", kind, password=secrets.token_urlsafe())
    manage(
        "shell",
        "-c",
        f"from organization.models import Member as M; M.objects.filter(email={names['inactive']!r}).update(is_active=False)",
    )
    return environment, names, json.loads(manage("create_credential", "crm", "qa", "--json"))["username"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.guessing", description=__doc__)
    parser.add_argument("--guesses", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portal-guessing-") as folder:
        environment, names, credential = new_database(folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Portal(environment) as portal:
            with portal.health_watched() as idle:
                time.sleep(2)
            print(f"/healthz when idle: {idle}")
            for kind, answers in compare(portal, names).items():
                print(f"{kind} name: {answers}")
            began = time.monotonic()
            results = flood(portal, options.guesses, options.seconds, names["known"], credential)
            for place, answers in results.items():
                print(f"{place}: {answers}")
            took = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    guesses = sum(len(answers.seconds) for place, answers in results.items() if "healthz" not in place)
    print(f"{guesses:,} guesses in {took:.0f} s; the servers took {spent:.0f} s of processor time in all.")


if __name__ == "__main__":
    main()
