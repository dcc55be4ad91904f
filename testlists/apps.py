from django.apps import AppConfig


class TestListsConfig(AppConfig):
    name = "testlists"
    verbose_name = "Test lists"

    def ready(self) -> None:
        from testlists import receivers

        receivers.connect()
