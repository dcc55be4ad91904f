"""Decide which header fields a stage may keep in its test mail.

A field that makes a server or an email program act is never kept.
"""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# Fields with addresses, fields that make programs write or deliver, and fields that the portal itself writes.
_ACTS = re.compile(
    r"from|to|cc|bcc|sender|received|x-received|.*-(to|cc|bcc|from|sender)|return-.*|resent-.*|disposition-.*|list-.*|mail-.*|errors-.*"
    r"|dkim-.*|arc-.*|domainkey-.*|authentication-.*|x-original-.*|original-.*|x-email-(app|stage|log)"
    r"|.*(recipient|rcpt|envelope|receipt|unsubscribe|confirm-reading).*"
)
# Email providers read commands from fields with these names.
_PROVIDERS = re.compile(
    r"x-smtpapi|x-apiheader|x-tags|postback|x-virtual-mta|x-job|x-(sg|mc|msys|mailgun|pm|ses|mj|mailjet|sib|mailin|sparkpost|postmark"
    r"|sendgrid|mandrill|brevo|elasticemail|smtp2go|mailersend|resend|mt|mailtrap|cmail|xs|pmta|greenarrow|socketlabs|ms|microsoft"
    r"|forefront|gm|google|amazon|aws|zoho|mailchannels)(-.*|mailingid|messageid)?"
)


def validate_kept_header(name: str) -> None:
    """Raise a ValidationError that says why test mail can't keep this field."""
    if not _NAME.fullmatch(name):
        raise ValidationError("Enter the field's name without the colon. It has only letters, digits, hyphens and underscores.")
    if _ACTS.fullmatch(name.lower()):
        raise ValidationError(f"Test mail never keeps {name}: servers or email programs may write to the people it names.")
    if _PROVIDERS.fullmatch(name.lower()):
        raise ValidationError(f"Test mail never keeps {name}: email providers read commands from it.")
