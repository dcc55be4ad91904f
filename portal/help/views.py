"""The portal's documentation (docs/) as pages of the portal. The “Learn more” links lead here."""

from __future__ import annotations

from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from organization.web.http import MemberRequest, search_words
from portal.help.pages import DOCS, FILES, INDEX, load_page, neighbours
from portal.help.search import LIMIT, LONGEST_QUERY, search


@require_safe
def page(request: MemberRequest, name: str = INDEX) -> HttpResponse:
    if name not in FILES:
        raise Http404
    previous_page, next_page = neighbours(name)
    context = {"page": load_page(name), "is_index": name == INDEX, "previous_page": previous_page, "next_page": next_page}
    return render(request, "portal/help.html", context)


@require_safe
def search_pages(request: MemberRequest) -> HttpResponse:
    query = search_words(request.GET, "q")
    too_long = len(query) > LONGEST_QUERY
    results = search(query) if query and not too_long else []
    context = {"query": query, "results": results[:LIMIT], "count": len(results), "limit": LIMIT}
    if too_long:
        context["error"] = f"Search for at most {LONGEST_QUERY} characters."
    return render(request, "portal/help_search.html", context, status=422 if too_long else 200)


@require_safe
def picture(request: MemberRequest, name: str) -> FileResponse:
    path = DOCS / "images" / name  # a name has no slash
    if path.suffix != ".png" or not path.is_file():
        raise Http404
    return FileResponse(path.open("rb"))
