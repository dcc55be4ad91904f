"""The two roles every organization has. They can't be edited, only duplicated."""

from organization.models import Role
from organization.permissions import Permission, stored_codes

ADMINISTRATOR = "Administrator"
DEVELOPER = "Developer"

_PERMISSIONS = {
    ADMINISTRATOR: list(Permission),
    DEVELOPER: [
        Permission.EDIT_ASSET_CONFIGURATIONS,
        Permission.CREATE_APPS,
        Permission.CHANGE_APPS,
        Permission.ARCHIVE_APPS,
        Permission.ACCESS_ASSET_LOGS,
        Permission.ACCESS_USER_INFORMATION,
        Permission.RESEND_MAIL,
    ],
}


def ensure_built_in_roles() -> None:
    """Create the built-in roles, or update their permissions to this release.

    It runs after every `migrate`.
    """
    for name, permissions in _PERMISSIONS.items():
        codes = stored_codes(permission.value for permission in permissions)
        Role.objects.update_or_create(name=name, defaults={"permissions": codes, "built_in": True})
