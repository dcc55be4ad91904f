from django.urls import path

from organization import audit_views, stage_views, views

_CREDENTIALS = "apps/<slug:app>/configuration/emails/<slug:stage>/credentials/"
_STAGES = "management/configure/stages/"

urlpatterns = [
    path("apps/", views.apps, name="apps"),
    path("apps/new/", views.create_app, name="app-new"),
    path("apps/<slug:app>/", views.app, name="app"),
    path("apps/<slug:app>/edit/", views.edit_app, name="app-edit"),
    path(_CREDENTIALS, views.credential_create, name="credential-create"),
    path(f"{_CREDENTIALS}<int:credential>/revoke/", views.credential_revoke, name="credential-revoke"),
    path("management/view/audit-trail/", audit_views.audit_trail, name="audit-trail"),
    path("management/view/audit-trail/export/", audit_views.export, name="audit-trail-export"),
    path(_STAGES, stage_views.stages, name="stages"),
    path(f"{_STAGES}new/", stage_views.create_stage, name="stage-new"),
    path(f"{_STAGES}<slug:stage>/edit/", stage_views.edit_stage, name="stage-edit"),
    path(f"{_STAGES}<slug:stage>/up/", stage_views.move, {"by": -1}, name="stage-up"),
    path(f"{_STAGES}<slug:stage>/down/", stage_views.move, {"by": 1}, name="stage-down"),
    path(f"{_STAGES}<slug:stage>/archive/", stage_views.archive, name="stage-archive"),
    path(f"{_STAGES}<slug:stage>/restore/", stage_views.restore, name="stage-restore"),
    path("accounts/profile/", views.profile, name="profile"),
]
