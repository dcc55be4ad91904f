"""manage.py rotate_keys: encrypt all stored secrets with the newest key.

Older keys can then be deleted.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import models, transaction

from common.encryption import EncryptedTextField, EncryptedValue
from common.exceptions import UndecryptableSecret
from organization import audit
from organization.access import Operator
from organization.cli import PortalCommand


class Command(PortalCommand):
    help = (
        "Encrypt all stored secrets with the first key of ENCRYPTION_KEYS. Put a new key at the start of the list, run this, "
        "then remove the old keys. You can run it while the portal is running, and repeat it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        encrypted, lost = 0, []
        for model, field in _encrypted_fields():
            for instance in model._default_manager.exclude(**{field: EncryptedValue()}).iterator():
                try:
                    encrypted += _encrypt_anew(instance, field, self.operator)
                except UndecryptableSecret:
                    lost.append(f"{model._meta.verbose_name} {instance}")
        self.stdout.write(f"{encrypted} stored secrets are encrypted with the newest key.")
        if lost:
            raise CommandError(f"No key decrypts these: {', '.join(lost)}. Put their key back, or enter the secrets again.")


def _encrypted_fields() -> list[tuple[type[models.Model], str]]:
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedTextField)
    ]


def _encrypt_anew(instance: models.Model, field: str, actor: Operator) -> bool:
    """Encrypt a secret with the newest key, and return whether that was done.

    It isn't done if another secret was stored meanwhile.
    """
    secret: EncryptedValue = getattr(instance, field)
    anew = EncryptedValue.of(secret.reveal())
    with transaction.atomic():
        rows = type(instance)._default_manager.filter(pk=instance.pk, **{field: secret})
        if not rows.update(**{field: anew}):
            return False
        audit.record(actor, audit.Operation.ROTATE_KEY, instance)
        return True
