"""Every address of the portal. Each app's own urls.py says which of its views answers."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.generic import RedirectView

from portal.accounts import ChangePassword
from portal.app_page import app_emails
from portal.help import views
from portal.home import home

urlpatterns = [
    path("", home, name="home"),
    path("accounts/login/", auth.LoginView.as_view(), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("accounts/password/", ChangePassword.as_view(), name="password_change"),
    path("apps/<slug:app_key>/configuration/emails/<slug:stage_key>/", app_emails, name="app-emails"),
    path("", include("organization.urls")),
    path("", include("testlists.urls")),
    path("", include("emailconfig.urls")),
    path("", include("outbox.urls")),
    path("", include("delivery.urls")),
    path("", include("analytics.urls")),
    path("", include("emaillog.urls")),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),  # one page, with its audit entry
    path("admin/", admin.site.urls),
    path("help/", views.page, name="help"),
    path("help/search/", views.search_pages, name="help-search"),
    path("help/images/<str:name>", views.picture, name="help-picture"),
    path("help/<path:name>/", views.page, name="help"),
]
