"""How often guesses have failed. All processes share these rows."""

from __future__ import annotations

from django.db import models


class Secret(models.TextChoices):
    """What can be guessed. Failures with one don't count for another."""

    PASSWORD = "password", "Password"
    CODE = "code", "Second factor"
    RESET = "reset", "Password reset"
    CREDENTIAL = "credential", "App credential"

    @property
    def counts_all_addresses(self) -> bool:
        """Whether failures count for all addresses together.

        Only one who knows the password can guess a code, so that strangers lock nobody out.
        """
        return self is Secret.CODE


class FailureCount(models.Model):
    """The failures with one name from one network, or with any name from that network.

    Names are stored as digests, because what was entered as a name may be a password.
    """

    secret = models.CharField(max_length=10, choices=Secret)
    # Empty: the failures of the whole network.
    name_digest = models.CharField(max_length=64, blank=True)
    # An IPv4 address, or the first 64 bits of an IPv6 address.
    network = models.CharField(max_length=45, blank=True)
    failures = models.PositiveIntegerField(default=0)
    last_failure = models.DateTimeField(null=True)
    blocked_until = models.DateTimeField(null=True)
    last_success = models.DateTimeField(null=True)
    changed = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "count of failed sign-ins"
        verbose_name_plural = "counts of failed sign-ins"
        constraints = [models.UniqueConstraint(fields=["network", "name_digest", "secret"], name="failure_count_once")]

    def __str__(self) -> str:
        return f"{self.get_secret_display()}, {self.network or 'all addresses'}: {self.failures}"
