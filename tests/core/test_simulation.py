"""The simulator against arithmetic, and the real scaler in it."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from chaperone_async.core.demand import AutoscalePolicy, Present, Sample
from chaperone_async.core.scaling import Candidate, Decision
from chaperone_async.core.simulation import Job, Outcome, Scaler, percentile, simulate
from tests.core.horizon import Horizon, HorizonControl


@dataclass
class Planned:
    """Wants these numbers of workers, one after the other, and remembers what it was shown."""

    plan: list[int]
    seen: list[tuple[Sample, Present]] = field(default_factory=list)

    def decide(self, samples: Mapping[str, Sample], presents: Mapping[str, Present]) -> Mapping[str, int]:
        self.seen.append((samples["q"], presents["q"]))
        return {"q": self.plan[min(len(self.seen), len(self.plan)) - 1]}

    def leavers(self, candidates: Iterable[Candidate]) -> tuple[int, ...]:
        return tuple(candidate.slot for candidate in candidates)


def played(plan: list[int], jobs: list[Job], start: int, until: float = 0.0) -> tuple[Outcome, Planned]:
    control = Planned(plan)
    return simulate({"q": jobs}, control, {"q": start}, until=until)["q"], control


def test_one_worker_does_one_job_after_the_other() -> None:
    outcome, control = played([1], [Job(0, 2), Job(0.5, 2), Job(7, 1)], 1)
    assert (outcome.waits, outcome.ended, outcome.left) == ((0, 1.5, 0), 8, 0)
    assert (outcome.busy_seconds, outcome.worker_seconds, outcome.most, outcome.started) == (5, 8, 1, 1)
    sample = control.seen[1][0]
    assert (sample.backlog, sample.busy, sample.arrived, sample.completed) == (1, 1, 2, 0)
    assert (sample.oldest_age, sample.running) == (0.5, (1,))


def test_a_worker_may_do_several_jobs_at_a_time_and_leaves_when_it_has_done_all() -> None:
    jobs = [Job(0, 4), Job(0, 6), Job(0, 2), Job(1, 1)]
    outcome = simulate({"q": jobs}, Planned([1, 1, 0]), {"q": 1}, at_once=2)["q"]
    assert (outcome.waits, outcome.left, outcome.busy_seconds) == ((0, 0), 2, 10)
    assert outcome.worker_seconds == 6


def test_a_worker_takes_jobs_once_it_has_started() -> None:
    outcome, _ = played([1], [Job(0, 1)], 0)
    assert (outcome.waits, outcome.ended, outcome.worker_seconds) == ((1,), 2, 2)


def test_who_is_asked_to_go_finishes_its_job_and_is_paid_until_then() -> None:
    outcome, control = played([0, 0, 0, 1], [Job(0, 5), Job(1.5, 1)], 1)
    assert control.seen[1][1] == Present(0, leaving=1)
    assert list(outcome.waits) == [0, 2.5]
    assert (outcome.worker_seconds, outcome.most) == (5 + 2, 2)


def test_the_idle_and_those_who_have_not_started_go_at_once() -> None:
    outcome, control = played([3, 0, 0], [], 1, until=3)
    assert [present for _, present in control.seen] == [Present(1), Present(3), Present(0)]
    assert outcome.worker_seconds == 3


def test_a_scaler_that_starts_nobody_comes_to_an_end() -> None:
    outcome, _ = played([0], [Job(0, 1)], 0)
    assert (outcome.left, outcome.waits, outcome.worker_seconds) == (1, (), 0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=60), st.lists(st.integers(1, 6), min_size=1))
def test_every_job_is_done_once_whatever_is_decided(given_jobs: list[tuple[float, float]], plan: list[int]) -> None:
    jobs = sorted(Job(*job) for job in given_jobs)
    outcome, control = played(plan, jobs, plan[0])
    assert (len(outcome.waits), outcome.left) == (len(jobs), 0)
    assert abs(outcome.busy_seconds - sum(job.service_time for job in jobs)) < 1e-6
    assert outcome.worker_seconds >= outcome.busy_seconds - 1e-6
    assert min(outcome.waits, default=0) >= 0
    assert all((sample.busy or 0) <= present.active + present.leaving for sample, present in control.seen)


def poisson(rate: float, seconds: float, mean: float) -> list[Job]:
    rng, at, jobs = random.Random(1), 0.0, []
    while (at := at + rng.expovariate(rate)) < seconds:
        jobs.append(Job(at, rng.expovariate(1 / mean)))
    return jobs


def test_the_scaler_follows_a_load_up_and_down_and_comes_to_rest_at_zero() -> None:
    decisions: list[Decision] = []
    policy = AutoscalePolicy(strategy="latency", target=2, min=0, max=10, scale_to_zero_after=60)
    scaler = Scaler({"q": policy}, hear=lambda _, made: decisions.append(made))
    outcome = simulate({"q": poisson(6, 120, 1)}, scaler, {"q": 0}, until=400)["q"]
    wanted = [made.wanted for made in decisions]
    assert (wanted[0], wanted[-1], outcome.left) == (0, 0, 0)
    assert 7 <= max(wanted) <= 10
    assert percentile(outcome.waits, 0.5) < 2
    woken = next(made for made in decisions if made.wanted)
    assert woken.reason.startswith("from 0 to 1: ")


def test_equal_jobs_at_equal_distances_need_no_change_after_the_first_minute() -> None:
    for strategy in ("backlog", "latency"):
        decisions: list[Decision] = []
        policy = AutoscalePolicy(
            strategy="backlog" if strategy == "backlog" else "latency", target=1 if strategy == "backlog" else 2
        )
        scaler = Scaler({"q": policy}, hear=lambda _, made, heard=decisions: heard.append(made))  # type: ignore[misc]  # a value of the loop
        simulate({"q": [Job(turn / 4, 1) for turn in range(2000)]}, scaler, {"q": 1})
        late = {made.wanted for made in decisions if 60 < made.at < 490}
        assert len(late) == 1, strategy


def test_ours_waits_less_than_horizon_with_no_more_worker_seconds() -> None:
    """Two queues of different jobs, at random; both scalers move one worker in three seconds."""
    jobs = {"short": poisson(8, 900, 0.2), "long": poisson(0.8, 900, 4)}
    policy = AutoscalePolicy(strategy="latency", target=2, max=9, stabilization=0)
    start = {"short": 1, "long": 1}
    ours = simulate(jobs, Scaler(dict.fromkeys(jobs, policy), 10), start)
    theirs = simulate(jobs, HorizonControl(Horizon()), start)
    assert waiting(ours) < 0.7 * waiting(theirs)
    assert cost(ours) <= cost(theirs)


def waiting(outcomes: Mapping[str, Outcome]) -> float:
    return sum(sum(outcome.waits) for outcome in outcomes.values())


def cost(outcomes: Mapping[str, Outcome]) -> float:
    return sum(outcome.worker_seconds for outcome in outcomes.values())


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert [percentile([5, 1, 3], share) for share in (0, 0.34, 0.95, 1)] == [1, 3, 5, 5]
    assert percentile([], 0.95) == 0
