"""What `make demo` says when a port is taken."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tests.support.portal import ROOT


def free_ports(**ports):
    environment = {**os.environ, **{name: str(port) for name, port in ports.items()}}
    command = [sys.executable, ".ci/free_ports.py", *ports]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_named_with_the_command_that_chooses_another():
    with socket.create_server(("127.0.0.1", 0)) as busy, socket.create_server(("127.0.0.1", 0)) as other:
        port, gateway_port = busy.getsockname()[1], other.getsockname()[1]
        answer = free_ports(PORT=port, GATEWAY_PORT=gateway_port)
    assert answer.returncode == 1
    assert f"Port {port} and {gateway_port} are taken" in answer.stderr
    *chosen, make, demo = answer.stderr.rpartition(": ")[2].split()
    assert (make, demo) == ("make", "demo")
    assert [text.partition("=")[0] for text in chosen] == ["PORT", "GATEWAY_PORT"]
    assert len({text.partition("=")[2] for text in chosen}) == 2
    assert free_ports(**dict(text.split("=") for text in chosen)).returncode == 0
