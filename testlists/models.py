"""An app's test list in a stage: who gets the app's mail while it is Active."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import models

from common.addresses import ADDRESS_MAX_LENGTH, NamedAddress, same_address_key, validate_address
from common.text import validate_one_line
from organization.models import App, Member, NoBulkUpdate, Stage, VersionedModel

MAX_ADDRESSES = 100


class TestList(VersionedModel):
    """A test list; while `active`, only the people on it get the app's mail.

    Activation and hand-over lock this row, so that neither can overlook the other
    (docs/development/decisions/0002-routing-only-toward-safer.md).
    """

    __test__ = False  # pytest takes it for a test class because of its name

    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="test_lists")
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, related_name="test_lists")
    active = models.BooleanField(default=False)
    # When the activation ends. What is in force is worked out each time it is asked; nothing is written then.
    active_until = models.DateTimeField(null=True, blank=True, default=None, db_default=None)
    tag_subject = models.BooleanField(
        "tag the subject with the stage", default=False, help_text="“Welcome” becomes “[QA] Welcome” in test mail."
    )
    # The version of the last save that left the list Active, or made it again after it was lost. A message that was routed
    # under an older version was caught by the list.
    active_version = models.PositiveIntegerField(default=0, editable=False)

    objects = NoBulkUpdate["TestList"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["app", "stage"], name="one_test_list_per_app_and_stage")]

    def __str__(self) -> str:
        return f"Test list of {self.app} in {self.stage}"

    @property
    def is_missing(self) -> bool:
        """Whether the list has no row.

        Then it may have been Active, and the app's messages are held.
        """
        return self.pk is None

    def is_expired(self, now: datetime) -> bool:
        """Whether the list was Active, and its end has passed."""
        return self.active and self.active_until is not None and self.active_until <= now

    def is_active(self, now: datetime) -> bool:
        return self.active and not self.is_expired(now)

    def people(self) -> list[NamedAddress]:
        """The people on the list.

        Members have their current address, and removed members are left out.
        """
        return [entry.person for entry in self.present_entries()]

    def present_entries(self) -> list[TestListAddress]:
        if self.is_missing:
            return []
        entries = self.addresses.select_related("member")
        return [entry for entry in entries if entry.member is None or entry.member.is_active]


class TestListAddress(models.Model):
    """A person on a test list: a member, or any other address with a name."""

    __test__ = False

    test_list = models.ForeignKey(TestList, on_delete=models.CASCADE, related_name="addresses")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    email = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    name = models.CharField(max_length=100, blank=True, validators=[validate_one_line])

    objects = NoBulkUpdate["TestListAddress"].as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["test_list", "member"], name="member_on_test_list_once"),
            models.CheckConstraint(
                condition=models.Q(member__isnull=True) ^ models.Q(email=""), name="test_list_address_is_member_or_address"
            ),
        ]

    def __str__(self) -> str:
        return str(self.person)

    def clean(self) -> None:
        if self.member is None:
            try:
                self.email = validate_address(self.email)
            except ValidationError as error:
                raise ValidationError({"email": error}) from error

    @property
    def person(self) -> NamedAddress:
        if self.member is not None:
            return NamedAddress(self.member.email, self.member.name)
        return NamedAddress(self.email, self.name)

    def person_for(self, *, sees_addresses: bool) -> NamedAddress:
        return self.person if sees_addresses else self.person.masked()

    @property
    def is_member(self) -> bool:
        return self.member_id is not None

    @property
    def key(self) -> str:
        """The entry's key in forms, independent of its row.

        It is `m12` for a member and `a…` for an address.
        """
        return f"m{self.member_id}" if self.is_member else f"a{same_address_key(self.email)}"
