from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.profile.forms import ProfileForm
from organization.forms import add_refusal
from organization.members import save_profile
from organization.models import Member
from organization.web.http import MemberRequest


@require_http_methods(["GET", "POST"])
def profile(request: MemberRequest) -> HttpResponse:
    # A form changes its instance before it is valid, so it must not be the request's.
    member = Member.objects.get(pk=request.user.pk)
    form = ProfileForm(request.POST or None, instance=member)
    if request.method == "POST" and form.is_valid():
        try:
            save_profile(form.instance)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, "Your profile was saved.")
            return redirect("profile")
    return render(request, "accounts/profile.html", {"form": form}, status=422 if form.errors else 200)
