from django.apps import AppConfig


class TestListsConfig(AppConfig):
    name = "testlists"
    verbose_name = "Test lists"
