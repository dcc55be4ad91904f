from django.urls import path

from analytics import views
from analytics.guarantee import views as guarantee

urlpatterns = [
    path("monitor/analytics/", views.all_stages, name="analytics"),
    path("monitor/analytics/<slug:stage_key>/", views.one_stage, name="analytics"),
    path("monitor/guarantee/", guarantee.choose, name="guarantee"),
    path("monitor/guarantee/<slug:stage_key>/", guarantee.show, name="guarantee"),
    path("monitor/guarantee/<slug:stage_key>/json/", guarantee.download, name="guarantee-json"),
    path("monitor/guarantee/<slug:stage_key>/prove/", guarantee.prove_it, name="guarantee-prove"),
]
