"""Every address of the portal. Each app's own urls.py says which of its views answers."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from portal.app_page import app_emails
from portal.help import views
from portal.home import home

urlpatterns = [
    path("", home, name="home"),
    path("apps/<slug:app_key>/configuration/emails/<slug:stage_key>/", app_emails, name="app-emails"),
    path("", include("accounts.urls")),
    path("", include("organization.urls")),
    path("", include("testlists.urls")),
    path("", include("emailconfig.urls")),
    path("", include("outbox.urls")),
    path("", include("delivery.urls")),
    path("", include("analytics.urls")),
    path("", include("emaillog.urls")),
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),  # one way in
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),  # one page, with its audit entry
    path("admin/", admin.site.urls),
    path("help/", views.page, name="help"),
    path("help/search/", views.search_pages, name="help-search"),
    path("help/images/<str:name>", views.picture, name="help-picture"),
    path("help/<path:name>/", views.page, name="help"),
]
