"""The email log's filters. They stand in the address, so that a filtered log can be linked and reloaded."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet

from common.log_filter import LogFilter
from emaillog.bounded_scan import Span, span_of_time
from organization.models import App, Credential
from organization.permissions import Permission
from outbox import search_text
from outbox.models import WAITING, Message, RouteKind, Status
from outbox.visibility import Sight

# What Analytics counts as waiting (see backlog), in one choice.
ON_ITS_WAY = "waiting"
_STATUSES = [(ON_ITS_WAY, "Waiting (queued, sending or deferred)"), *Status.choices]


class _Credentials(django_filters.ModelChoiceFilter):
    class field_class(django_filters.ModelChoiceFilter.field_class):  # noqa: N801 - django-filter's name
        def label_from_instance(self, obj: Credential) -> str:
            return f"{obj.name} ({obj.username})"


class MessageFilter(LogFilter):
    """`qs` is the mail that matches, `span` where by their numbers it can be, `notes` what was left out and why."""

    SELECTS = ("app", "status", "route", "credential", "since")

    q = django_filters.CharFilter(method="search", label="Search", max_length=300)
    recipient = django_filters.CharFilter(method="goes_to", label="Recipient", max_length=254)
    app = django_filters.ModelChoiceFilter(queryset=App.objects.none(), to_field_name="key", empty_label="All apps", label="App")
    status = django_filters.ChoiceFilter(choices=_STATUSES, method="stands", empty_label="All statuses", label="Status")
    route = django_filters.ChoiceFilter(choices=RouteKind.choices, empty_label="All routes", label="Route")
    credential = _Credentials(
        queryset=Credential.objects.none(), to_field_name="username", empty_label="All credentials", label="Credential"
    )

    class Meta:
        model = Message
        fields: tuple[str, ...] = ()

    def __init__(self, data: Any, sight: Sight) -> None:
        super().__init__(data, sight.messages())
        self.sight = sight
        self.filters["app"].queryset = App.objects.filter(pk__in=[app.pk for app in sight.apps])
        self.filters["credential"].queryset = Credential.objects.filter(stage=sight.stage, app__in=sight.apps)

    @property
    def select_filters(self) -> list[forms.BoundField]:
        """Without a filter that has nothing to choose from."""
        return [field for field in super().select_filters if len(getattr(field.field, "choices", ())) > 1]

    @property
    def shows_recipients(self) -> bool:
        """Whether there is any mail whose recipients may be searched for."""
        return self.sight.every_app_open or bool(self.sight.open_apps)

    @property
    def notes(self) -> list[str]:
        notes = super().notes
        if self.asked.get("recipient") and not self.sight.every_app_open:
            permission = f"“{Permission.ACCESS_USER_INFORMATION.label}”"
            if self.shows_recipients:
                notes.append(f"Recipients were searched in the mail of apps over which you have {permission}.")
            else:
                notes.append(f"Searching by recipient takes the permission {permission}. That filter was left out.")
        return notes

    @property
    def span(self) -> Span:
        return span_of_time(Message.objects.filter(stage=self.sight.stage), *self.period())

    def search(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        """Addresses are searched only where they are shown: otherwise they could be guessed."""
        if self.sight.every_app_open:
            return queryset.filter(search_text.says(value))
        return queryset.filter((search_text.says(value) & self.sight.open_mail) | search_text.says_beside_addresses(value))

    def goes_to(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        if not self.shows_recipients:
            return queryset
        return queryset.filter(self.sight.open_mail, search_text.goes_to(value))

    def stands(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(status__in=(*WAITING, Status.SENDING) if value == ON_ITS_WAY else (value,))

    def within(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        start, end = self.period()
        if start is not None:
            queryset = queryset.filter(created__gte=start)
        return queryset if end is None else queryset.filter(created__lte=end)
