from django.urls import path

from analytics import views

urlpatterns = [
    path("monitor/analytics/", views.all_stages, name="analytics"),
    path("monitor/analytics/<slug:stage_key>/", views.one_stage, name="analytics"),
]
