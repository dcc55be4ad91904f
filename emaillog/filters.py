"""The email log's filters. They are part of the URL, so that a filtered log can be linked and reloaded."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from common.log_filter import LogFilter
from emaillog.bounded_scan import IdRange, id_range_of_time
from organization.models import Credential, Stage
from organization.permissions import Permission
from organization.web.app_search import apps_called
from outbox import search_text
from outbox.access.visibility import AnyLogAccess
from outbox.models import WAITING, Message, RouteKind, Status

# One choice for all that Analytics counts as waiting (see backlog).
ON_ITS_WAY = "waiting"
_STATUSES = [(ON_ITS_WAY, "Waiting (queued, sending or deferred)"), *Status.choices]
# Numbers have 18 digits at most: no database has larger ids.
_NUMBER = re.compile(r"(#?)([0-9]{1,18})", re.ASCII)
_NUMBERS_AT_MOST = 1_000


class _Credentials(django_filters.ModelChoiceFilter):
    class field_class(django_filters.ModelChoiceFilter.field_class):  # noqa: N801 - django-filter's name
        def label_from_instance(self, obj: Credential) -> str:
            return f"{obj.name} ({obj.username})"


class _NumbersField(forms.CharField):
    """Numbers of emails with commas between them."""

    def clean(self, value: Any) -> list[int]:
        text = super().clean(value)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        matches = [_NUMBER.fullmatch(part) for part in parts]
        if not all(matches):
            raise ValidationError("Enter numbers of emails with commas between them, such as 41,42.")
        if len(parts) > _NUMBERS_AT_MOST:
            raise ValidationError(f"Select at most {_NUMBERS_AT_MOST:,} emails, or use a filter that matches them.")
        return sorted({int(match[2]) for match in matches if match})


class _Numbers(django_filters.Filter):
    field_class = _NumbersField


class MessageFilter(LogFilter):
    """The filters of one request.

    `rows` are the matching messages. `id_range` is the range of numbers that can contain them. `notes` say what was left out
    and why. `errors` say which value makes no sense; then nothing matches.
    """

    SELECTS = ("stage", "status", "route", "credential", "range")

    q = django_filters.CharFilter(method="search", label="Search", max_length=300)
    recipient = django_filters.CharFilter(method="to_recipient", label="Recipient", max_length=254)
    numbers = _Numbers(method="with_numbers", label="Selected emails")
    stage = django_filters.ModelChoiceFilter(
        queryset=Stage.objects.none(), to_field_name="key", empty_label="All stages", label="Stage"
    )
    app = django_filters.CharFilter(method="of_apps", label="App", max_length=100)
    status = django_filters.ChoiceFilter(choices=_STATUSES, method="with_status", empty_label="All statuses", label="Status")
    route = django_filters.ChoiceFilter(choices=RouteKind.choices, empty_label="All routes", label="Route")
    credential = _Credentials(
        queryset=Credential.objects.none(), to_field_name="username", empty_label="All credentials", label="Credential"
    )

    class Meta:
        model = Message
        fields: tuple[str, ...] = ()

    def __init__(self, data: Any, access: AnyLogAccess, now: datetime | None = None) -> None:
        self.visible_stages = access.stages
        if data and data.get("stage"):
            access = access.of_stage(data["stage"])
        super().__init__(data, access.messages(), now)
        self.access = access
        self.filters["stage"].queryset = Stage.objects.filter(pk__in=[stage.pk for stage in self.visible_stages])
        self.filters["credential"].queryset = self._credentials()

    @property
    def rows(self) -> QuerySet[Message]:
        """The matching messages, without the text that only the search reads."""
        matching: QuerySet[Message] = self.queryset.none() if self.errors else self.qs
        return matching.defer("search_text")

    @property
    def select_filters(self) -> list[forms.BoundField]:
        """The filters that are selects, without those that have nothing to choose from."""
        left_out = {"stage"} if len(self.visible_stages) == 1 else set()
        return [
            field
            for field in super().select_filters
            if field.name not in left_out and len(getattr(field.field, "choices", ())) > 1
        ]

    @property
    def shows_recipients(self) -> bool:
        """Whether there are any messages whose recipients the member may search."""
        return self.access.opens_any

    @property
    def notes(self) -> list[str]:
        notes = super().notes
        if self.given_values.get("recipient") and not self.access.every_app_open:
            permission = f"“{Permission.ACCESS_USER_INFORMATION.label}”"
            if self.shows_recipients:
                notes.append(f"Recipients were searched only in the emails of apps for which you have {permission}.")
            else:
                notes.append(f"To search by recipient you need the permission {permission}. That filter was left out.")
        return notes

    @property
    def number(self) -> int | None:
        """The number that is searched for, as `42` or `#42`."""
        match = _NUMBER.fullmatch(self.data.get("q", "").strip())
        return int(match[2]) if match else None

    @property
    def id_range(self) -> IdRange:
        id_range = id_range_of_time(*self.period())
        if numbers := self.form.cleaned_data.get("numbers"):
            id_range = _around(numbers).within(id_range)
        if self.number is not None and self._is_number_alone():
            id_range = _around([self.number]).within(id_range)
        return id_range

    def search(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        """Search subjects and addresses. Addresses are searched only where they are shown: otherwise they could be guessed."""
        by_number = Q(pk=self.number) if self.number is not None else None
        if by_number is not None and self._is_number_alone():
            return queryset.filter(by_number)
        if self.access.every_app_open:
            matches = search_text.matches(value)
        else:
            matches = (search_text.matches(value) & self.access.open_mail) | search_text.matches_without_addresses(value)
        return queryset.filter(matches if by_number is None else matches | by_number)

    def to_recipient(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        if not self.shows_recipients:
            return queryset
        return queryset.filter(self.access.open_mail, search_text.has_recipient(value))

    def with_numbers(self, queryset: QuerySet[Message], name: str, value: list[int]) -> QuerySet[Message]:
        return queryset.filter(pk__in=value) if value else queryset

    def of_apps(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(app__in=apps_called(value))

    def with_status(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(status__in=(*WAITING, Status.SENDING) if value == ON_ITS_WAY else (value,))

    def within(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        start, end = self.period()
        if start is not None:
            queryset = queryset.filter(created__gte=start)
        return queryset if end is None else queryset.filter(created__lte=end)

    def _is_number_alone(self) -> bool:
        return bool(self.data.get("q", "").strip().startswith("#"))

    def _credentials(self) -> QuerySet[Credential]:
        """Those of the apps that are filtered for: an organization may have thousands. And the one that the URL names."""
        app, username = self.data.get("app", ""), self.data.get("credential", "")
        if not app and not username:
            return Credential.objects.none()
        credentials = Credential.objects.filter(stage__in=self.access.stages)
        if not self.access.every_app:
            credentials = credentials.filter(app__in=self.access.some_apps)
        chosen = Q(app__in=apps_called(app)) if app else Q(pk__in=[])
        return credentials.filter(chosen | Q(username=username))


def _around(numbers: list[int]) -> IdRange:
    return IdRange(numbers[0] - 1, numbers[-1] + 1)
