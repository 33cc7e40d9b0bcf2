from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from sse.log.targets import readable
from sse.models import Event, Lease, OpenStream, Process, Target
from sse.process import registry
from sse.revocation import close_streams
from sse.streams.stream import stream_subject


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Written by the system alone."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Target)
class TargetAdmin(ReadOnlyAdmin):
    list_display = ["name", "epoch", "last_seq"]
    search_fields = ["name"]
    ordering = ["-pk"]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["target", "seq", "type", "barrier", "created_at"]
    list_select_related = ["target"]
    list_filter = ["created_at", "barrier"]
    search_fields = ["target__name"]
    ordering = ["-pk"]
    show_full_result_count = False

    @admin.display(description="type")
    def type(self, event: Event) -> str:
        return event.type


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ["name", "streams", "unheard", "started_at", "seen_at"]
    ordering = ["-seen_at"]


@admin.register(OpenStream)
class OpenStreamAdmin(ReadOnlyAdmin):
    """Streams of all living processes, a few seconds old, and a way to end one."""

    list_display = [
        "name", "channels", "user_id", "subject", "address", "opened_at", "process",
    ]  # fmt: skip
    list_select_related = ["process"]
    list_filter = ["process"]
    search_fields = ["target", "further__channel", "user_id", "subject", "address"]
    readonly_fields = ["channels"]
    exclude = ["target"]
    actions = ["kick"]
    ordering = ["-opened_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[OpenStream]:
        return registry.open_streams().prefetch_related("further")

    @admin.display(description=_("channels"), ordering="target")
    def channels(self, stream: OpenStream) -> str:
        """All that are known: of a stream of nobody the first."""
        further = (each.channel for each in stream.further.all())
        return ", ".join(map(readable, [stream.target, *sorted(further)]))

    def has_kick_permission(self, request: HttpRequest) -> bool:
        """For those who may change streams; nobody may change what is written of them."""
        return request.user.has_perm("sse.change_openstream")

    @admin.action(
        description=_("Kick: end the stream; its client may come back"), permissions=["kick"]
    )
    def kick(self, request: HttpRequest, streams: QuerySet[OpenStream]) -> None:
        names = list(streams.values_list("name", flat=True))
        for name in names:
            close_streams(stream_subject(name))
        self.message_user(request, _("%d streams are being ended.") % len(names))


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ["name", "holder", "until", "round_at", "since"]
    ordering = ["name"]
