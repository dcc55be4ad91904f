from django.urls import path

from outbox import analytics_views, export_views, intervention_views, message_views, simulator_views, stage_views, views

_MAIL = "monitor/email-log/<slug:stage>/<int:message>/"

_CONFIGURATION = "management/configure/emails/<slug:stage>/"

urlpatterns = [
    path(f"{_CONFIGURATION}resume/", stage_views.resume, name="resume-deliveries"),
    path(f"{_CONFIGURATION}test-mail/", stage_views.send_test_mail, name="send-test-mail"),
    path("apps/<slug:app>/configuration/emails/<slug:stage>/route/", simulator_views.simulate, name="route-simulator"),
    path("monitor/analytics/", analytics_views.all_stages, name="analytics"),
    path("monitor/analytics/<slug:stage>/", analytics_views.one_stage, name="analytics"),
    path("monitor/email-log/", views.choose, name="email-log"),
    path("monitor/email-log/<slug:stage>/", views.log, name="email-log"),
    path("monitor/email-log/<slug:stage>/new/", views.new_mail, name="email-log-new"),
    path("monitor/email-log/<slug:stage>/export/", export_views.export, name="email-log-export"),
    path(_MAIL, message_views.message, name="email-log-message"),
    path(f"{_MAIL}html/", message_views.html, name="email-log-html"),
    path(f"{_MAIL}source/", message_views.source, name="email-log-source"),
    path(f"{_MAIL}attachments/<int:number>/", message_views.attachment, name="email-log-attachment"),
    path(f"{_MAIL}retry/", intervention_views.retry, name="email-log-retry"),
    path(f"{_MAIL}cancel/", intervention_views.cancel, name="email-log-cancel"),
    path(f"{_MAIL}release/", intervention_views.release_held, name="email-log-release-held"),
    path(f"{_MAIL}resend/", intervention_views.resend, name="email-log-resend"),
    path(f"{_MAIL}resend/real-recipients/", intervention_views.resend_to_real_recipients, name="email-log-release"),
]
