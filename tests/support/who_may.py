"""Every URL of the portal, with who may open it and who may post to it. docs/reference/permissions.md says the same in words.

A member who isn't named gets a 403. A visitor who isn't signed in, or a member who may not open Django admin, is asked to
sign in. If nobody is named, the method isn't allowed.
"""

from __future__ import annotations

from typing import NamedTuple

ANONYMOUS = "anonymous"  # nobody is signed in
DEACTIVATED = "deactivated"  # with a session from before
NO_ROLE = "no role"
VIEWER = "viewer"  # of the logs, over all apps and stages
DEVELOPER = "developer"  # of the app crm
STAFF_NO_ROLE = "staff"  # may open Django admin, has no role
QA_STAFF = "staff of QA"  # manages email configurations and the organization, but in the stage QA alone
PEOPLE_MANAGER = "people manager"  # manages members and roles, and holds nothing else; may not open Django admin
ADMINISTRATOR = "administrator"
SUPERUSER = "superuser"

PEOPLE = (ANONYMOUS, DEACTIVATED, NO_ROLE, VIEWER, DEVELOPER, STAFF_NO_ROLE, QA_STAFF, PEOPLE_MANAGER, ADMINISTRATOR, SUPERUSER)

People = frozenset[str]

NOBODY: People = frozenset()
EVERYBODY = frozenset(PEOPLE)
MEMBERS = EVERYBODY - {ANONYMOUS, DEACTIVATED}
STAFF = frozenset({STAFF_NO_ROLE, QA_STAFF, ADMINISTRATOR, SUPERUSER})

PLATFORM = frozenset({ADMINISTRATOR, SUPERUSER})  # hold every permission everywhere
MEMBER_MANAGERS = PLATFORM | {PEOPLE_MANAGER}  # View and Manage members, Manage roles
APP_EDITORS = PLATFORM | {DEVELOPER}  # Change apps, over crm
LIST_EDITORS = PLATFORM | {DEVELOPER, QA_STAFF}  # Edit asset configurations, or Manage Email Configurations
CONFIGURATORS = PLATFORM | {QA_STAFF}  # Manage Email Configurations
LOG_READERS = PLATFORM | {DEVELOPER, VIEWER}  # Access asset logs
CONTENT_READERS = PLATFORM | {DEVELOPER}  # … and Access user information
RESENDERS = PLATFORM | {DEVELOPER}  # Retry and resend


class Row(NamedTuple):
    """Who gets an answer to GET, to POST and to DELETE."""

    get: People
    post: People = NOBODY
    delete: People = NOBODY


_CREDENTIALS = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/credentials/"
_EMAILS = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/"
_STAGES = "management/configure/stages/"
_SETTINGS = "management/configure/emails/<slug:stage_key>/"
_MEMBER = "management/govern/members/<int:member_id>/"  # of one who holds nothing
_ROLES = "management/govern/roles/"
_FACTORS = "accounts/second-factor/"
_LOG = "monitor/email-log/<slug:stage_key>/"
_ALL_EMAILS = "monitor/emails/"
_INBOX = "monitor/inbox/<slug:app_key>/<slug:stage_key>/"
_MESSAGE = f"{_LOG}<int:message_id>/"

PAGES: dict[str, Row] = {
    "": Row(MEMBERS),
    "accounts/login/": Row(EVERYBODY, EVERYBODY),
    "accounts/logout/": Row(NOBODY, MEMBERS),
    "accounts/password/": Row(MEMBERS, MEMBERS),
    "accounts/profile/": Row(MEMBERS, MEMBERS),
    "accounts/invitation/<str:token>/": Row(EVERYBODY, EVERYBODY),  # those who have the link
    "accounts/password-reset/": Row(EVERYBODY, EVERYBODY),
    "accounts/password-reset/<str:token>/": Row(EVERYBODY, EVERYBODY),  # likewise
    "accounts/login/second-factor/": Row(EVERYBODY, EVERYBODY),  # leads who has not begun to sign in to the sign-in page
    _FACTORS: Row(MEMBERS),
    f"{_FACTORS}confirm/": Row(MEMBERS, MEMBERS),
    f"{_FACTORS}authenticator-app/": Row(MEMBERS, MEMBERS),
    f"{_FACTORS}authenticator-app/remove/": Row(MEMBERS, MEMBERS),
    f"{_FACTORS}passkeys/add/": Row(MEMBERS, MEMBERS),
    f"{_FACTORS}passkeys/<int:passkey_id>/remove/": Row(MEMBERS, MEMBERS),
    f"{_FACTORS}recovery-codes/": Row(MEMBERS, MEMBERS),
    "accounts/sessions/": Row(MEMBERS),
    "accounts/sessions/end/": Row(NOBODY, MEMBERS),
    "accounts/sessions/<int:session_id>/end/": Row(NOBODY, MEMBERS),
    "accounts/single-sign-on/": Row(EVERYBODY),
    "accounts/single-sign-on/callback/": Row(EVERYBODY),
    "accounts/single-sign-on/link/": Row(EVERYBODY, EVERYBODY),
    "help/": Row(MEMBERS),
    "help/<path:name>/": Row(MEMBERS),
    "help/images/<str:name>": Row(MEMBERS),
    "help/search/": Row(MEMBERS),
    # Apps
    "apps/": Row(MEMBERS),
    "apps/new/": Row(PLATFORM, PLATFORM),
    "apps/<slug:app_key>/": Row(MEMBERS),
    "apps/<slug:app_key>/edit/": Row(APP_EDITORS, APP_EDITORS),
    _EMAILS: Row(MEMBERS),
    f"{_EMAILS}edit/": Row(LIST_EDITORS, LIST_EDITORS),
    f"{_EMAILS}edit/members/": Row(LIST_EDITORS),
    f"{_EMAILS}preview/": Row(NOBODY, LIST_EDITORS),
    f"{_EMAILS}route/": Row(MEMBERS),
    f"{_EMAILS}held/": Row(LIST_EDITORS, LIST_EDITORS),
    f"{_EMAILS}held/discard/": Row(LIST_EDITORS, LIST_EDITORS),
    f"{_EMAILS}pause/": Row(LIST_EDITORS, LIST_EDITORS),
    f"{_EMAILS}pause/end/": Row(NOBODY, LIST_EDITORS),
    _CREDENTIALS: Row(NOBODY, LIST_EDITORS),
    f"{_CREDENTIALS}<int:credential_id>/edit/": Row(LIST_EDITORS, LIST_EDITORS),
    f"{_CREDENTIALS}<int:credential_id>/revoke/": Row(LIST_EDITORS, LIST_EDITORS),
    # Management
    "management/configure/emails/": Row(MEMBERS),
    _SETTINGS: Row(MEMBERS),
    f"{_SETTINGS}edit/": Row(CONFIGURATORS, CONFIGURATORS),
    f"{_SETTINGS}delete/": Row(CONFIGURATORS, CONFIGURATORS),
    f"{_SETTINGS}kept-headers/": Row(MEMBERS, CONFIGURATORS),
    f"{_SETTINGS}recipients/": Row(MEMBERS),
    f"{_SETTINGS}recipients/effect/": Row(LOG_READERS),
    f"{_SETTINGS}recipients/change/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}recipients/allow/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}recipients/allow-me/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}recipients/<int:entry>/disallow/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}kept-headers/<int:kept_id>/remove/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}test/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}test/<int:test_id>/": Row(CONFIGURATORS),
    f"{_SETTINGS}resume/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}held/": Row(CONFIGURATORS, CONFIGURATORS),
    f"{_SETTINGS}held/discard/": Row(CONFIGURATORS, CONFIGURATORS),
    f"{_SETTINGS}pause/": Row(CONFIGURATORS, CONFIGURATORS),
    f"{_SETTINGS}pause/end/": Row(NOBODY, CONFIGURATORS),
    f"{_SETTINGS}test-mail/": Row(CONFIGURATORS, CONFIGURATORS),
    _STAGES: Row(PLATFORM),
    f"{_STAGES}new/": Row(PLATFORM, PLATFORM),
    f"{_STAGES}<slug:stage_key>/edit/": Row(PLATFORM, PLATFORM),
    f"{_STAGES}<slug:stage_key>/archive/": Row(PLATFORM, PLATFORM),
    f"{_STAGES}<slug:stage_key>/restore/": Row(NOBODY, PLATFORM),
    f"{_STAGES}<slug:stage_key>/up/": Row(NOBODY, PLATFORM),
    f"{_STAGES}<slug:stage_key>/down/": Row(NOBODY, PLATFORM),
    "management/installation/": Row(PLATFORM),
    "management/installation/replaces-original/": Row(NOBODY, PLATFORM),
    "management/installation/test-copy/": Row(PLATFORM, PLATFORM),
    "management/installation/emails/<slug:stage_key>/": Row(PLATFORM, PLATFORM),
    "management/installation/emails/<slug:stage_key>/discard/": Row(PLATFORM, PLATFORM),
    "management/installation/emails/<slug:stage_key>/<int:message_id>/": Row(NOBODY, PLATFORM),
    "management/view/audit-trail/": Row(PLATFORM),
    "management/view/audit-trail/apps/": Row(PLATFORM),
    "management/view/audit-trail/export/": Row(PLATFORM),
    "management/govern/members/": Row(MEMBER_MANAGERS),
    "management/govern/members/new/": Row(MEMBER_MANAGERS, MEMBER_MANAGERS),
    _MEMBER: Row(MEMBER_MANAGERS),
    f"{_MEMBER}edit/": Row(MEMBER_MANAGERS, MEMBER_MANAGERS),
    f"{_MEMBER}link/": Row(MEMBER_MANAGERS, MEMBER_MANAGERS),
    f"{_MEMBER}deactivate/": Row(MEMBER_MANAGERS, MEMBER_MANAGERS),
    f"{_MEMBER}activate/": Row(NOBODY, MEMBER_MANAGERS),
    f"{_MEMBER}roles/give/": Row(NOBODY, MEMBER_MANAGERS),
    f"{_MEMBER}roles/preview/": Row(MEMBER_MANAGERS),
    f"{_MEMBER}roles/<int:grant_id>/revoke/": Row(MEMBER_MANAGERS, PLATFORM),  # of Devon, who holds what Pia doesn't
    f"{_MEMBER}sessions/": Row(MEMBER_MANAGERS),
    f"{_MEMBER}sessions/end/": Row(NOBODY, MEMBER_MANAGERS),
    f"{_MEMBER}sessions/<int:session_id>/end/": Row(NOBODY, MEMBER_MANAGERS),
    f"{_MEMBER}view-as/": Row(NOBODY, MEMBER_MANAGERS),
    f"{_MEMBER}second-factor/remove/": Row(PLATFORM, PLATFORM),
    "management/govern/members/view-as/end/": Row(NOBODY, MEMBERS),
    _ROLES: Row(MEMBER_MANAGERS),
    f"{_ROLES}new/": Row(MEMBER_MANAGERS, MEMBER_MANAGERS),
    f"{_ROLES}<int:role_id>/": Row(MEMBER_MANAGERS),
    f"{_ROLES}<int:role_id>/edit/": Row(PLATFORM, PLATFORM),  # the role Viewer, which holds what Pia doesn't
    f"{_ROLES}<int:role_id>/delete/": Row(MEMBER_MANAGERS, PLATFORM),
    f"{_ROLES}<int:role_id>/second-factor/": Row(NOBODY, PLATFORM),
    # Monitor
    "monitor/analytics/": Row(LOG_READERS),
    "monitor/analytics/<slug:stage_key>/": Row(LOG_READERS),
    "monitor/guarantee/": Row(MEMBERS),  # leads to the guarantee of a stage
    "monitor/guarantee/<slug:stage_key>/": Row(LOG_READERS),
    "monitor/guarantee/<slug:stage_key>/json/": Row(LOG_READERS),
    "monitor/guarantee/<slug:stage_key>/prove/": Row(NOBODY, PLATFORM),  # Access asset logs, and Manage Email Configurations
    "monitor/email-log/": Row(LOG_READERS),
    f"{_ALL_EMAILS}new/": Row(LOG_READERS),
    f"{_ALL_EMAILS}export/": Row(LOG_READERS),
    f"{_ALL_EMAILS}apps/": Row(LOG_READERS),
    f"{_ALL_EMAILS}count/": Row(LOG_READERS),
    f"{_ALL_EMAILS}<int:message_id>/": Row(LOG_READERS),
    f"{_ALL_EMAILS}actions/": Row(RESENDERS),
    f"{_ALL_EMAILS}actions/new/": Row(RESENDERS, RESENDERS),
    f"{_ALL_EMAILS}actions/<int:action_id>/": Row(RESENDERS),
    f"{_ALL_EMAILS}actions/<int:action_id>/stop/": Row(NOBODY, RESENDERS),
    _LOG: Row(LOG_READERS),
    f"{_LOG}new/": Row(LOG_READERS),
    f"{_LOG}export/": Row(LOG_READERS),
    _MESSAGE: Row(LOG_READERS),
    f"{_MESSAGE}html/": Row(CONTENT_READERS),
    f"{_MESSAGE}source/": Row(CONTENT_READERS),
    f"{_MESSAGE}attachments/<int:number>/": Row(CONTENT_READERS),
    f"{_MESSAGE}retry/": Row(NOBODY, RESENDERS),
    f"{_MESSAGE}cancel/": Row(RESENDERS, RESENDERS),
    f"{_MESSAGE}send-to-test-list/": Row(NOBODY, RESENDERS),
    f"{_MESSAGE}send-to-me/": Row(NOBODY, RESENDERS),  # who hold Access user information too
    f"{_MESSAGE}resend/": Row(RESENDERS, RESENDERS),
    f"{_MESSAGE}release/": Row(PLATFORM, PLATFORM),
    f"{_MESSAGE}resend/real-recipients/": Row(PLATFORM, PLATFORM),
    _INBOX: Row(LOG_READERS),
    f"{_INBOX}new/": Row(LOG_READERS),
    f"{_INBOX}empty/": Row(RESENDERS, RESENDERS),
    f"{_INBOX}<int:message_id>/": Row(LOG_READERS),
    f"{_INBOX}<int:message_id>/send-to-me/": Row(NOBODY, RESENDERS),
    f"{_INBOX}<int:message_id>/send-to-test-list/": Row(NOBODY, RESENDERS),
    # Django admin around its models
    "admin/": Row(STAFF, STAFF, STAFF),
    "admin/login/": Row(MEMBERS, MEMBERS, MEMBERS),  # leads to the one page for signing in
    "admin/logout/": Row(MEMBERS - STAFF, MEMBERS, MEMBERS - STAFF),  # leads who isn't let in to its start
    "admin/password_change/": Row(MEMBERS, MEMBERS, MEMBERS),  # leads to the portal's own
    "admin/password_change/done/": Row(STAFF),
    "admin/autocomplete/": Row(PLATFORM),  # of a role grant's members
    "admin/jsi18n/": Row(STAFF),
    "admin/r/<path:content_type_id>/<path:object_id>/": Row(STAFF, STAFF, STAFF),
    "admin/^(?P<app_label>organization|accounts|gateway|emaillog|delivery|analytics|outbox|emailconfig|testlists)/$": Row(
        STAFF, STAFF, STAFF
    ),
    "admin/(?P<url>.*)$": Row(STAFF, STAFF, STAFF),
}


# Django leads some on by who they are, whatever the method; to the others the method isn't allowed.
SIGN_OUT = "admin/logout/"


class Model(NamedTuple):
    """Who sees a model's rows in Django admin, adds, changes and deletes them.

    `open`: who opens one of them, where that isn't who sees the list of them.
    """

    see: People
    add: People = NOBODY
    change: People = NOBODY
    delete: People = NOBODY
    open: People | None = None


ADMIN: dict[str, Model] = {
    "organization/member": Model(PLATFORM, PLATFORM, PLATFORM),
    "organization/role": Model(PLATFORM, PLATFORM, PLATFORM, PLATFORM),
    "organization/rolegrant": Model(PLATFORM, PLATFORM, PLATFORM, PLATFORM),
    "organization/stage": Model(PLATFORM, PLATFORM, PLATFORM),
    "organization/app": Model(STAFF, PLATFORM, PLATFORM),
    "organization/credential": Model(STAFF),
    "organization/allowedaddress": Model(PLATFORM, PLATFORM, NOBODY, PLATFORM),
    "organization/keptheader": Model(STAFF, CONFIGURATORS, NOBODY, CONFIGURATORS),
    "organization/failurecount": Model(PLATFORM),
    "organization/installation": Model(PLATFORM),
    "organization/auditevent": Model(PLATFORM),
    "accounts/membersession": Model(PLATFORM, delete=PLATFORM),
    "accounts/identity": Model(PLATFORM, delete=PLATFORM),
    "emailconfig/smtpsettings": Model(STAFF, CONFIGURATORS, CONFIGURATORS),
    "emailconfig/deletedsettings": Model(PLATFORM),
    "emailconfig/oauthtoken": Model(PLATFORM),
    "emailconfig/connectiontest": Model(PLATFORM),
    "emailconfig/lasttest": Model(PLATFORM),
    "testlists/testlist": Model(STAFF, NOBODY, PLATFORM, open=PLATFORM),  # where nobody on it is masked
    **dict.fromkeys(
        [
            *("outbox/message", "outbox/recipient", "outbox/content", "outbox/attempt", "outbox/refusal"),
            *("accounts/authenticatorapp", "accounts/passkey", "accounts/recoverycode"),
            *("outbox/pause", "outbox/heldanswer", "outbox/handovercapture"),
            *("accounts/accountlink", "accounts/ownmessage", "accounts/resetrequest", "accounts/reminder"),
            *("emaillog/emptiedinbox", "emaillog/reademails", "emaillog/bulkaction"),
            *("delivery/stagebackoff", "delivery/worker", "delivery/connectionslot", "gateway/gateway"),
            *("analytics/hourlycount", "analytics/hourlylatency", "analytics/hourlycause", "analytics/rollupposition"),
            *("analytics/dailycount", "analytics/dailylatency", "analytics/stagecount", "analytics/stagelatency"),
            *("analytics/hourlyrulecount", "analytics/dailyrulecount", "analytics/stagerulecount"),
        ],
        Model(PLATFORM),
    ),
}


def _pages_of(path: str, model: Model) -> dict[str, Row]:
    """Django admin answers other methods than POST as it answers GET."""
    row = f"admin/{path}/<path:object_id>/"
    readers = model.see if model.open is None else model.open
    return {
        f"admin/{path}/": Row(model.see, model.see, model.see),
        f"admin/{path}/add/": Row(model.add, model.add, model.add),
        row: Row(STAFF, STAFF, STAFF),  # leads to its change page
        f"{row}change/": Row(readers, model.change, readers),
        f"{row}history/": Row(readers, readers, readers),
        f"{row}delete/": Row(model.delete, model.delete, model.delete),
    }


TABLE: dict[str, Row] = PAGES | {url: row for path, model in ADMIN.items() for url, row in _pages_of(path, model).items()}
