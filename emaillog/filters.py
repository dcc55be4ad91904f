"""The email log's filters. They are part of the URL, so that a filtered log can be linked and reloaded."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from common.log_filter import LogFilter
from emaillog.bounded_scan import IdRange, id_range_of_time
from organization.models import App, Credential
from organization.permissions import Permission
from outbox import search_text
from outbox.access.visibility import LogAccess
from outbox.models import WAITING, Message, RouteKind, Status

# One choice for all that Analytics counts as waiting (see backlog).
ON_ITS_WAY = "waiting"
_STATUSES = [(ON_ITS_WAY, "Waiting (queued, sending or deferred)"), *Status.choices]


class _Credentials(django_filters.ModelChoiceFilter):
    class field_class(django_filters.ModelChoiceFilter.field_class):  # noqa: N801 - django-filter's name
        def label_from_instance(self, obj: Credential) -> str:
            return f"{obj.name} ({obj.username})"


class MessageFilter(LogFilter):
    """The filters of one request.

    `qs` are the matching messages. `id_range` is the range of numbers that can contain them. `notes` say what was left out
    and why.
    """

    SELECTS = ("app", "status", "route", "credential", "since")

    q = django_filters.CharFilter(method="search", label="Search", max_length=300)
    recipient = django_filters.CharFilter(method="to_recipient", label="Recipient", max_length=254)
    app = django_filters.ModelChoiceFilter(queryset=App.objects.none(), to_field_name="key", empty_label="All apps", label="App")
    status = django_filters.ChoiceFilter(choices=_STATUSES, method="with_status", empty_label="All statuses", label="Status")
    route = django_filters.ChoiceFilter(choices=RouteKind.choices, empty_label="All routes", label="Route")
    credential = _Credentials(
        queryset=Credential.objects.none(), to_field_name="username", empty_label="All credentials", label="Credential"
    )

    class Meta:
        model = Message
        fields: tuple[str, ...] = ()

    def __init__(self, data: Any, access: LogAccess) -> None:
        super().__init__(data, access.messages())
        self.access = access
        self.filters["app"].queryset = App.objects.filter(pk__in=[app.pk for app in access.apps])
        self.filters["credential"].queryset = Credential.objects.filter(stage=access.stage, app__in=access.apps)

    @property
    def select_filters(self) -> list[forms.BoundField]:
        """The filters that are selects, without those that have nothing to choose from."""
        return [field for field in super().select_filters if len(getattr(field.field, "choices", ())) > 1]

    @property
    def shows_recipients(self) -> bool:
        """Whether there are any messages whose recipients the member may search."""
        return self.access.every_app_open or bool(self.access.open_apps)

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
    def id_range(self) -> IdRange:
        return id_range_of_time(Message.objects.filter(stage=self.access.stage), *self.period())

    def search(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        """Search subjects and addresses. Addresses are searched only where they are shown: otherwise they could be guessed."""
        if self.access.every_app_open:
            return queryset.filter(search_text.matches(value))
        return queryset.filter(
            (search_text.matches(value) & self.access.open_mail) | search_text.matches_without_addresses(value)
        )

    def to_recipient(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        if not self.shows_recipients:
            return queryset
        return queryset.filter(self.access.open_mail, search_text.has_recipient(value))

    def with_status(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(status__in=(*WAITING, Status.SENDING) if value == ON_ITS_WAY else (value,))

    def within(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        start, end = self.period()
        if start is not None:
            queryset = queryset.filter(created__gte=start)
        return queryset if end is None else queryset.filter(created__lte=end)
