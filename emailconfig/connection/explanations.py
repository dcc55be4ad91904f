"""What can go wrong between the portal and an SMTP server: why, and what to do about it. docs/reference/connection-problems.md
shows this table; its codes are stable, for scripts that call check_smtp."""

from __future__ import annotations

import re
from typing import NamedTuple


class Explanation(NamedTuple):
    """`needs_a_person`: trying again won't help until you change something, so that the stage pauses."""

    cause: str
    next_step: str
    needs_a_person: bool = False


_SPELLING = "Check the spelling of the server. A private name must be known to the name servers that the portal asks."
_LISTEN = "Check server and port: 587 goes with STARTTLS, 465 with implicit TLS. Is the server running?"
_RENEW = "Ask whoever runs the server to renew its certificate. Until then no mail and no password goes there."
_PAIR = "Choose STARTTLS with port 587, or implicit TLS with port 465."
_LATER = "Nothing to do: it is tried again. If it lasts, ask whoever runs the server."
_SECRET = "Enter user name and password again. Check whether the account is locked or the password has expired."
_CREDENTIALS = "Check client ID and client secret. A secret has an end date: make a new one with the provider and enter it here."

EXPLANATIONS: dict[str, Explanation] = {
    # Name and address
    "name_not_usable": Explanation(
        "The server's name can't be used: no name server knows it, or it leads to an address that the portal may not connect to.",
        "Check the spelling of the server, or of the server token URL. If it is right, ask the operator: the command "
        "check_smtp says which of the two it is.",
    ),
    "name_not_found": Explanation("The server's name can't be resolved: no name server knows an address for it.", _SPELLING),
    "name_servers_silent": Explanation(
        "The name servers give no answer.", "Check the network of the machine that the portal runs on. It is tried again."
    ),
    "address_refused": Explanation(
        "The portal may not connect to this server's address.",
        "Enter a server in a network that is allowed, or ask the operator to add its network to SMTP_ALLOWED_NETWORKS. "
        "This machine's own addresses are refused unless they are listed there.",
        needs_a_person=True,
    ),
    # Reaching it
    "connection_refused": Explanation("Nothing listens on this port of the server.", _LISTEN),
    "connect_timeout": Explanation(
        "The server doesn't answer on this port. Most often a firewall drops what is sent to it.",
        "Ask the network's administrator to allow outgoing connections to this server and port. Many hosting providers block "
        "mail ports until they are asked; some mail providers listen on 2525 or 2587 as well.",
    ),
    "unreachable": Explanation(
        "There is no way from the portal's machine to the server.", "Check the machine's network, its routes and its firewall."
    ),
    "ipv6_unreachable": Explanation(
        "The server has only IPv6 addresses, and the portal's machine can't reach those.",
        "Give the portal's machine an IPv6 connection, or enter a server that has an IPv4 address too.",
    ),
    "connection_failed": Explanation("The connection to the server failed.", _LISTEN),
    # Greeting and EHLO
    "silent": Explanation(
        "The connection is open, but the server doesn't greet.",
        "A server that expects implicit TLS waits without a word: is it the right port? " + _PAIR,
    ),
    "tls_expected": Explanation(
        "The server doesn't greet: on port 465 it waits for implicit TLS, and security is set to something else.",
        "Set security to implicit TLS, or use port 587 with STARTTLS.",
        needs_a_person=True,
    ),
    "not_smtp": Explanation(
        "What answers there isn't an SMTP server.",
        "Check server and port. The words below are what it said.",
        needs_a_person=True,
    ),
    "turned_away": Explanation(
        "The server turns the portal away before anything was asked of it.",
        "Ask whoever runs the server to allow connections from the portal's address: it may stand on a block list.",
    ),
    "busy": Explanation("The server is busy and asks to come back later.", _LATER),
    "too_many_connections": Explanation(
        "The server has too many connections from here.",
        "Set “connections” of this stage to fewer; Microsoft 365 takes three at once from a mailbox. It is tried again.",
    ),
    "throttled": Explanation(
        "The server asks to send more slowly.",
        "Set “mails per minute” of this stage to what the provider allows. It goes on after a pause.",
    ),
    "hello_refused": Explanation(
        "The server doesn't accept the portal's EHLO.",
        "Often the name the portal gives itself isn't one the server can resolve: set “EHLO name” of this stage to a full host "
        "name that the name servers know.",
    ),
    "own_gateway": Explanation(
        "This is the gateway of this portal: its mail would go round in a circle.",
        "Enter the SMTP server that is to deliver the stage's mail. The gateway is only for apps.",
        needs_a_person=True,
    ),
    "puts_everybody_off": Explanation("The server puts off every email that it is given.", _LATER),
    # TLS
    "starttls_not_offered": Explanation(
        "The server doesn't offer STARTTLS, so nothing was sent to it.",
        "Check the port: 465 usually wants implicit TLS. A relay on this machine may need no encryption: set security to "
        "None. If the server offers STARTTLS elsewhere, something between the portal and it may be taking the offer out.",
        needs_a_person=True,
    ),
    "starttls_injection": Explanation(
        "Text in clear was sent along with the server's answer to STARTTLS. It isn't the server's, or the server is faulty.",
        "Nothing was sent to it. Something between the portal and the server may be changing what is said: ask whoever runs "
        "the network. Implicit TLS with port 465 isn't open to this.",
    ),
    "starttls_refused": Explanation("The server offers STARTTLS and then refuses it.", _LATER),
    "no_tls_from_the_start": Explanation(
        "The server doesn't speak implicit TLS on this port: wrong version number.",
        "Set security to STARTTLS; or, if it is to be implicit TLS, use port 465.",
        needs_a_person=True,
    ),
    "certificate_expired": Explanation("The server's certificate has expired.", _RENEW, needs_a_person=True),
    "certificate_not_yet_valid": Explanation(
        "The server's certificate isn't valid yet.",
        "Check the clock of the portal's machine and of the server.",
        needs_a_person=True,
    ),
    "certificate_wrong_name": Explanation(
        "The server's certificate is for another name.",
        "Enter the server by a name its certificate carries, rather than by an alias or an IP address.",
        needs_a_person=True,
    ),
    "certificate_self_signed": Explanation(
        "The server's certificate is self-signed: nobody the portal trusts vouches for it.",
        "Paste the certificate, or that of your own authority, into “Own CA certificate”. Or have the server get one from a "
        "public authority.",
        needs_a_person=True,
    ),
    "certificate_unknown_authority": Explanation(
        "The server's certificate is signed by an authority that the portal doesn't know.",
        "Paste that authority's certificate into “Own CA certificate”. With a public authority the server may be leaving out "
        "the certificate in between.",
        needs_a_person=True,
    ),
    "certificate_not_verified": Explanation("The server's certificate can't be verified.", _RENEW, needs_a_person=True),
    "tls_too_old": Explanation(
        "The server and the portal have no TLS version in common; the portal speaks 1.2 and newer.",
        "Have the server brought up to date. Older versions can be read by others.",
        needs_a_person=True,
    ),
    "tls_failed": Explanation("No TLS connection with the server came about.", _PAIR),
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
        "Check the server token URL, and whether the portal's machine may open HTTPS connections to it. It is tried again.",
    ),
    "token_server_certificate": Explanation(
        "The token server's certificate can't be verified, so the client secret wasn't sent.",
        "Check the server token URL. Something in between may be reading encrypted connections.",
        needs_a_person=True,
    ),
    "token_timeout": Explanation("The token server didn't answer in time.", _LATER),
    "token_server_error": Explanation("The token server has trouble of its own.", _LATER),
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
        "Its words below say why. Check the server token URL (for Microsoft 365 it carries your tenant), client ID and scopes.",
        needs_a_person=True,
    ),
    "token_redirected": Explanation(
        "The token URL leads to another address. The client secret isn't sent on.",
        "Enter the address that the token server itself has.",
        needs_a_person=True,
    ),
    "token_answer_unusable": Explanation(
        "What the token server answers isn't a usable token.",
        "Check the server token URL: it is the one that hands out tokens, often ending in /token.",
        needs_a_person=True,
    ),
    # Sign-in
    "secret_unreadable": Explanation(
        "The stored password or client secret can't be read with the portal's encryption keys.",
        "Ask the operator to put the missing key back into ENCRYPTION_KEYS; or enter the password or client secret again.",
        needs_a_person=True,
    ),
    "auth_not_offered": Explanation(
        "The server offers no sign-in on this connection.",
        "Some servers offer it on port 587 only. A relay that knows the portal by its address wants authentication None.",
        needs_a_person=True,
    ),
    "password_not_offered": Explanation(
        "The server takes no sign-in by password; it offers others.",
        "If it offers XOAUTH2 or OAUTHBEARER, set authentication to OAuth 2.0.",
        needs_a_person=True,
    ),
    "cram_md5_only": Explanation(
        "The server takes passwords by CRAM-MD5 only, an outdated way that the portal doesn't use.",
        "Ask whoever runs the server to offer AUTH PLAIN or LOGIN over TLS. CRAM-MD5 makes the server keep passwords readable, "
        "and TLS protects them better on their way.",
        needs_a_person=True,
    ),
    "oauth_not_offered": Explanation(
        "The server takes no sign-in by OAuth 2.0.",
        "Check server and port, or set authentication to Basic.",
        needs_a_person=True,
    ),
    "auth_refused": Explanation("The server doesn't accept user name and password.", _SECRET, needs_a_person=True),
    "auth_later": Explanation("The server can't check the sign-in just now.", _LATER),
    "microsoft_tenant_off": Explanation(
        "Microsoft 365: SMTP AUTH is switched off for the whole organization (tenant).",
        "In the Exchange admin center under Settings, Mail flow, clear “Turn off SMTP AUTH protocol for your organization”; or "
        "switch it on for this mailbox alone: Set-CASMailbox -SmtpClientAuthenticationDisabled $false.",
        needs_a_person=True,
    ),
    "microsoft_mailbox_off": Explanation(
        "Microsoft 365: SMTP AUTH is switched off for this mailbox.",
        "In the Microsoft 365 admin center open the user, Mail, Manage email apps, and tick “Authenticated SMTP”.",
        needs_a_person=True,
    ),
    "microsoft_password_off": Explanation(
        "Microsoft 365 doesn't take passwords for SMTP any more in this organization.",
        "Set authentication to OAuth 2.0 – client credentials. The Microsoft 365 preset fills in what belongs there.",
        needs_a_person=True,
    ),
    "microsoft_sign_in_blocked": Explanation(
        "Microsoft 365 blocks this sign-in.",
        "Look into the sign-in log of Microsoft Entra for this account: conditional access, security defaults, a locked user.",
        needs_a_person=True,
    ),
    "microsoft_auth_refused": Explanation(
        "Microsoft 365 doesn't accept user name and password.",
        "The user name is the full address of the mailbox. Passwords for SMTP are being switched off: OAuth 2.0 will be needed.",
        needs_a_person=True,
    ),
    "google_app_password": Explanation(
        "Google wants an app password: the account's own isn't accepted for SMTP.",
        "Switch 2-step verification on for the account, make an app password, and enter that here.",
        needs_a_person=True,
    ),
    "google_auth_refused": Explanation(
        "Google doesn't accept user name and password.",
        "The user name is the full address. The password is an app password, made in the account's security settings.",
        needs_a_person=True,
    ),
    "ses_auth_refused": Explanation(
        "Amazon SES doesn't accept user name and password.",
        "SES wants SMTP credentials of its own, made in the SES console for this very region. An AWS access key isn't one.",
        needs_a_person=True,
    ),
    "token_not_accepted": Explanation(
        "The server doesn't accept the OAuth 2.0 token.",
        "Check the mailbox user, and that the app may send as it. For Microsoft 365: New-ServicePrincipal and "
        "Add-MailboxPermission for the app, and SMTP AUTH switched on for the mailbox.",
        needs_a_person=True,
    ),
    # Sender and recipient
    "sender_not_owned": Explanation(
        "The account that is signed in may not send as this sender.",
        "Give the account the right to send as the sender address, or change the sender to the account's own address.",
    ),
    "sender_refused": Explanation(
        "The server doesn't accept the sender's address.",
        "Check the sender address. Its domain often has to be confirmed with the provider first.",
    ),
    "ses_sandbox": Explanation(
        "Amazon SES is in its sandbox: it sends only from and to addresses that were confirmed.",
        "Confirm the addresses in the SES console, or ask there for production access.",
    ),
    "relay_denied": Explanation(
        "The server doesn't pass mail on for us to other domains (relay access denied).",
        "Most servers do so only after a sign-in: set authentication. A relay without sign-in must know the portal's address.",
    ),
    "encryption_required": Explanation(
        "The server wants the connection to be encrypted.",
        "Set security to STARTTLS, or to implicit TLS with port 465.",
        needs_a_person=True,
    ),
    "sign_in_required": Explanation(
        "The server takes mail only from those who sign in.",
        "Set authentication, with what the provider gave for it: user name and password, or OAuth 2.0.",
        needs_a_person=True,
    ),
    "greylisted": Explanation(
        "The server makes strangers wait and lets them in at a second try (greylisting).",
        "Nothing to do: mail goes out some minutes later. It is faster when the server's owner puts the portal on a list.",
    ),
    "recipient_unknown": Explanation("The server knows no such mailbox.", "Check the recipient's address."),
    "recipient_refused": Explanation("The server doesn't accept the recipient.", "Its words say why."),
    "mailbox_full": Explanation("The recipient's mailbox is full.", "Only its owner can make room."),
    "mail_too_large": Explanation("The mail is larger than the server takes.", "Send less, or a link to it."),
    "content_refused": Explanation(
        "The server doesn't accept what the mail says, or where it comes from.",
        "Its words say why. Often SPF, DKIM or DMARC of the sender's domain are missing, or the content looks like spam.",
    ),
    "smtputf8_missing": Explanation(
        "The server can't carry addresses with characters outside ASCII before the @-sign.",
        "Use another address.",
    ),
    "no_8bitmime": Explanation(
        "The server doesn't announce 8BITMIME. Emails that an app sends as 8-bit text go to it as they are.",
        "Most servers take them all the same. If letters such as ä arrive broken, or such emails are refused, let the apps "
        "encode their text as quoted-printable or base64.",
    ),
    # Anywhere
    "dropped": Explanation(
        "The server closed the connection in the middle.",
        "It may not accept the portal's address, or want another security for this port. " + _LISTEN,
    ),
    "session_closed": Explanation("The server ended the session before it took a mail.", _LATER),
    "no_answer": Explanation("The server didn't answer in time.", _LATER),
    "too_slow": Explanation(
        "The server answers so slowly that the time for the whole connection was over.",
        "A server under load, or one that wears others out on purpose. It is tried again.",
    ),
    "unintelligible": Explanation(
        "The server answers with something that isn't SMTP.",
        "Check server and port. Something in between may be changing what is said.",
    ),
    "refused": Explanation("The server refuses.", "Its words say why."),
    "refused_for_now": Explanation("The server refuses for now.", _LATER),
}


class _Sign(NamedTuple):
    """How a reply is recognised: at these steps (all, if empty), by these words."""

    code: str
    words: re.Pattern[str]
    steps: tuple[str, ...] = ()


def _sign(code: str, words: str, *steps: str) -> _Sign:
    return _Sign(code, re.compile(words, re.IGNORECASE), steps)


_ENVELOPE = ("MAIL FROM", "RCPT TO")

# The first that fits. Providers' words first, then the field's, then what the code alone tells.
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
    _sign("throttled", r"4\.3\.2 .*(throttl|limit)|throttl|rate limit|sending rate|too many (mails|messages)|slow down"),
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

# Each try is a refused sign-in, and too many of them lock an account out: these wait longer for a person than all else.
REFUSED_SIGN_INS = frozenset(
    {
        *("auth_refused", "token_not_accepted", "token_client_refused", "token_scope_refused"),
        *("microsoft_tenant_off", "microsoft_mailbox_off", "microsoft_password_off"),
        *("microsoft_sign_in_blocked", "microsoft_auth_refused"),
        *("google_app_password", "google_auth_refused", "ses_auth_refused"),
    }
)

# What these codes say beside a server's own words is no news.
SAYS_NOTHING = frozenset({"refused", "refused_for_now", "recipient_refused", "unintelligible"})


def meaning_of(step: str, reply: str) -> str:
    """The code of the explanation for a server's reply, such as `550 5.7.1 Relay access denied`, at this step."""
    for sign in _SIGNS:
        if (not sign.steps or step in sign.steps) and sign.words.search(reply):
            return sign.code
    return "unintelligible"
