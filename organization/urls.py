from django.urls import path

from organization import views

_CREDENTIALS = "apps/<slug:app>/configuration/emails/<slug:stage>/credentials/"

urlpatterns = [
    path("apps/", views.apps, name="apps"),
    path("apps/new/", views.create_app, name="app-new"),
    path("apps/<slug:app>/", views.app, name="app"),
    path("apps/<slug:app>/edit/", views.edit_app, name="app-edit"),
    path(_CREDENTIALS, views.credential_create, name="credential-create"),
    path(f"{_CREDENTIALS}<int:credential>/revoke/", views.credential_revoke, name="credential-revoke"),
    path("accounts/profile/", views.profile, name="profile"),
]
