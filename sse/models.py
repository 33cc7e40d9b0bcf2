"""The log as Django sees it: for migrations and the admin. sse.log reads and writes it."""

import json

from django.db import models
from django.utils.translation import gettext_lazy as _


class Target(models.Model):
    """Something that events are addressed to, and how far its log has come."""

    # As sse.log.targets.storable writes it: six characters for one at the worst.
    name = models.CharField(_("name"), max_length=1200, unique=True)
    # Random per row: a cursor from another target, or from before the row was lost, is foreign.
    epoch = models.CharField(_("epoch"), max_length=16, unique=True)
    last_seq = models.BigIntegerField(_("last sequence number"), default=0)
    # The last barrier's, or 0: readers that come later must know it, too.
    barrier_seq = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        verbose_name = _("event target")
        verbose_name_plural = _("event targets")

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """A durable event. Sequence numbers of a target have no gaps below its `last_seq`."""

    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="events")
    seq = models.BigIntegerField(_("sequence number"))
    data = models.TextField(_("data"), help_text=_("The event's JSON, as it goes on the wire."))
    barrier = models.BooleanField(
        default=False,
        help_text=_("Ephemeral events begun before this one are not delivered after it."),
    )
    created_at = models.DateTimeField(_("created at"), db_index=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("event log")
        constraints = [
            models.UniqueConstraint(fields=["target", "seq"], name="event_once_per_seq")
        ]

    def __str__(self) -> str:
        return f"{self.target_id}-{self.seq}"

    @property
    def type(self) -> str:
        kind: str = json.loads(self.data)["type"]
        return kind


class Process(models.Model):
    """A process that serves streams, as long as it says so (`seen_at`)."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    # Its publications do not reach other processes: they have to look into the log.
    unheard = models.BooleanField(_("unheard"), default=False)
    # It hears itself through Redis, so that others who listen must hear it, too.
    listens = models.BooleanField(default=False, db_default=False, editable=False)
    streams = models.PositiveIntegerField(_("open streams"), default=0)
    started_at = models.DateTimeField(_("started at"))
    seen_at = models.DateTimeField(_("seen at"), db_index=True)

    class Meta:
        verbose_name = _("stream process")
        verbose_name_plural = _("stream processes")

    def __str__(self) -> str:
        return self.name


class OpenStream(models.Model):
    """A stream that a process serves, as of its last word (`Process.seen_at`)."""

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="open_streams")
    name = models.CharField(_("name"), max_length=32, unique=True)
    # As sse.log.targets.storable writes it; the first of the stream's targets.
    target = models.CharField(_("target"), max_length=1200)
    # Whose it is: the key of a user, as text.
    user_id = models.TextField(_("user"), blank=True, default="", db_default="")
    subject = models.CharField(
        _("presence of"), max_length=200, blank=True, db_index=True, editable=False
    )
    address = models.CharField(_("address"), max_length=64, blank=True)
    opened_at = models.DateTimeField(_("opened at"))

    class Meta:
        verbose_name = _("open stream")
        verbose_name_plural = _("open streams")
        indexes = [
            # Streams that are nobody's cost nothing by it.
            models.Index(
                fields=["target"], condition=~models.Q(user_id=""), name="sse_whose_by_target"
            )
        ]

    def __str__(self) -> str:
        return self.name


class FurtherChannel(models.Model):
    """A target of an open stream beside its first; of streams whose reader is known."""

    pk = models.CompositePrimaryKey("channel", "stream")
    # The database itself deletes it with the stream: the version before does not know of it.
    stream = models.ForeignKey(
        OpenStream,
        on_delete=models.DO_NOTHING,
        to_field="name",
        db_column="stream",
        related_name="further",
    )
    channel = models.CharField(_("target"), max_length=1200)

    class Meta:
        verbose_name = _("further target")
        verbose_name_plural = _("further targets")
        # It is part of its stream.
        default_permissions = ()

    def __str__(self) -> str:
        return self.channel


class Lease(models.Model):
    """A duty that one process at a time has; see sse.process.leases."""

    name = models.CharField(_("name"), max_length=50, primary_key=True)
    holder = models.CharField(_("held by"), max_length=100)
    until = models.DateTimeField(_("until"))
    # The last round of whoever held it, and since when rounds have followed one another.
    round_at = models.DateTimeField(_("last round"))
    since = models.DateTimeField(_("without a break since"))

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return self.name
