from django.urls import path

from testlists import views

_SECTION = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/"

urlpatterns = [
    path(f"{_SECTION}edit/", views.edit, name="app-emails-edit"),
    path(f"{_SECTION}preview/", views.preview, name="app-emails-preview"),
    path(f"{_SECTION}edit/members/", views.members, name="app-emails-members"),
]
