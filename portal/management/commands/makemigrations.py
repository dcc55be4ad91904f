"""manage.py makemigrations: Django's own, which runs without the secrets that every other check asks for."""

from __future__ import annotations

from django.core.checks import Tags
from django.core.management.commands import makemigrations


class Command(makemigrations.Command):
    requires_system_checks = [Tags.models]
