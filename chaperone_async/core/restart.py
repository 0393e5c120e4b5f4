"""After a death: again at once, again later, finished, or given up. The rules of interface §3 `[pools.X.restart]`.

After a run of `start_seconds`, an expected exit and a first crash restart at once. Further crashes in a row, and any
exit sooner than `start_seconds`, back off; a run of `reset_after` clears the count. A slot with `count` crashes earlier
than `early` within `window` is looping, until a worker of it lives longer or ends as expected.
"""

from dataclasses import dataclass, replace

from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import RestartPolicy


@dataclass(frozen=True, slots=True)
class History:
    """What a slot remembers of its lives. `early`: when it crashed early, within the window, newest last."""

    crashes: int = 0  # in a row
    delays: int = 0  # back-off delays given in a row
    early: tuple[float, ...] = ()
    looping: bool = False
    crashed_at: float | None = None  # for the last time


@dataclass(frozen=True, slots=True)
class Ending:
    """One death, as the restart policy sees it. `requested`: ended by us for no fault of its own. `due`: it was to be
    replaced in any case."""

    reason: Reason
    uptime: float
    crashed: bool
    requested: bool
    at: float
    due: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    delay: float  # seconds; 0 = at once


@dataclass(frozen=True, slots=True)
class Finish:
    """The policy asks for no successor."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    detail: str


Verdict = Again | Finish | GiveUp

FRESH = History()


def is_crash(policy: RestartPolicy, reason: Reason, uptime: float) -> bool:
    """Whether a worker that ended by itself crashed. Ending too soon is a crash whatever the code, as in supervisord,
    unless the policy says that a success is the end of the matter."""
    if reason is not Reason.EXIT:
        return True
    return policy.mode == "always" and uptime < policy.start_seconds


def decide(policy: RestartPolicy, history: History, ending: Ending, spread: float) -> tuple[History, Verdict]:
    """`spread` in [0, 1) is this life's share of the jitter."""
    if ending.uptime >= policy.backoff.reset_after:
        history = replace(history, crashes=0, delays=0)
    if ending.requested:
        return history, Again(0)
    if policy.mode == "never" or (policy.mode == "on-failure" and ending.reason is Reason.EXIT):
        return history, Again(0) if ending.due and ending.crashed else Finish()
    if not ending.crashed:
        return replace(history, looping=False), Again(0)
    history = _remember(policy, history, ending)
    if history.looping and policy.crash_loop.action == "fatal":
        return history, GiveUp(
            f"crashed {len(history.early)} times within {policy.crash_loop.window:g} s, "
            f"each time sooner than {policy.crash_loop.early:g} s after its start"
        )
    if history.crashes == 1 and ending.uptime >= policy.start_seconds:
        return history, Again(0)
    return replace(history, delays=history.delays + 1), Again(_delay(policy, history.delays, spread))


def _remember(policy: RestartPolicy, history: History, ending: Ending) -> History:
    loop = policy.crash_loop
    if ending.uptime >= loop.early:
        return replace(history, crashes=history.crashes + 1, looping=False, crashed_at=ending.at)
    recent = tuple(at for at in history.early if ending.at - at < loop.window)
    early = (*recent, ending.at)[-loop.count :]
    crashes, looping = history.crashes + 1, len(early) >= loop.count
    return replace(history, crashes=crashes, early=early, looping=looping, crashed_at=ending.at)


def _delay(policy: RestartPolicy, already: int, spread: float) -> float:
    backoff = policy.backoff
    try:
        delay = backoff.initial * backoff.factor**already
    except OverflowError:
        delay = backoff.max
    return min(delay, backoff.max) * (1 + backoff.jitter * spread)
