from django.urls import path

from emailconfig import views

urlpatterns = [
    path("management/configure/emails/", views.choose, name="email-configurations"),
    path("management/configure/emails/<slug:stage>/", views.view, name="email-configuration"),
    path("management/configure/emails/<slug:stage>/edit/", views.edit, name="email-configuration-edit"),
]
