"""The models of this app. Each is in the folder of what it belongs to."""

from accounts.sessions.models import MemberSession
from accounts.single_sign_on.models import Identity

__all__ = ["Identity", "MemberSession"]
