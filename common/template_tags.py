"""Tags for all templates: icons and addresses, and pieces that a log page shows fifty times.

They are written without a template of their own. A template for each of them took longer than the page's queries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from django import template
from django.forms import BoundField
from django.template.base import FilterExpression, Node, Parser, TextNode, Token, Variable
from django.template.defaulttags import URLNode, url
from django.template.library import SimpleNode
from django.templatetags.static import static as static_url
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from lucide.templatetags.lucide import lucide as make_icon

register = template.Library()

_SELECTED = mark_safe(" selected")


@register.simple_tag
def lucide(name: str, *, size: int = 24, **attributes: str) -> SafeString:
    """An icon as inline SVG, as in `{% lucide "mail" size=16 aria_hidden="true" %}`."""
    icon: SafeString = _icon(name, size, tuple(attributes.items()))
    return icon


@register.simple_tag
def static(path: str) -> str:
    """The address of a static file, as Django's own tag gives it."""
    return static_url(path)


@register.simple_tag
def moment(when: datetime | None, short: bool = False) -> str:
    """A time in the member's zone, which is named. `short` leaves the seconds to the title."""
    if when is None:
        return "–"
    local = timezone.localtime(when if timezone.is_aware(when) else when.replace(tzinfo=UTC))
    day, clock = f"{local:%b} {local.day}, {local:%Y},", f"{local:%H:%M}" if short else f"{local:%H:%M:%S}"
    exact, zone = f"{local:%Y-%m-%d %H:%M:%S.%f %Z}", _zone_name(local)
    # Where there is little room, the day and the time take a line each.
    pattern = '<time datetime="{}" title="{}"><span class="nowrap">{}</span> <span class="nowrap">{} {}</span></time>'
    return format_html(pattern, local.isoformat(), exact, day, clock, zone)


def _zone_name(when: datetime) -> str:
    """The zone's short name, with the offset in the hour that comes twice when summer time ends."""
    comes_twice = when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()
    return f"{when:%Z} (UTC{when.isoformat()[-6:]})" if comes_twice else f"{when:%Z}"


@register.simple_tag
def select_menu(field: BoundField) -> str:
    """A field with choices as a menu. Django's own makes a template of each option."""
    chosen = str(field.value() or "")
    choices = ((value, _SELECTED if str(value) == chosen else "", label) for value, label in field.field.widget.choices)
    options = format_html_join("", '<option value="{}"{}>{}</option>', choices)
    return format_html('<select name="{}" id="{}">{}</select>', field.html_name, field.id_for_label, options)


@cache  # templates name them, with fixed attributes
def _icon(name: str, size: int, attributes: tuple[tuple[str, str], ...]) -> SafeString:
    svg: str = make_icon(name, size=size, **dict(attributes))
    return mark_safe(svg)  # noqa: S308 - the library's own


def _made_once(tag: Callable[[Parser, Token], SimpleNode | URLNode]) -> Callable[[Parser, Token], Node]:
    """A tag that is a text from when its template is read, if its arguments are fixed.

    No icon, static file or page gets another address or look while a process lives. The frame of each page has a hundred of them.
    """

    def read(parser: Parser, token: Token) -> Node:
        node = tag(parser, token)
        return TextNode(node.render(template.Context())) if _is_fixed(node) else node

    return read


def _is_fixed(node: SimpleNode | URLNode) -> bool:
    if isinstance(node, URLNode):
        return node.asvar is None and all(map(_is_literal, [node.view_name, *node.args, *node.kwargs.values()]))
    return node.target_var is None and all(map(_is_literal, [*node.args, *node.kwargs.values()]))


def _is_literal(argument: FilterExpression) -> bool:
    is_variable = isinstance(argument.var, Variable) and argument.var.lookups is not None
    return not is_variable and not argument.filters


register.tag("lucide", _made_once(register.tags["lucide"]))
register.tag("static", _made_once(register.tags["static"]))
register.tag("url", _made_once(url))
