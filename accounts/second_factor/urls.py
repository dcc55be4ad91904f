from django.urls import path

from accounts.second_factor import challenge_views, removal_views, views

_OWN = "accounts/second-factor/"

urlpatterns = [
    path("accounts/login/second-factor/", challenge_views.challenge, name="second-factor-challenge"),
    path(_OWN, views.second_factor, name="second-factor"),
    path(f"{_OWN}confirm/", challenge_views.confirm, name="second-factor-confirm"),
    path(f"{_OWN}authenticator-app/", views.authenticator_app, name="authenticator-app"),
    path(f"{_OWN}authenticator-app/remove/", views.authenticator_app_remove, name="authenticator-app-remove"),
    path(f"{_OWN}passkeys/add/", views.passkey_add, name="passkey-add"),
    path(f"{_OWN}passkeys/<int:passkey_id>/remove/", views.passkey_remove, name="passkey-remove"),
    path(f"{_OWN}recovery-codes/", views.recovery_codes, name="recovery-codes"),
    path(
        "management/govern/members/<int:member_id>/second-factor/remove/",
        removal_views.remove_of_member,
        name="member-second-factors-remove",
    ),
]
