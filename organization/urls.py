from django.urls import path

from organization.audit import views as audit_views
from organization.views import apps, credentials, stages

_CREDENTIALS = "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/credentials/"
_STAGES = "management/configure/stages/"

urlpatterns = [
    path("apps/", apps.apps, name="apps"),
    path("apps/new/", apps.create_app, name="app-new"),
    path("apps/<slug:app_key>/", apps.app, name="app"),
    path("apps/<slug:app_key>/edit/", apps.edit_app, name="app-edit"),
    path(_CREDENTIALS, credentials.credential_create, name="credential-create"),
    path(f"{_CREDENTIALS}<int:credential_id>/edit/", credentials.credential_edit, name="credential-edit"),
    path(f"{_CREDENTIALS}<int:credential_id>/revoke/", credentials.credential_revoke, name="credential-revoke"),
    path("management/view/audit-trail/", audit_views.audit_trail, name="audit-trail"),
    path("management/view/audit-trail/export/", audit_views.export, name="audit-trail-export"),
    path(_STAGES, stages.stages, name="stages"),
    path(f"{_STAGES}new/", stages.create_stage, name="stage-new"),
    path(f"{_STAGES}<slug:stage_key>/edit/", stages.edit_stage, name="stage-edit"),
    path(f"{_STAGES}<slug:stage_key>/up/", stages.move, {"by": -1}, name="stage-up"),
    path(f"{_STAGES}<slug:stage_key>/down/", stages.move, {"by": 1}, name="stage-down"),
    path(f"{_STAGES}<slug:stage_key>/archive/", stages.archive, name="stage-archive"),
    path(f"{_STAGES}<slug:stage_key>/restore/", stages.restore, name="stage-restore"),
    path("accounts/profile/", apps.profile, name="profile"),
]
