"""Sign in: PLAIN or LOGIN with a password, XOAUTH2 or OAUTHBEARER with a token.

Each function takes a client whose connection is encrypted as the settings require. It raises smtplib's errors or
ConnectionTrouble.
"""

from __future__ import annotations

import base64
import binascii
import smtplib

from emailconfig.connection.explanations import meaning_of
from emailconfig.connection.smtp import HIDDEN, Smtp, printable, words
from emailconfig.connection.trouble import ConnectionTrouble

STEP = "AUTH"
# A refusal of a password has these codes. If a token was sent, it means the token.
_ABOUT_CREDENTIALS = ("auth_refused", "microsoft_auth_refused", "google_auth_refused")


def with_password(smtp: Smtp, username: str, password: str) -> None:
    """Sign in with AUTH PLAIN or LOGIN, in UTF-8 (RFC 4616).

    smtplib's own login() can't send a non-ASCII password.
    """
    plain = _b64("\0" + username + "\0" + password)
    smtp.secrets += [plain, _b64(password), password]
    offered = _mechanisms(smtp)
    if "PLAIN" in offered:
        code, reply = smtp.docmd("AUTH", "PLAIN " + plain)
    elif "LOGIN" in offered:
        code, reply = smtp.docmd("AUTH", f"LOGIN {_b64(username)}")
        if code == 334:
            code, reply = smtp.docmd(_b64(password))
    else:
        by_token = {"XOAUTH2", "OAUTHBEARER"} & set(offered)
        meaning = "cram_md5_only" if "CRAM-MD5" in offered and not by_token else "password_not_offered"
        raise ConnectionTrouble(STEP, meaning, f"The server announces: AUTH {' '.join(offered)}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, reply)


def with_token(smtp: Smtp, mailbox: str, token: str) -> None:
    """Sign in with OAUTHBEARER (RFC 7628), or else XOAUTH2 (Google, Microsoft)."""
    offered = _mechanisms(smtp)
    if "OAUTHBEARER" in offered:
        answer = _b64(f"n,a={_saslname(mailbox)},\x01auth=Bearer {token}\x01\x01")
        mechanism, farewell = "OAUTHBEARER", _b64("\x01")
    elif "XOAUTH2" in offered:
        answer = _b64(f"user={mailbox}\x01auth=Bearer {token}\x01\x01")
        mechanism, farewell = "XOAUTH2", ""
    else:
        raise ConnectionTrouble(STEP, "oauth_not_offered", f"The server announces: AUTH {' '.join(offered)}")
    smtp.secrets += [answer, _b64(token), token]
    code, reply = smtp.docmd("AUTH", f"{mechanism} {answer}")
    if code == 235:
        return
    reason = ""
    if code == 334:  # the reason as JSON; the server refuses after our empty answer (RFC 7628 section 3.2.3)
        reason = printable(_decoded(reply).replace(token, HIDDEN))
        smtp.note(f"  {reason}")
        code, reply = smtp.docmd(farewell)
    said = f"{words(code, reply)} {reason}".strip()
    meaning = meaning_of(STEP, said)
    raise ConnectionTrouble(STEP, "token_not_accepted" if meaning in _ABOUT_CREDENTIALS else meaning, said)


def _mechanisms(smtp: Smtp) -> list[str]:
    offered = smtp.esmtp_features.get("auth", "").upper().split()
    if not offered:
        raise ConnectionTrouble(STEP, "auth_not_offered", "The server announces no AUTH.")
    return offered


def _saslname(mailbox: str) -> str:
    """Escape a comma and an equals sign, which would end it (RFC 5801 section 4)."""
    return mailbox.replace("=", "=3D").replace(",", "=2C")


def _decoded(reply: bytes) -> str:
    try:
        return base64.b64decode(reply, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
