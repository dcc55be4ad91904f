"""Presets for well-known providers: SMTP settings, and what to prepare there."""

from __future__ import annotations

from typing import NamedTuple

from emailconfig.models import SmtpSettings

_STARTTLS, _NONE = SmtpSettings.Security.STARTTLS.value, SmtpSettings.Security.NONE.value
_OAUTH2, _BASIC = SmtpSettings.Authentication.OAUTH2.value, SmtpSettings.Authentication.BASIC.value


class Preset(NamedTuple):
    """A preset: `values` fill the form, `prepare` are the steps at the provider."""

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
            "Register an app in Microsoft Entra. Grant it the application permission SMTP.SendAsApp with admin consent.",
            "Create a client secret for it, and note when it expires.",
            "In Exchange Online: New-ServicePrincipal for the app, and Add-MailboxPermission with FullAccess on the mailbox.",
            "Turn on “Authenticated SMTP” for the mailbox.",
            "Replace TENANT in the server token URL with your tenant ID.",
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
            "Turn on 2-step verification for the account that sends.",
            "Create an app password for it, and enter that as the password instead of the account's own.",
            "The account may send 2,000 emails a day. If you need more, use Google's SMTP relay: smtp-relay.gmail.com.",
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
            "Replace eu-west-1 with your own region.",
            "Create SMTP credentials in the SES console. An AWS access key doesn't work here.",
            "Verify the sender's domain, and request production access. The sandbox sends only to verified addresses.",
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
            "For a relay on the portal's machine, ask the operator to list 127.0.0.0/8 in SMTP_ALLOWED_NETWORKS.",
        ),
    ),
)


def preset_of(key: str) -> Preset | None:
    return next((preset for preset in PRESETS if preset.key == key), None)
