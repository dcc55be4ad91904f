"""The models of this app. Each is beside the code that uses it."""

from accounts.links import AccountLink
from accounts.own_mail.contents import OwnMessage
from accounts.passwords.reset import ResetRequest
from accounts.reminders.sending import Reminder
from accounts.second_factor.models import AuthenticatorApp, Passkey, RecoveryCode
from accounts.sessions.models import MemberSession
from accounts.single_sign_on.models import Identity

__all__ = [
    "AccountLink",
    "AuthenticatorApp",
    "Identity",
    "MemberSession",
    "OwnMessage",
    "Passkey",
    "RecoveryCode",
    "Reminder",
    "ResetRequest",
]
