from django.contrib.auth.views import LogoutView
from django.urls import path

from accounts.invitations.views import invitation, member_link, new_member
from accounts.passwords.reset_views import password_reset, password_reset_link
from accounts.passwords.views import ChangePassword
from accounts.profile.views import profile
from accounts.sign_in.views import SignIn

urlpatterns = [
    path("accounts/login/", SignIn.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/password/", ChangePassword.as_view(), name="password_change"),
    path("accounts/profile/", profile, name="profile"),
    path("accounts/invitation/<str:token>/", invitation, name="invitation"),
    path("accounts/password-reset/", password_reset, name="password-reset"),
    path("accounts/password-reset/<str:token>/", password_reset_link, name="password-reset-link"),
    path("management/govern/members/new/", new_member, name="member-new"),
    path("management/govern/members/<int:member_id>/link/", member_link, name="member-link"),
]
