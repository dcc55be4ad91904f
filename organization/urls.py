from django.urls import path

from organization.audit import views as audit_views
from organization.govern import member_views, role_views
from organization.views import apps, credentials, stages

_CREDENTIALS = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/credentials/"
_STAGES = "management/configure/stages/"
_MEMBERS = "management/govern/members/"
_MEMBER = f"{_MEMBERS}<int:member_id>/"
_ROLES = "management/govern/roles/"

urlpatterns = [
    path("apps/", apps.apps, name="apps"),
    path("apps/new/", apps.create_app, name="app-new"),
    path("apps/<slug:app_key>/", apps.app, name="app"),
    path("apps/<slug:app_key>/edit/", apps.edit_app, name="app-edit"),
    path(_CREDENTIALS, credentials.credential_create, name="credential-create"),
    path(f"{_CREDENTIALS}<int:credential_id>/edit/", credentials.credential_edit, name="credential-edit"),
    path(f"{_CREDENTIALS}<int:credential_id>/revoke/", credentials.credential_revoke, name="credential-revoke"),
    path("management/view/audit-trail/", audit_views.audit_trail, name="audit-trail"),
    path("management/view/audit-trail/apps/", audit_views.app_names, name="audit-trail-apps"),
    path("management/view/audit-trail/export/", audit_views.export, name="audit-trail-export"),
    path(_STAGES, stages.stages, name="stages"),
    path(f"{_STAGES}new/", stages.create_stage, name="stage-new"),
    path(f"{_STAGES}<slug:stage_key>/edit/", stages.edit_stage, name="stage-edit"),
    path(f"{_STAGES}<slug:stage_key>/up/", stages.move, {"by": -1}, name="stage-up"),
    path(f"{_STAGES}<slug:stage_key>/down/", stages.move, {"by": 1}, name="stage-down"),
    path(f"{_STAGES}<slug:stage_key>/archive/", stages.archive, name="stage-archive"),
    path(f"{_STAGES}<slug:stage_key>/restore/", stages.restore, name="stage-restore"),
    path(_MEMBERS, member_views.members, name="members"),
    path(_MEMBER, member_views.member, name="member"),
    path(f"{_MEMBER}edit/", member_views.edit, name="member-edit"),
    path(f"{_MEMBER}deactivate/", member_views.deactivate, name="member-deactivate"),
    path(f"{_MEMBER}activate/", member_views.activate, name="member-activate"),
    path(f"{_MEMBER}roles/give/", member_views.give, name="member-give-role"),
    path(f"{_MEMBER}roles/preview/", member_views.preview, name="member-role-preview"),
    path(f"{_MEMBER}roles/<int:grant_id>/revoke/", member_views.revoke, name="member-revoke-role"),
    path(f"{_MEMBER}view-as/", member_views.view_as, name="view-as"),
    path(f"{_MEMBERS}view-as/end/", member_views.end_view_as, name="view-as-end"),
    path(_ROLES, role_views.roles, name="roles"),
    path(f"{_ROLES}new/", role_views.create, name="role-new"),
    path(f"{_ROLES}<int:role_id>/", role_views.role, name="role"),
    path(f"{_ROLES}<int:role_id>/edit/", role_views.edit, name="role-edit"),
    path(f"{_ROLES}<int:role_id>/second-factor/", role_views.second_factor, name="role-second-factor"),
    path(f"{_ROLES}<int:role_id>/delete/", role_views.delete, name="role-delete"),
]
