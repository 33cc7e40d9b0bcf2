from typing import Any

from django.core.management.base import BaseCommand

from sse.log import store
from sse.management.errors import told_by_the_command


class Command(BaseCommand):
    help = (
        "After an older database was restored: make every cursor given out so far foreign, so "
        "that clients which know of lost events read their state again. Running processes "
        "notice within seconds."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with told_by_the_command():
            renewed = store.renew_all()
        self.stdout.write(f"{renewed} targets have a new epoch.")
