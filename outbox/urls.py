from django.urls import path

from outbox.views import simulator, test_message

_CONFIGURATION = "management/configure/emails/<slug:stage_key>/"

urlpatterns = [
    path(f"{_CONFIGURATION}test-mail/", test_message.send_test_mail, name="send-test-mail"),
    path("apps/<slug:app_key>/configuration/emails/<slug:stage_key>/route/", simulator.simulate, name="route-simulator"),
]
