from django.urls import path

from emaillog.views import actions, bulk, export, inbox, log, message

_MESSAGE = "monitor/email-log/<slug:stage_key>/<int:message_id>/"
_EMAILS = "monitor/emails/"
_INBOX = "monitor/inbox/<slug:app_key>/<slug:stage_key>/"

urlpatterns = [
    path(_INBOX, inbox.inbox, name="inbox"),
    path(f"{_INBOX}new/", inbox.new_emails, name="inbox-new"),
    path(f"{_INBOX}empty/", inbox.empty, name="inbox-empty"),
    path(f"{_INBOX}<int:message_id>/", inbox.message, name="inbox-message"),
    path(f"{_INBOX}<int:message_id>/send-to-me/", inbox.send_to_me, name="inbox-send-to-me"),
    path(f"{_INBOX}<int:message_id>/send-to-test-list/", inbox.send_to_test_list, name="inbox-send-to-test-list"),
    path("monitor/email-log/", log.log, name="email-log"),
    # Beside the log: below it they would be keys of stages.
    path(f"{_EMAILS}new/", log.new_mail, name="email-log-new"),
    path(f"{_EMAILS}export/", export.export, name="email-log-export"),
    path(f"{_EMAILS}apps/", log.app_names, name="email-log-apps"),
    path(f"{_EMAILS}actions/", bulk.actions, name="bulk-actions"),
    path(f"{_EMAILS}actions/new/", bulk.new, name="bulk-action-new"),
    path(f"{_EMAILS}actions/<int:action_id>/", bulk.progress, name="bulk-action"),
    path(f"{_EMAILS}actions/<int:action_id>/stop/", bulk.stop_action, name="bulk-action-stop"),
    path(f"{_EMAILS}count/", log.count, name="email-log-count"),
    path(f"{_EMAILS}<int:message_id>/", log.by_number, name="email-by-number"),
    path("monitor/email-log/<slug:stage_key>/", log.log, name="email-log"),
    path("monitor/email-log/<slug:stage_key>/new/", log.new_mail, name="email-log-new"),
    path("monitor/email-log/<slug:stage_key>/export/", export.export, name="email-log-export"),
    path(_MESSAGE, message.message, name="email-log-message"),
    path(f"{_MESSAGE}html/", message.html, name="email-log-html"),
    path(f"{_MESSAGE}source/", message.source, name="email-log-source"),
    path(f"{_MESSAGE}attachments/<int:number>/", message.attachment, name="email-log-attachment"),
    path(f"{_MESSAGE}retry/", actions.retry, name="email-log-retry"),
    path(f"{_MESSAGE}cancel/", actions.cancel, name="email-log-cancel"),
    path(f"{_MESSAGE}release/", actions.release_held, name="email-log-release-held"),
    path(f"{_MESSAGE}resend/", actions.resend, name="email-log-resend"),
    path(f"{_MESSAGE}send-to-test-list/", actions.send_to_test_list, name="email-log-send-to-test-list"),
    path(f"{_MESSAGE}send-to-me/", actions.send_to_me, name="email-log-send-to-me"),
    path(f"{_MESSAGE}resend/real-recipients/", actions.resend_to_real_recipients, name="email-log-release"),
]
