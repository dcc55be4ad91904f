"""Name the time zone beside a time."""

from __future__ import annotations

from datetime import datetime

from django import template

register = template.Library()


@register.filter(expects_localtime=True)
def zone_name(when: datetime) -> str:
    """The zone's short name, with the offset in the hour that comes twice when summer time ends."""
    name = when.tzname() or ""
    comes_twice = when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()
    return f"{name} (UTC{when.isoformat()[-6:]})" if comes_twice else name
