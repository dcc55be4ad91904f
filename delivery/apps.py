from django.apps import AppConfig


class DeliveryAppConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from delivery import receivers

        receivers.connect()
