from django.contrib.auth.views import LogoutView
from django.urls import include, path

from accounts.passwords.views import ChangePassword
from accounts.profile.views import profile
from accounts.sign_in.views import SignIn

urlpatterns = [
    path("accounts/login/", SignIn.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/password/", ChangePassword.as_view(), name="password_change"),
    path("accounts/profile/", profile, name="profile"),
    path("", include("accounts.second_factor.urls")),
]
