"""Who at the provider is which member."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from organization.models import Member


class Identity(models.Model):
    """A person at a provider, and the member who signs in as that person.

    The subject is the provider's key of the person. Addresses change and are given to other people; the subject isn't.
    """

    issuer = models.CharField(max_length=400)
    subject = models.CharField(max_length=255)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="identities")
    created = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_of_one_member")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
