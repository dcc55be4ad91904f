from django.urls import path

from outbox import intervention_views, views

_MAIL = "monitor/email-log/<slug:stage>/<int:message>/"

urlpatterns = [
    path("monitor/email-log/", views.choose, name="email-log"),
    path("monitor/email-log/<slug:stage>/", views.log, name="email-log"),
    path(_MAIL, views.message, name="email-log-message"),
    path(f"{_MAIL}html/", views.html, name="email-log-html"),
    path(f"{_MAIL}source/", views.source, name="email-log-source"),
    path(f"{_MAIL}retry/", intervention_views.retry, name="email-log-retry"),
    path(f"{_MAIL}cancel/", intervention_views.cancel, name="email-log-cancel"),
    path(f"{_MAIL}resend/", intervention_views.resend, name="email-log-resend"),
    path(f"{_MAIL}resend/real-recipients/", intervention_views.resend_to_real_recipients, name="email-log-release"),
]
