"""Explain problems between the portal and an SMTP server, and how to fix them.

docs/reference/connection-problems.md shows this table. Its codes are stable, for scripts that call check_smtp.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Explanation(NamedTuple):
    """The cause of a failure and the next step.

    With `needs_a_person` trying again can't help until you change something, so the stage pauses. `delivery` says what the
    portal does about its emails. A connection test isn't tried again, so it says only the `advice`.
    """

    cause: str
    advice: str
    needs_a_person: bool = False
    delivery: str = ""

    @property
    def next_step(self) -> str:
        return f"{self.delivery} {self.advice}".strip()


_SPELLING = "Check the spelling of the server. If it is a private name, the portal's name servers must know it."
_LISTEN = "Check server and port: 587 goes with STARTTLS, 465 with implicit TLS. Is the server running?"
_RENEW = "Ask the server's administrator to renew its certificate. Until then no email and no password is sent to it."
_PAIR = "Choose STARTTLS with port 587, or implicit TLS with port 465."
_NOTHING = "You need not do anything: the portal tries again."
_LASTS = "If the problem lasts, ask the server's administrator."
_RETRIED = "The portal tries again."
_SECRET = "Enter username and password again. Check whether the account is locked or the password has expired."
_CREDENTIALS = "Check client ID and client secret. If the secret has expired, create a new one at the provider and enter it here."

EXPLANATIONS: dict[str, Explanation] = {
    # Name and address
    "name_not_usable": Explanation(
        "The server's name can't be used: no name server knows it, or it has an address that the portal may not connect to.",
        "Check the spelling of the server, or of the server token URL. If it is correct, ask the operator: the command "
        "check_smtp says which of the two reasons applies.",
    ),
    "name_not_found": Explanation("The server's name can't be resolved: no name server knows an address for it.", _SPELLING),
    "name_servers_silent": Explanation(
        "The name servers don't answer.", "Check the network of the portal's machine.", delivery=_RETRIED
    ),
    "address_refused": Explanation(
        "The portal may not connect to this server's address.",
        "Enter a server in an allowed network, or ask the operator to add its network to SMTP_ALLOWED_NETWORKS. "
        "This machine's own addresses are refused unless they are listed there.",
        needs_a_person=True,
    ),
    # Reaching it
    "connection_refused": Explanation("The server refused the connection: nothing listens on this port.", _LISTEN),
    "connect_timeout": Explanation(
        "The server doesn't answer on this port. The usual cause is a firewall that drops the packets.",
        "Ask the network's administrator to allow outgoing connections to this server and port. Many hosting providers block "
        "mail ports until you ask them to open one. Some email providers also listen on 2525 or 2587.",
    ),
    "unreachable": Explanation(
        "The portal's machine has no route to the server.", "Check the machine's network, its routes and its firewall."
    ),
    "ipv6_unreachable": Explanation(
        "The server has only IPv6 addresses, and the portal's machine can't reach IPv6 addresses.",
        "Give the portal's machine an IPv6 connection, or enter a server that also has an IPv4 address.",
    ),
    "connection_failed": Explanation("The connection to the server failed.", _LISTEN),
    # Greeting and EHLO
    "silent": Explanation(
        "The connection is open, but the server sends no greeting.",
        "A server that expects implicit TLS sends nothing before it. Check the port. " + _PAIR,
    ),
    "tls_expected": Explanation(
        "The server sends no greeting: on port 465 it expects implicit TLS, but security is set to something else.",
        "Set security to implicit TLS, or use port 587 with STARTTLS.",
        needs_a_person=True,
    ),
    "not_smtp": Explanation(
        "The program that answers isn't an SMTP server.",
        "Check server and port. Its reply is shown below.",
        needs_a_person=True,
    ),
    "turned_away": Explanation(
        "The server rejects the connection before the portal has sent anything.",
        "Ask the server's administrator to allow connections from the portal's address. It may be on a block list.",
    ),
    "busy": Explanation("The server is busy and asks to be tried again later.", _LASTS, delivery=_NOTHING),
    "too_many_connections": Explanation(
        "The server has too many connections from the portal.",
        "Reduce “Connections” of this stage. Microsoft 365 accepts three at once from a mailbox.",
        delivery=_RETRIED,
    ),
    "throttled": Explanation(
        "The server asks the portal to send more slowly.",
        "Set “Emails per minute” of this stage to what the provider allows.",
        delivery="The portal continues after a pause.",
    ),
    "hello_refused": Explanation(
        "The server doesn't accept the portal's EHLO.",
        "Often the server can't resolve the name that the portal gives. Set “EHLO name” of this stage to a full host name that "
        "the name servers know.",
    ),
    "own_gateway": Explanation(
        "This is the gateway of this portal, so every email would come back to the portal.",
        "Enter the SMTP server that should deliver the stage's emails. The gateway is only for apps.",
        needs_a_person=True,
    ),
    "puts_everybody_off": Explanation("The server defers every email.", _LASTS, delivery=_NOTHING),
    # TLS
    "starttls_not_offered": Explanation(
        "The server doesn't offer STARTTLS, so nothing was sent to it.",
        "Check the port: 465 usually needs implicit TLS. A relay on this machine may need no encryption: set security to None. "
        "If the server offers STARTTLS to other clients, a device in the network may be removing the offer.",
        needs_a_person=True,
    ),
    "starttls_injection": Explanation(
        "Unencrypted text came with the server's answer to STARTTLS. It isn't from the server, or the server is faulty.",
        "Nothing was sent to the server. A device in the network may be changing the conversation: ask the network's "
        "administrator. Implicit TLS with port 465 is safe from this.",
    ),
    "starttls_refused": Explanation("The server offers STARTTLS and then refuses it.", _LASTS, delivery=_NOTHING),
    "no_tls_from_the_start": Explanation(
        "The server doesn't use implicit TLS on this port: wrong version number.",
        "Set security to STARTTLS, or use port 465 for implicit TLS.",
        needs_a_person=True,
    ),
    "certificate_expired": Explanation("The server's certificate has expired.", _RENEW, needs_a_person=True),
    "certificate_not_yet_valid": Explanation(
        "The server's certificate isn't valid yet.",
        "Check the clocks of the portal's machine and of the server.",
        needs_a_person=True,
    ),
    "certificate_wrong_name": Explanation(
        "The server's certificate is for another name.",
        "Enter a server name that is in its certificate, not an alias or an IP address.",
        needs_a_person=True,
    ),
    "certificate_self_signed": Explanation(
        "The server's certificate is self-signed: no authority that the portal trusts has signed it.",
        "Paste the certificate, or that of your own authority, into “Own CA certificate”. Or get the server a certificate from "
        "a public authority.",
        needs_a_person=True,
    ),
    "certificate_unknown_authority": Explanation(
        "The server's certificate is signed by an authority that the portal doesn't know.",
        "Paste that authority's certificate into “Own CA certificate”. If it is a public authority, the server may be "
        "leaving out the intermediate certificate.",
        needs_a_person=True,
    ),
    "certificate_not_verified": Explanation("The server's certificate can't be verified.", _RENEW, needs_a_person=True),
    "tls_too_old": Explanation(
        "The server and the portal have no TLS version in common. The portal uses 1.2 and newer.",
        "Ask the server's administrator to update it. Older TLS versions aren't secure.",
        needs_a_person=True,
    ),
    "tls_failed": Explanation("The TLS connection with the server failed.", _PAIR),
    # OAuth 2.0 token
    "token_server_not_found": Explanation(
        "The token server's name can't be resolved.", "Check the server token URL. Its host must be known to the name servers."
    ),
    "token_server_refused": Explanation(
        "The portal may not connect to the token server's address.",
        "Check the server token URL, or ask the operator to add its network to SMTP_ALLOWED_NETWORKS.",
        needs_a_person=True,
    ),
    "token_server_unreachable": Explanation(
        "The token server can't be reached.",
        "Check the server token URL, and whether the portal's machine may open HTTPS connections to it.",
        delivery=_RETRIED,
    ),
    "token_server_certificate": Explanation(
        "The token server's certificate can't be verified, so the client secret wasn't sent.",
        "Check the server token URL. A device in the network may be decrypting connections.",
        needs_a_person=True,
    ),
    "token_timeout": Explanation("The token server didn't answer in time.", _LASTS, delivery=_NOTHING),
    "token_server_error": Explanation("The token server reports an error of its own.", _LASTS, delivery=_NOTHING),
    "token_client_refused": Explanation(
        "The token server doesn't accept client ID and client secret.", _CREDENTIALS, needs_a_person=True
    ),
    "token_scope_refused": Explanation(
        "The token server doesn't grant this scope to the client.",
        "Check the scopes. For Microsoft 365 it is https://outlook.office365.com/.default, and the app needs the application "
        "permission SMTP.SendAsApp with an administrator's consent.",
        needs_a_person=True,
    ),
    "token_request_refused": Explanation(
        "The token server refuses the request.",
        "Its answer below says why. Check client ID, scopes and server token URL (for Microsoft 365 it contains your tenant).",
        needs_a_person=True,
    ),
    "token_redirected": Explanation(
        "The token URL redirects to another URL. The client secret isn't sent there.",
        "Enter the token server's final URL.",
        needs_a_person=True,
    ),
    "token_answer_unusable": Explanation(
        "The token server's answer has no usable token.",
        "Check the server token URL. It must be the URL that issues tokens, which often ends in /token.",
        needs_a_person=True,
    ),
    # Sign-in
    "secret_unreadable": Explanation(
        "The stored password or client secret can't be decrypted with the portal's encryption keys.",
        "Ask the operator to put the missing key back into ENCRYPTION_KEYS, or enter the password or client secret again.",
        needs_a_person=True,
    ),
    "auth_not_offered": Explanation(
        "The server offers no sign-in on this connection.",
        "Some servers offer it only on port 587. For a relay that knows the portal by its address, set authentication to None.",
        needs_a_person=True,
    ),
    "password_not_offered": Explanation(
        "The server accepts no sign-in by password, only other methods.",
        "If it offers XOAUTH2 or OAUTHBEARER, set authentication to OAuth 2.0.",
        needs_a_person=True,
    ),
    "cram_md5_only": Explanation(
        "The server accepts passwords only by CRAM-MD5, an outdated method that the portal doesn't use.",
        "Ask the server's administrator to offer AUTH PLAIN or LOGIN over TLS. CRAM-MD5 makes the server store readable "
        "passwords, and TLS protects them better on their way.",
        needs_a_person=True,
    ),
    "oauth_not_offered": Explanation(
        "The server accepts no sign-in by OAuth 2.0.",
        "Check server and port, or set authentication to Basic.",
        needs_a_person=True,
    ),
    "auth_refused": Explanation("The server doesn't accept username and password.", _SECRET, needs_a_person=True),
    "auth_later": Explanation("The server can't check the sign-in right now.", _LASTS, delivery=_NOTHING),
    "microsoft_tenant_off": Explanation(
        "Microsoft 365: SMTP AUTH is turned off for the whole organization (tenant).",
        "In the Exchange admin center under Settings, Mail flow, clear “Turn off SMTP AUTH protocol for your organization”. Or "
        "turn it on for this mailbox only: Set-CASMailbox -SmtpClientAuthenticationDisabled $false.",
        needs_a_person=True,
    ),
    "microsoft_mailbox_off": Explanation(
        "Microsoft 365: SMTP AUTH is turned off for this mailbox.",
        "In the Microsoft 365 admin center open the user, Mail, Manage email apps, and select “Authenticated SMTP”.",
        needs_a_person=True,
    ),
    "microsoft_password_off": Explanation(
        "Microsoft 365 no longer accepts passwords for SMTP in this organization.",
        "Set authentication to OAuth 2.0 – client credentials. The Microsoft 365 preset fills in the other fields.",
        needs_a_person=True,
    ),
    "microsoft_sign_in_blocked": Explanation(
        "Microsoft 365 blocks this sign-in.",
        "Check the Microsoft Entra sign-in log of this account: conditional access, security defaults, or a locked user.",
        needs_a_person=True,
    ),
    "microsoft_auth_refused": Explanation(
        "Microsoft 365 doesn't accept username and password.",
        "The username is the full address of the mailbox. Microsoft is turning off passwords for SMTP: you will need OAuth 2.0.",
        needs_a_person=True,
    ),
    "google_app_password": Explanation(
        "Google requires an app password: it doesn't accept the account's own password for SMTP.",
        "Turn on 2-step verification for the account, create an app password, and enter it here.",
        needs_a_person=True,
    ),
    "google_auth_refused": Explanation(
        "Google doesn't accept username and password.",
        "The username is the full address. The password is an app password from the account's security settings.",
        needs_a_person=True,
    ),
    "ses_auth_refused": Explanation(
        "Amazon SES doesn't accept username and password.",
        "Enter SMTP credentials that were created in the SES console for this region. An AWS access key doesn't work.",
        needs_a_person=True,
    ),
    "token_not_accepted": Explanation(
        "The server doesn't accept the OAuth 2.0 token.",
        "Check the username of the mailbox, and that the app may send as it. For Microsoft 365: New-ServicePrincipal and "
        "Add-MailboxPermission for the app, and SMTP AUTH turned on for the mailbox.",
        needs_a_person=True,
    ),
    # Sender and recipient
    "sender_not_owned": Explanation(
        "The signed-in account may not send as this sender.",
        "Give the account the right to send as the sender address, or change the sender to the account's own address.",
    ),
    "sender_refused": Explanation(
        "The server doesn't accept the sender's address.",
        "Check the sender address. Often its domain must first be verified with the provider.",
    ),
    "ses_sandbox": Explanation(
        "Amazon SES is in its sandbox: it sends only from and to verified addresses.",
        "Verify the addresses in the SES console, or request production access there.",
    ),
    "relay_denied": Explanation(
        "The server doesn't relay email to other domains for the portal (relay access denied).",
        "Most servers relay only after a sign-in: set authentication. A relay without sign-in must allow the portal's address.",
    ),
    "encryption_required": Explanation(
        "The server requires an encrypted connection.",
        "Set security to STARTTLS, or to implicit TLS with port 465.",
        needs_a_person=True,
    ),
    "sign_in_required": Explanation(
        "The server accepts email only after a sign-in.",
        "Set authentication to what the provider requires: username and password, or OAuth 2.0.",
        needs_a_person=True,
    ),
    "greylisted": Explanation(
        "The server defers the first attempt of an unknown sender and accepts a later one (greylisting).",
        "The server's administrator can exempt the portal.",
        delivery="You need not do anything: the portal tries again some minutes later.",
    ),
    "recipient_unknown": Explanation("The server doesn't know this mailbox.", "Check the recipient's address."),
    "recipient_refused": Explanation("The server doesn't accept the recipient.", "Its reply says why."),
    "mailbox_full": Explanation("The recipient's mailbox is full.", "Ask its owner to make room."),
    "mail_too_large": Explanation("The email is larger than the server accepts.", "Send smaller attachments, or a link to them."),
    "content_refused": Explanation(
        "The server doesn't accept the email's content or origin.",
        "Its reply says why. Often SPF, DKIM or DMARC of the sender's domain is missing, or the content looks like spam.",
    ),
    "smtputf8_missing": Explanation(
        "The server doesn't support addresses with non-ASCII characters before the @-sign.",
        "Use another address.",
    ),
    "no_8bitmime": Explanation(
        "The server doesn't announce 8BITMIME. Emails with 8-bit text are sent to it unchanged.",
        "Most servers accept them anyway. If letters such as ä arrive broken, or the emails are refused, let the apps "
        "encode their text as quoted-printable or base64.",
    ),
    # Anywhere
    "dropped": Explanation(
        "The server closed the connection unexpectedly.",
        "It may not accept the portal's address, or it may need other security on this port. " + _LISTEN,
    ),
    "session_closed": Explanation("The server ended the session before it accepted an email.", _LASTS, delivery=_NOTHING),
    "no_answer": Explanation("The server didn't answer in time.", _LASTS, delivery=_NOTHING),
    "too_slow": Explanation(
        "The server answers so slowly that the time limit for the whole connection was reached.",
        "The server may be overloaded, or slow on purpose to deter spammers.",
        delivery=_RETRIED,
    ),
    "unintelligible": Explanation(
        "The server's answer isn't SMTP.",
        "Check server and port. A device in the network may be changing the conversation.",
    ),
    "refused": Explanation("The server rejects the email.", "Its reply says why."),
    "refused_for_now": Explanation("The server rejects the email for now.", _LASTS, delivery=_NOTHING),
}


class _Sign(NamedTuple):
    """How a reply is recognized: by these words, at these steps (all if empty)."""

    code: str
    words: re.Pattern[str]
    steps: tuple[str, ...] = ()


def _sign(code: str, words: str, *steps: str) -> _Sign:
    return _Sign(code, re.compile(words, re.IGNORECASE), steps)


_ENVELOPE = ("MAIL FROM", "RCPT TO")

# The first match counts. First the words of providers, then common words, then the reply code alone.
_SIGNS = (
    _sign("encryption_required", r"must issue a STARTTLS|STARTTLS is required|5\.7\.1[01]\b.*encryption", "AUTH", *_ENVELOPE),
    _sign("microsoft_tenant_off", r"SmtpClientAuthentication is disabled for the Tenant", "AUTH"),
    _sign("microsoft_mailbox_off", r"SmtpClientAuthentication is disabled for the Mailbox", "AUTH"),
    _sign("microsoft_password_off", r"5\.7\.139.*basic authentication is disabled|5\.7\.30\b"),
    _sign("microsoft_auth_refused", r"5\.7\.139.*credentials were incorrect|535 5\.7\.3\b", "AUTH"),
    _sign("microsoft_sign_in_blocked", r"5\.7\.139", "AUTH"),
    _sign("google_app_password", r"5\.7\.9 .*gsmtp|application-specific password|InvalidSecondFactor", "AUTH"),
    _sign("google_auth_refused", r"(5\.7\.8|5\.7\.14).*(gsmtp|google)", "AUTH"),
    _sign("ses_auth_refused", r"^535 Authentication Credentials Invalid|InvalidClientTokenId|SignatureDoesNotMatch", "AUTH"),
    _sign("too_many_connections", r"concurrent connection|sender thread limit|too many (\w+ ){0,2}(connections|sessions)"),
    _sign("throttled", r"4\.3\.2 .*(throttl|limit)|throttl|rate limit|sending rate|too many (mail|message)s|slow down"),
    _sign("hello_refused", r"\b(helo|ehlo)\b", *_ENVELOPE, "DATA"),
    _sign("ses_sandbox", r"Email address is not verified"),
    _sign("greylisted", r"gr[ae]y-?list"),
    _sign("sender_not_owned", r"SendAsDenied|5\.7\.60|not owned by user|not allowed to send as|not authorized to send"),
    _sign("relay_denied", r"relay(ing)? (access )?(denied|not permitted|not allowed)|unable to relay|not permitted to relay"),
    _sign("sign_in_required", r"^530\b|authentication (is )?required|not authenticated", *_ENVELOPE),
    _sign("auth_refused", r"^5", "AUTH"),
    _sign("auth_later", r"^4", "AUTH"),
    _sign("busy", r"^4", "greeting"),
    _sign("turned_away", r"^5", "greeting"),
    _sign("hello_refused", r"^5", "EHLO"),
    _sign("starttls_refused", r"^[45]", "STARTTLS"),
    _sign("sender_refused", r"^5", "MAIL FROM"),
    _sign("mail_too_large", r"5\.3\.4|^552 5\.2\.3"),
    _sign("mailbox_full", r"[45]\.2\.2\b|^552"),
    _sign("smtputf8_missing", r"5\.6\.7\b"),
    _sign("recipient_unknown", r"5\.1\.1\b|5\.1\.10\b|user unknown|no such user|mailbox unavailable", "RCPT TO"),
    _sign("recipient_refused", r"^5", "RCPT TO"),
    _sign("content_refused", r"^5", "content"),
    _sign("session_closed", r"^421"),
    _sign("refused_for_now", r"^4"),
    _sign("refused", r"^5"),
)

# Each attempt is a refused sign-in, and too many of them lock an account. The portal waits longer before it tries these again.
REFUSED_SIGN_INS = frozenset(
    {
        *("auth_refused", "token_not_accepted", "token_client_refused", "token_scope_refused"),
        *("microsoft_tenant_off", "microsoft_mailbox_off", "microsoft_password_off"),
        *("microsoft_sign_in_blocked", "microsoft_auth_refused"),
        *("google_app_password", "google_auth_refused", "ses_auth_refused"),
    }
)

# These explanations add nothing to the server's own reply.
SAYS_NOTHING = frozenset({"refused", "refused_for_now", "recipient_refused", "unintelligible"})


def meaning_of(step: str, reply: str) -> str:
    """The code of the explanation for a server's reply at this step.

    An example of a reply is `550 5.7.1 Relay access denied`.
    """
    for sign in _SIGNS:
        if (not sign.steps or step in sign.steps) and sign.words.search(reply):
            return sign.code
    return "unintelligible"
