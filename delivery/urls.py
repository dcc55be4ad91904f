from django.urls import path

from delivery import views

_CONFIGURATION = "management/configure/emails/<slug:stage_key>/"

urlpatterns = [
    path(f"{_CONFIGURATION}resume/", views.resume, name="resume-deliveries"),
]
