from django.urls import path

from outbox import views

urlpatterns = [
    path("monitor/email-log/", views.choose, name="email-log"),
    path("monitor/email-log/<slug:stage>/", views.log, name="email-log"),
    path("monitor/email-log/<slug:stage>/<int:message>/", views.message, name="email-log-message"),
    path("monitor/email-log/<slug:stage>/<int:message>/html/", views.html, name="email-log-html"),
    path("monitor/email-log/<slug:stage>/<int:message>/source/", views.source, name="email-log-source"),
]
