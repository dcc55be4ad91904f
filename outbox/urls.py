from django.urls import path

from outbox.views import held_mail, installation, pauses, policy_effect, simulator, test_message

_CONFIGURATION = "management/configure/emails/<slug:stage_key>/"
_APP_CONFIGURATION = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/"

_INSTALLATION = "management/installation/"

urlpatterns = [
    path(_INSTALLATION, installation.installation, name="installation"),
    path(f"{_INSTALLATION}replaces-original/", installation.replaces_original, name="replaces-original"),
    path(f"{_INSTALLATION}test-copy/", installation.test_copy, name="test-copy"),
    path(f"{_INSTALLATION}emails/<slug:stage_key>/", installation.copied_mail, name="copied-mail"),
    path(f"{_INSTALLATION}emails/<slug:stage_key>/discard/", installation.discard_copied, name="copied-mail-discard"),
    path(f"{_INSTALLATION}emails/<slug:stage_key>/<int:message_id>/", installation.answer_copied, name="copied-mail-answer"),
    path(f"{_CONFIGURATION}recipients/effect/", policy_effect.policy_effect, name="policy-effect"),
    path(f"{_CONFIGURATION}test-mail/", test_message.send_test_mail, name="send-test-mail"),
    path(f"{_APP_CONFIGURATION}route/", simulator.simulate, name="route-simulator"),
    path(f"{_CONFIGURATION}held/", held_mail.answer_held, name="held-mail"),
    path(f"{_APP_CONFIGURATION}held/", held_mail.answer_held, name="app-held-mail"),
    path(f"{_CONFIGURATION}held/discard/", held_mail.discard_held, name="held-mail-discard"),
    path(f"{_APP_CONFIGURATION}held/discard/", held_mail.discard_held, name="app-held-mail-discard"),
    path(f"{_CONFIGURATION}pause/", pauses.pause_emails, name="pause"),
    path(f"{_APP_CONFIGURATION}pause/", pauses.pause_emails, name="app-pause"),
    path(f"{_CONFIGURATION}pause/end/", pauses.resume_emails, name="resume"),
    path(f"{_APP_CONFIGURATION}pause/end/", pauses.resume_emails, name="app-resume"),
]
