from django.contrib.auth.views import LogoutView
from django.urls import include, path

from accounts.invitations.views import invitation, member_link, new_member
from accounts.passwords.reset_views import password_reset, password_reset_link
from accounts.passwords.views import ChangePassword
from accounts.profile.views import profile
from accounts.sessions import views as sessions
from accounts.sign_in.views import SignIn
from accounts.single_sign_on import views as single_sign_on

_MEMBER = "management/govern/members/<int:member_id>/"

urlpatterns = [
    path("accounts/login/", SignIn.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/password/", ChangePassword.as_view(), name="password_change"),
    path("accounts/profile/", profile, name="profile"),
    path("accounts/invitation/<str:token>/", invitation, name="invitation"),
    path("accounts/password-reset/", password_reset, name="password-reset"),
    path("accounts/password-reset/<str:token>/", password_reset_link, name="password-reset-link"),
    path("management/govern/members/new/", new_member, name="member-new"),
    path(f"{_MEMBER}link/", member_link, name="member-link"),
    path("accounts/sessions/", sessions.sessions, name="sessions"),
    path("accounts/sessions/end/", sessions.end_all, name="sessions-end-all"),
    path("accounts/sessions/<int:session_id>/end/", sessions.end, name="sessions-end"),
    path(f"{_MEMBER}sessions/", sessions.sessions, name="member-sessions"),
    path(f"{_MEMBER}sessions/end/", sessions.end_all, name="member-sessions-end-all"),
    path(f"{_MEMBER}sessions/<int:session_id>/end/", sessions.end, name="member-sessions-end"),
    path("accounts/single-sign-on/", single_sign_on.start, name="single-sign-on"),
    path("accounts/single-sign-on/callback/", single_sign_on.callback, name="single-sign-on-callback"),
    path("accounts/single-sign-on/link/", single_sign_on.link_with_password, name="single-sign-on-link"),
    path("", include("accounts.second_factor.urls")),
]
