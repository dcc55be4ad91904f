"""The models of accounts. Each is defined in the folder of its feature."""

from accounts.second_factor.models import AuthenticatorApp, Passkey, RecoveryCode

__all__ = ["AuthenticatorApp", "Passkey", "RecoveryCode"]
