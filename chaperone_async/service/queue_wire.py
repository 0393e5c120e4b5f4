"""The documents of the API about queues, failed jobs and scaling, as types; see `wire`."""

from typing import Annotated, TypedDict

from msgspec import Meta

from chaperone_async.core.scaling import ClampName
from chaperone_async.service.wire import BacklogDocument, Time


class QueueDocument(BacklogDocument):
    """A queue; or several, where pools read them together and nobody knows their numbers apart."""

    name: Annotated[str, Meta(description="several separated by commas, in order of priority")]
    queues: list[str]
    pools: Annotated[list[str], Meta(description="that take from it")]
    arrivals_per_minute: Annotated[float | None, Meta(description="over the last minute")]
    completions_per_minute: Annotated[float | None, Meta(description="over the last minute; null: workers do not tell")]
    time_to_clear: Annotated[
        float | None,
        Meta(description="seconds until what waits now is done, at this pace; null: unknown, or nothing is being done"),
    ]
    failed_lists: Annotated[
        list[str], Meta(description="for each list of failed jobs there is, a pool to name with ?pool=")
    ]


class QueuesDocument(TypedDict):
    queues: list[QueueDocument]


class FailedJobDocument(TypedDict):
    id: str
    queue: str
    name: str | None
    arguments: str | None
    error: str | None
    at: Time | None
    attempts: int | None


class FailedDocument(TypedDict):
    """Failed jobs of one queue, the newest first."""

    queue: str
    pool: Annotated[str, Meta(description="which was asked")]
    failed: list[FailedJobDocument]
    next: Annotated[str | None, Meta(description="to go on with ?after=; null: that was all")]
    recorded_by_chaperone: Annotated[bool, Meta(description="the queue system itself keeps no list")]


class RetriedDocument(TypedDict):
    retried: Annotated[int, Meta(description="jobs that are to be done once more")]


class FlushedDocument(TypedDict):
    flushed: Annotated[int, Meta(description="jobs that are thrown away")]


class InputsDocument(TypedDict):
    """What the scaler was told. null is unknown, never zero."""

    backlog: Annotated[int | None, Meta(description="jobs that wait, and that anybody may take")]
    oldest_age: Annotated[float | None, Meta(description="seconds that the longest waiting has waited")]
    busy: Annotated[int | None, Meta(description="jobs in work")]
    running: Annotated[list[float] | None, Meta(description="seconds that each job in work has been so")]
    completed: Annotated[int | None, Meta(description="jobs that have ended so far")]
    worked: Annotated[float | None, Meta(description="seconds that those took")]
    next_due: Annotated[Time | None, Meta(description="when the first delayed job is ready")]
    called: Annotated[float | None, Meta(description="workers that the operator's function has called for")]


class ClampDocument(TypedDict):
    """One limit that changed the number."""

    name: ClampName
    before: int
    after: int
    why: str


class DecisionDocument(TypedDict):
    """From `before` workers to `wanted`: the need, and each limit between it and the answer, in order."""

    at: Time
    before: int
    wanted: int
    raw: Annotated[float | None, Meta(description="workers that the queue calls for, before any limit")]
    clamps: list[ClampDocument]
    inputs: InputsDocument
    reason: str


class DecisionsDocument(TypedDict):
    decisions: Annotated[list[DecisionDocument], Meta(description="newest first")]


class ScaleValueDocument(TypedDict):
    value: Annotated[int, Meta(description="jobs that wait or are in work")]
