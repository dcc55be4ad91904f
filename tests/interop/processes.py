"""Private instances of other people's servers on loopback, and the portal's own processes as an operator starts them."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from django.utils import timezone

from delivery.models import Worker
from tests.support.portal import ROOT, environment, eventually
from tests.support.smtp_server import free_port, listening


class Process:
    """A program in a process group of its own; gone when the block ends."""

    def __init__(self, *command: str, output: Path, **variables: str) -> None:
        self.command, self.output, self.variables = command, output, variables
        self.start()

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**environment(), **self.variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to the program and all that it started."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """As its supervisor would, and with force when that takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def redis(folder: Path) -> Iterator[tuple[str, Process]]:
    """A Redis that keeps nothing; its address, and its process to kill."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = Process(*command, output=folder / "redis.log")
    try:
        eventually(lambda: listening(port))
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.end()


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """A RabbitMQ node; its address. Erlang's port mapper is a private one too."""
    port, nodes, mapper = free_port(), free_port(), free_port()
    variables = {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"portal{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(nodes),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }
    epmd = Process("epmd", "-port", str(mapper), "-address", "127.0.0.1", output=folder / "epmd.log")
    try:
        eventually(lambda: listening(mapper))
        broker = Process("/usr/lib/rabbitmq/bin/rabbitmq-server", output=folder / "rabbitmq.log", **variables)
        try:
            eventually(lambda: "completed with" in broker.said, 60)
            yield f"amqp://guest:guest@127.0.0.1:{port}//"
        finally:
            broker.kill()
    finally:
        epmd.kill()


class Sink:
    """A stage's SMTP server in a process of its own, which answers each mail so many seconds after its content."""

    def __init__(self, folder: Path, delay: float) -> None:
        self.port = free_port()
        self._log = folder / f"sink-{self.port}.log"
        command = [sys.executable, "-m", "tests.interop.sink", str(self.port), str(delay)]
        self._process = Process(*command, output=self._log)
        eventually(lambda: listening(self.port))

    @property
    def arrivals(self) -> list[tuple[float, str]]:
        """When each mail was answered, and its Message-ID."""
        text, _, _ = self._log.read_text().rpartition("\n")
        lines = [line.split(" ", 1) for line in text.splitlines()]
        return [(float(moment), message_id) for moment, message_id in lines]

    @property
    def counts(self) -> Counter[str]:
        return Counter(message_id for _, message_id in self.arrivals)

    def end(self) -> None:
        self._process.end()


@contextmanager
def sink(folder: Path, delay: float = 0.0) -> Iterator[Sink]:
    server = Sink(folder, delay)
    try:
        yield server
    finally:
        server.end()


class Portal:
    """The scaled-out portal's processes over one database and one broker."""

    def __init__(self, folder: Path, broker: str, stack: ExitStack) -> None:
        self.folder, self.broker, self._stack = folder, broker, stack

    def start(self, name: str, *command: str) -> Process:
        process = Process(
            sys.executable, *command, output=self.folder / f"{name}.log", CELERY_BROKER_URL=self.broker, LOG_LEVEL="INFO"
        )
        self._stack.callback(process.end)
        return process

    def worker(self, processes: int) -> Process:
        """`celery worker`, as the how-to says; returns when all its processes stand by."""
        before = living_workers()
        options = ["--without-heartbeat", "--without-gossip", "--without-mingle", "--concurrency", str(processes)]
        started = self.start("worker", "-m", "celery", "-A", "portal", "worker", *options)
        eventually(lambda: living_workers() - before >= processes, 60)
        return started

    def beat(self) -> Process:
        options = ["--schedule", str(self.folder / "beat"), "--pidfile", ""]
        return self.start("beat", "-m", "celery", "-A", "portal", "beat", *options)

    def gateway(self) -> tuple[int, Process]:
        port = free_port()
        process = self.start(f"gateway-{port}", "manage.py", "smtp_gateway", "--port", str(port))
        eventually(lambda: listening(port), 30)
        return port, process

    def web(self, messages: int, pause: float) -> Web:
        return Web(self, messages, pause)


class Web:
    """What a web process does: sends mail through Django's mail API, and says when each was accepted."""

    def __init__(self, portal: Portal, messages: int, pause: float) -> None:
        self._name = f"web-{free_port()}"
        self.process = portal.start(self._name, "-m", "tests.interop.web", str(messages), str(pause))

    @property
    def accepted(self) -> dict[str, float]:
        """When each mail was accepted, by Message-ID."""
        text, _, _ = self.process.said.rpartition("\n")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return {line["message_id"]: line["accepted"] for line in lines}

    @property
    def seconds(self) -> list[float]:
        """How long each call took."""
        text, _, _ = self.process.said.rpartition("\n")
        return [json.loads(line)["seconds"] for line in text.splitlines() if line.startswith("{")]

    def wait(self) -> None:
        assert self.process.process.wait(120) == 0, self.process.said


def living_workers() -> int:
    return Worker.objects.filter(seen__gt=timezone.now() - Worker.STALE_AFTER).count()


class App:
    """An app that sends through a gateway and remembers what was accepted; it tries again where it wasn't."""

    def __init__(self, port: int, username: str, password: str, messages: int, pause: float) -> None:
        self.accepted: dict[str, float] = {}
        self._arguments = (port, username, password, messages, pause)
        self.thread = threading.Thread(target=self._run, args=self._arguments, daemon=True)
        self.thread.start()

    def _run(self, port: int, username: str, password: str, messages: int, pause: float) -> None:
        session: smtplib.SMTP | None = None
        for number in range(messages):
            message_id = f"<app.{port}.{id(self)}.{number}@acme.example>"
            while message_id not in self.accepted:
                try:
                    if session is None:
                        session = smtplib.SMTP("127.0.0.1", port, timeout=20)
                        session.login(username, password)
                    session.sendmail("crm@acme.example", ["customer@example.com"], f"Message-ID: {message_id}\r\n\r\nHi\r\n")
                    self.accepted[message_id] = time.time()
                except (smtplib.SMTPException, OSError):
                    session = None
                    time.sleep(0.2)
            time.sleep(pause)


def printed(text: str) -> None:
    """For the person who runs them: figures belong to one machine at one hour, and are never asserted."""
    output: IO[str] = sys.__stdout__  # type: ignore[assignment]
    output.write(f"\n{text}\n")
    output.flush()
