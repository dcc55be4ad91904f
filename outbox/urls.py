from django.urls import path

from outbox.views import policy_effect, simulator, test_message

_CONFIGURATION = "management/configure/emails/<slug:stage_key>/"

urlpatterns = [
    path(f"{_CONFIGURATION}recipients/effect/", policy_effect.policy_effect, name="policy-effect"),
    path(f"{_CONFIGURATION}test-mail/", test_message.send_test_mail, name="send-test-mail"),
    path("apps/<slug:app_key>/configuration/emails/<slug:stage_key>/route/", simulator.simulate, name="route-simulator"),
]
