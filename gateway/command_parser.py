"""Parse the arguments of MAIL and RCPT (RFC 5321 section 4.1.1), without I/O.

aiosmtpd's own parser is made for header fields. It accepts comments in an address, and it takes a third of the gateway's time.
`submission` decides for all entry points whether an address can be used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from outbox.exceptions import SubmissionRefused
from outbox.submission import check_size

# Within quotes a space, a bracket or a parenthesis is part of the local part.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PATH = re.compile(rf"<((?:{_QUOTED}|[^<>\"])*)>|((?:{_QUOTED}|[^<>\"\s])+)")
# RFC 5321 section 4.1.1.3: a route before the address is accepted and ignored.
_SOURCE_ROUTE = re.compile(r"@[^:\"]*:")
_COMMENT = re.compile(rf"{_QUOTED}|([()])")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^=\s]\S*))?")
# AUTH (RFC 4954): the gateway trusts only its own sign-in. The others (RFC 3461): the stage's sender is told about failures, and
# the email log shows the rest.
_IGNORED_AT_MAIL = frozenset({"AUTH", "RET", "ENVID"})
_IGNORED_AT_RCPT = frozenset({"NOTIFY", "ORCPT"})
_BODIES = frozenset({"7BIT", "8BITMIME"})


def read_mail(argument: str | None) -> tuple[str, bool]:
    """The sender's address, and whether the client asks for SMTPUTF8.

    The address of the null sender is empty. Raises SubmissionRefused.
    """
    path, parameters = _path_and_parameters(argument, "MAIL FROM")
    smtputf8 = False
    for name, value in parameters:
        if name == "SIZE" and value.isdecimal() and value.isascii():
            check_size(int(value[:20]))
        elif name == "SMTPUTF8" and not value:
            smtputf8 = True
        elif not (name == "BODY" and value.upper() in _BODIES) and name not in _IGNORED_AT_MAIL:
            raise _unknown(name, value)
    return path, smtputf8


def read_rcpt(argument: str | None) -> str:
    """The recipient's address. Raises SubmissionRefused."""
    path, parameters = _path_and_parameters(argument, "RCPT TO")
    for name, value in parameters:
        if name not in _IGNORED_AT_RCPT:
            raise _unknown(name, value)
    return path


def address_in(argument: str | None) -> str:
    """The text in the argument's angle brackets, or else the whole argument.

    It need not be a valid address. The trace of a refusal shows it.
    """
    bracketed = re.search(r"<([^<>]*)>", argument or "")
    return bracketed[1] if bracketed else argument or ""


def _path_and_parameters(argument: str | None, command: str) -> tuple[str, Iterator[tuple[str, str]]]:
    keyword = command.split()[1]
    name, _, rest = (argument or "").partition(":")
    found = _PATH.match(rest.strip())
    if name.strip().upper() != keyword or found is None:
        raise SubmissionRefused(501, "5.5.4", f"Syntax: {command}:<address>")
    path = found[1] if found[1] is not None else found[2]
    if any(comment[1] for comment in _COMMENT.finditer(path)):
        raise SubmissionRefused(501, "5.1.3", "A comment in parentheses can't be part of an address here.")
    return _SOURCE_ROUTE.sub("", path, count=1) if path.startswith("@") else path, _parameters(rest.strip()[found.end() :])


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """The parameters: name in upper case, and value, which may be empty."""
    if text and not text.startswith(" "):
        raise SubmissionRefused(501, "5.5.4", f"A space is expected before “{text}”.")
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None:
            raise SubmissionRefused(501, "5.5.4", f"“{word}” isn't a parameter.")
        yield found[1].upper(), found[2] or ""


def _unknown(name: str, value: str) -> SubmissionRefused:
    shown = f"{name}={value}" if value else name
    return SubmissionRefused(555, "5.5.4", f"The parameter {shown} is not supported.")
