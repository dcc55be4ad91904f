from django.urls import path

from emailconfig import kept_header_views, views
from emailconfig.doctor import views as doctor_views
from emailconfig.recipient_policy import views as policy_views

_STAGE = "management/configure/emails/<slug:stage>/"

urlpatterns = [
    path("management/configure/emails/", views.choose, name="email-configurations"),
    path(_STAGE, views.view, name="email-configuration"),
    path(f"{_STAGE}edit/", views.edit, name="email-configuration-edit"),
    path(f"{_STAGE}delete/", views.delete, name="email-configuration-delete"),
    path(f"{_STAGE}kept-headers/", kept_header_views.kept_headers, name="kept-headers"),
    path(f"{_STAGE}kept-headers/<int:kept>/remove/", kept_header_views.kept_header_remove, name="kept-header-remove"),
    path(f"{_STAGE}recipients/", policy_views.show, name="recipient-policy"),
    path(f"{_STAGE}recipients/change/", policy_views.change, name="recipient-policy-change"),
    path(f"{_STAGE}recipients/allow/", policy_views.allow, name="recipient-policy-allow"),
    path(f"{_STAGE}recipients/allow-me/", policy_views.allow_me, name="recipient-policy-allow-me"),
    path(f"{_STAGE}recipients/<int:entry>/disallow/", policy_views.disallow, name="recipient-policy-disallow"),
    path(f"{_STAGE}test/", doctor_views.start, name="connection-test-start"),
    path(f"{_STAGE}test/<int:test>/", doctor_views.show, name="connection-test"),
]
