"""What well-known providers want, to start from: server, port, security, sign-in, and what to prepare on their side."""

from __future__ import annotations

from typing import NamedTuple

from emailconfig.models import SmtpSettings

_STARTTLS, _NONE = SmtpSettings.Security.STARTTLS.value, SmtpSettings.Security.NONE.value
_OAUTH2, _BASIC = SmtpSettings.Authentication.OAUTH2.value, SmtpSettings.Authentication.BASIC.value


class Preset(NamedTuple):
    """`values` fill the form; `prepare` is what has to be done with the provider first."""

    key: str
    name: str
    values: dict[str, str | int]
    prepare: tuple[str, ...]


PRESETS = (
    Preset(
        "microsoft-365",
        "Microsoft 365",
        {
            "server": "smtp.office365.com",
            "port": 587,
            "security": _STARTTLS,
            "authentication": _OAUTH2,
            "token_url": "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
            "scopes": "https://outlook.office365.com/.default",
            "connections": 3,
            "mails_per_minute": 30,
            "recipients_per_transaction": 500,
        },
        (
            "Register an app in Microsoft Entra; it needs the application permission SMTP.SendAsApp with consent.",
            "Make a client secret for it, and note when that ends.",
            "In Exchange Online: New-ServicePrincipal for the app, and Add-MailboxPermission with FullAccess on the mailbox.",
            "Switch “Authenticated SMTP” on for the mailbox.",
            "Put your tenant's ID in the place of TENANT in the server token URL.",
        ),
    ),
    Preset(
        "google-workspace",
        "Google Workspace",
        {
            "server": "smtp.gmail.com",
            "port": 587,
            "security": _STARTTLS,
            "authentication": _BASIC,
            "connections": 4,
            "mails_per_minute": 0,
            "recipients_per_transaction": 100,
        },
        (
            "Switch 2-step verification on for the account that sends.",
            "Make an app password for it: that, and not the account's own, is the password here.",
            "The account may send 2,000 mails a day. With more, ask for Google's SMTP relay: smtp-relay.gmail.com.",
        ),
    ),
    Preset(
        "amazon-ses",
        "Amazon SES",
        {
            "server": "email-smtp.eu-west-1.amazonaws.com",
            "port": 587,
            "security": _STARTTLS,
            "authentication": _BASIC,
            "connections": 4,
            "mails_per_minute": 0,
            "recipients_per_transaction": 50,
        },
        (
            "Put your own region in the place of eu-west-1.",
            "Make SMTP credentials in the SES console: an AWS access key isn't one.",
            "Confirm the sender's domain, and ask for production access; the sandbox sends to confirmed addresses only.",
        ),
    ),
    Preset(
        "local-relay",
        "Local relay",
        {
            "server": "localhost",
            "port": 2525,
            "security": _NONE,
            "authentication": SmtpSettings.Authentication.NONE.value,
            "connections": 4,
            "mails_per_minute": 0,
            "recipients_per_transaction": 100,
        },
        (
            "The relay must accept mail from the portal's machine without a sign-in.",
            "For a relay on this machine the operator lists 127.0.0.0/8 in SMTP_ALLOWED_NETWORKS.",
        ),
    ),
)


def preset_of(key: str) -> Preset | None:
    return next((preset for preset in PRESETS if preset.key == key), None)
