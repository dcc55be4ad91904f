from django.apps import AppConfig


class EmailConfigConfig(AppConfig):
    name = "emailconfig"
    verbose_name = "Email configurations"
