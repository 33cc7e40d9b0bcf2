"""The durable log: what was sent to whom, in which order.

Sequence numbers are given out under the target's row lock, inside the caller's transaction.
They therefore follow the order of commits, and a rolled-back event leaves no gap. Plain SQL,
since the row must be made, locked and advanced by one statement.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

# Makes the target's row or advances it, and locks it.
_ADVANCE = """
    INSERT INTO sse_target (name, epoch, last_seq, barrier_seq) VALUES (%s, %s, 1, %s)
    ON CONFLICT (name) DO UPDATE SET
        last_seq = sse_target.last_seq + 1,
        barrier_seq = CASE WHEN excluded.barrier_seq > 0
            THEN sse_target.last_seq + 1 ELSE sse_target.barrier_seq END
    RETURNING id, epoch, last_seq
"""
# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535; small ones plan faster.
_POSITIONS_AT_ONCE = 1000
_PRUNED_AT_ONCE = 1000
_RENEWED_AT_ONCE = 1000
# What these weigh says how many more to ask for; of the heaviest they are half a megabyte.
_READ_FIRST = 8


@dataclass(frozen=True, slots=True)
class Position:
    """Where a target's log stands: its row, its epoch, its last sequence number, and the last
    barrier's, where that was asked for."""

    target_id: int
    epoch: str
    seq: int
    barrier: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    seq: int
    data: str
    barrier: bool


def new_epoch() -> str:
    return secrets.token_hex(8)


def append(target: str, data: str, *, barrier: bool = False) -> Position:
    """Write an event in the caller's transaction and return the target's new position.

    Takes the target's row lock until the transaction ends. Without one the event is committed
    on return. `target` as sse.log.targets.storable gives it, `data` as sse.log.encoding.encode.
    """
    advance = (target, new_epoch(), int(barrier))
    event = (data, barrier, _stamp(timezone.now()))
    if connection.vendor == "postgresql":
        # One statement, and so one round trip where there is no transaction.
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH at AS ({_ADVANCE}), event AS (
                    INSERT INTO sse_event (target_id, seq, data, barrier, created_at)
                    SELECT id, last_seq, %s, %s, %s FROM at
                )
                SELECT id, epoch, last_seq FROM at
                """,  # noqa: S608 - our own text
                (*advance, *event),
            )
            return Position(*cursor.fetchone())
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(_ADVANCE, advance)
        position = Position(*cursor.fetchone())
        cursor.execute(
            """
            INSERT INTO sse_event (target_id, seq, data, barrier, created_at)
            VALUES (%s, %s, %s, %s, %s)
            """,
            (position.target_id, position.seq, *event),
        )
    return position


def position(target: str) -> Position:
    """Where the target stands now; a target nobody wrote to yet is made, at 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, epoch, last_seq, barrier_seq FROM sse_target WHERE name = %s", [target]
        )
        found = cursor.fetchone()
        if found is None:
            cursor.execute(
                """
                INSERT INTO sse_target (name, epoch, last_seq) VALUES (%s, %s, 0)
                ON CONFLICT (name) DO UPDATE SET last_seq = sse_target.last_seq
                RETURNING id, epoch, last_seq, barrier_seq
                """,
                [target, new_epoch()],
            )
            found = cursor.fetchone()
    return Position(*found)


def renew(target: str, epoch: str, before: int | None) -> Position:
    """Give the target another epoch, if it has this one, and, with `before`, ends before this
    number. Where it then stands. To cursors from before the log is another one."""
    least = "" if before is None else "AND last_seq < %s"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE sse_target SET epoch = %s WHERE name = %s AND epoch = %s {least}",  # noqa: S608
            [new_epoch(), target, epoch, *([] if before is None else [before])],
        )
    return position(target)


def renew_all() -> int:
    """Give every target another epoch; how many there are. In small transactions, of which none
    waits for a target's lock while it holds another's: writers take theirs in an order of their
    own."""
    total, last = 0, 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM sse_target WHERE id > %s ORDER BY id LIMIT %s",
                [last, _RENEWED_AT_ONCE],
            )
            few = [target_id for (target_id,) in cursor.fetchall()]
            if not few:
                return total
            _renew_some(cursor, few)
        total, last = total + len(few), few[-1]


def _renew_some(cursor: CursorWrapper, target_ids: list[int]) -> None:
    marks = ",".join(["%s"] * len(target_ids))
    if connection.vendor == "sqlite":
        cursor.execute(
            f"UPDATE sse_target SET epoch = lower(hex(randomblob(8))) WHERE id IN ({marks})",  # noqa: S608
            target_ids,
        )
        return
    epoch = "left(replace(gen_random_uuid()::text, '-', ''), 16)"
    cursor.execute(
        f"""
        WITH free AS (
            SELECT id FROM sse_target WHERE id IN ({marks}) FOR UPDATE SKIP LOCKED
        )
        UPDATE sse_target SET epoch = {epoch} FROM free WHERE sse_target.id = free.id
        RETURNING sse_target.id
        """,  # noqa: S608 - our own text
        target_ids,
    )
    renewed = {target_id for (target_id,) in cursor.fetchall()}
    for target_id in target_ids:
        if target_id not in renewed:
            cursor.execute(
                f"UPDATE sse_target SET epoch = {epoch} WHERE id = %s",  # noqa: S608
                [target_id],
            )


def positions(target_ids: Sequence[int]) -> Iterator[Position]:
    """Where these targets stand, in no order; targets that are gone are left out."""
    for start in range(0, len(target_ids), _POSITIONS_AT_ONCE):
        some = target_ids[start : start + _POSITIONS_AT_ONCE]
        with connection.cursor() as cursor:
            marks = ",".join(["%s"] * len(some))
            cursor.execute(
                f"SELECT id, epoch, last_seq FROM sse_target WHERE id IN ({marks})",  # noqa: S608
                list(some),
            )
            for row in cursor.fetchall():
                yield Position(*row)


def read(target_id: int, epoch: str, *, after: int, limit: int, most: int) -> list[Row]:
    """Events with a greater sequence number than `after`, in order and without a gap.

    At most `limit`, and no more once they have about `most` characters together. None if the
    target has another epoch, so that the row may even be another target's.
    """
    rows: list[Row] = []
    size, step = 0, min(limit, _READ_FIRST)
    while step > 0:
        found = _read(target_id, epoch, after, step)
        if rows and found and found[0].seq != after + 1:
            # Pruned since the last step.
            break
        rows += found
        size += sum(len(row.data) for row in found)
        if len(found) < step or size >= most:
            break
        after = rows[-1].seq
        step = min(limit - len(rows), (most - size) * len(rows) // size + 1)
    return rows


def _read(target_id: int, epoch: str, after: int, limit: int) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT seq, data, barrier FROM sse_event
            WHERE target_id = (SELECT id FROM sse_target WHERE id = %s AND epoch = %s)
            AND seq > %s ORDER BY seq LIMIT %s
            """,
            [target_id, epoch, after, limit],
        )
        return [Row(seq, data, bool(barrier)) for seq, data, barrier in cursor.fetchall()]


def read_many(after: Mapping[int, int], limit: int) -> list[tuple[int, Row]]:
    """What several targets have after their sequence numbers: `(target id, row)`, each target's
    in order, at most `limit` in all."""
    if not after:
        return []
    terms = " OR ".join(["(target_id = %s AND seq > %s)"] * len(after))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT target_id, seq, data, barrier FROM sse_event "  # noqa: S608 - our own text
            f"WHERE {terms} ORDER BY target_id, seq LIMIT %s",
            [*(number for pair in after.items() for number in pair), limit],
        )
        return [
            (target_id, Row(seq, data, bool(barrier)))
            for target_id, seq, data, barrier in cursor.fetchall()
        ]


def prune(*, hours: float, events: int) -> int:
    """Delete events older than `hours`, and all but the last `events` of each target.

    Returns how many went. Deletes in small transactions, so that writers wait milliseconds.
    """
    cutoff = _stamp(timezone.now() - timedelta(hours=hours))
    by_age = "SELECT id FROM sse_event WHERE created_at < %s LIMIT %s"
    by_count = """
        SELECT sse_event.id FROM sse_event JOIN sse_target ON sse_target.id = target_id
        WHERE seq <= last_seq - %s LIMIT %s
    """
    return _delete(by_age, cutoff) + _delete(by_count, events)


def _delete(selection: str, bound: str | datetime | int) -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM sse_event WHERE id IN ({selection})",  # noqa: S608 - our own text
                [bound, _PRUNED_AT_ONCE],
            )
            gone: int = cursor.rowcount
        total += gone
        if gone < _PRUNED_AT_ONCE:
            return total


def _stamp(moment: datetime) -> str | datetime:
    return connection.ops.adapt_datetimefield_value(moment) or moment
