"""Who is named in an address header: the same on every Python, and never guessed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from outbox.headers import mailboxes
from outbox.headers.mailboxes import read_mailboxes

# A header's value, the people in it, and whether that is everybody.
READ = [
    ("crm@acme.example", [("", "crm@acme.example")], True),
    ("crm@acme.example <crm@acme.example>", [("crm@acme.example", "crm@acme.example")], True),
    ("crm@acme.example (Acme, Inc.)", [("Acme, Inc.", "crm@acme.example")], True),
    ("Acme, Inc. <crm@acme.example>", [("Inc.", "crm@acme.example")], True),
    ('"Silva, Ana" <ana@acme.example>, ben@acme.example', [("Silva, Ana", "ana@acme.example"), ("", "ben@acme.example")], True),
    ("Team: ana@acme.example, Ben <ben@acme.example>;", [("", "ana@acme.example"), ("Ben", "ben@acme.example")], True),
    ('"O\\"Neil" <o@acme.example>', [('O"Neil', "o@acme.example")], True),
    ('"two words"@acme.example', [("", '"two words"@acme.example')], True),
    ("crm@[IPv6:::1]", [("", "crm@[IPv6:::1]")], True),
    ("Jörg <jörg@bücher.example>", [("Jörg", "jörg@bücher.example")], True),
    ("undisclosed-recipients:;", [], True),
    ("Acme CRM", [], True),
    ("", [], True),
    ("<>", [], True),
    ("<crm@acme.example", [], False),
    ("karl@customer.example <crm@acme.example> <x@y.example>", [], False),
    ('"Karl" <karl@customer.example> "x <crm@acme.example>', [], False),
    ("karl@customer.example@acme.example", [], False),
    ("<@relay.example:crm@acme.example>", [], False),
    ("crm@acme.example (Acme", [("Acme", "crm@acme.example")], False),
    ("karl @customer.example, crm@acme.example", [("", "crm@acme.example")], False),
    ("crm@acme.example\x00", [], False),
]


@pytest.mark.parametrize(("value", "people", "complete"), READ)
def test_a_header_names_these_people(value: str, people: list[tuple[str, str]], complete: bool) -> None:
    assert read_mailboxes(value) == (people, complete)


@pytest.mark.parametrize("python", sorted({sys.executable, *filter(None, [shutil.which("python3", path="/usr/bin")])}))
def test_every_python_of_this_machine_reads_them_the_same_way(python: str) -> None:
    """Debian 12's own has a stricter standard library than others of its version."""
    program = "import json, runpy, sys; read = runpy.run_path(sys.argv[1])['read_mailboxes']; " + (
        "print(json.dumps([read(value) for value in json.load(sys.stdin)]))"
    )
    values = json.dumps([value for value, _, _ in READ])
    command = [python, "-c", program, str(Path(mailboxes.__file__))]
    answer = subprocess.run(command, input=values, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(answer) == json.loads(json.dumps([(people, complete) for _, people, complete in READ]))


@pytest.mark.parametrize("piece", ["<", "(", '"\\', '"a', '"" ', "a@b,", ":", "\\", "<>", "a" * 8])
def test_no_header_takes_for_ever_to_read(piece: str) -> None:
    """Where the time grew with the square of the length, this test would hang."""
    read_mailboxes(piece * (400_000 // len(piece)))
