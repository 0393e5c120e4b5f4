"""Contradictions: values that are right one by one and wrong together."""

from collections.abc import Iterator

from chaperone_async.core.expand import JOB_WORDS, job_words, words_in
from chaperone_async.core.spec import MB, PoolSpec
from chaperone_async.system.config.check_queues import check_sources, is_unfit, scaling
from chaperone_async.system.config.layers import Layer, combined, stated
from chaperone_async.system.config.model import HttpTable
from chaperone_async.system.config.problems import Place, Problems

Contradiction = tuple[tuple[str, ...], str]
"""The keys that do not go together, the one to change first, and why."""


def check_pool(spec: PoolSpec, grace: float, layers: tuple[Layer, ...], problems: Problems) -> None:
    """Reports each at the place the value was written, but none that rests on a value already refused."""
    own = layers[0].at
    written = combined(layers)
    runs = ("command", "backend", *(layers[0].table.backends or ()))
    runs_nothing = not spec.command and not is_unfit(spec, written)
    if runs_nothing and not any(_refused(key, layers, problems) for key in runs):
        problems.add(own / "command", 'is missing; add one such as command = "python worker.py"')
    contradictions = (
        *_counts_and_times(spec, grace), *_restarts(spec), *_limits_and_logs(spec), *_job_options(spec),
        *_addresses(spec), *scaling(spec, written),
    )  # fmt: skip
    check_sources(written, layers, problems)
    for keys, why in contradictions:
        if not any(_refused(key, layers, problems) for key in keys):
            problems.add(stated(layers, keys[0]) or own.below(keys[0]), why)


def check_tls(http: HttpTable, at: Place, problems: Problems) -> None:
    here = at.below("http.tls")
    if http.tls is not None and not (http.tls.cert and http.tls.key) and not problems.touch(here):
        problems.add(here, 'needs both; write tls = { cert = "server.crt", key = "server.key" }')


def _refused(key: str, layers: tuple[Layer, ...], problems: Problems) -> bool:
    return any(problems.touch(layer.at.below(key)) for layer in layers)


def _counts_and_times(spec: PoolSpec, grace: float) -> Iterator[Contradiction]:
    health, stop, started = spec.health, spec.stop.timeout, spec.restart.start_seconds
    if spec.min_ready is not None and spec.min_ready > spec.workers:
        why = f"{spec.min_ready} is more than workers, {spec.workers}; write at most that"
        yield ("min_ready", "workers"), why
    if spec.max_surge == 0 and 0 < spec.workers <= spec.least_ready:
        why = f"0 lets one worker go before its successor comes, and min_ready is {spec.least_ready} of {spec.workers}"
        yield ("max_surge", "workers", "min_ready"), f"{why}; write 1 or more, or a lower min_ready"
    if stop > grace:
        why = f"{stop:g} s is longer than all of shutdown.grace, {grace:g} s; write less, or raise that"
        yield ("stop.timeout",), why
    if 0 < health.heartbeat < health.interval:
        why = f"{health.heartbeat:g} s is shorter than health.interval, {health.interval:g} s, which looks for it"
        yield ("health.heartbeat", "health.interval"), f"{why}; write at least that, or 0 for none"
    if 0 < health.start_timeout < started:
        why = f"{health.start_timeout:g} s is shorter than restart.start_seconds, {started:g} s: no worker could start"
        yield ("health.start_timeout", "restart.start_seconds"), f"{why}; write more, or 0 for no limit"


def _addresses(spec: PoolSpec) -> Iterator[Contradiction]:
    """Tried out with the most that a slot's number may be."""
    if not (spec.health.http or spec.health.tcp):
        return
    from chaperone_async.system.probers import http, tcp

    for key, address, try_out in (("http", spec.health.http, http.try_out), ("tcp", spec.health.tcp, tcp.try_out)):
        try:
            if address:
                try_out(spec, address)
        except ValueError as error:
            yield (f"health.{key}", "workers"), str(error)


def _restarts(spec: PoolSpec) -> Iterator[Contradiction]:
    backoff, early, started = spec.restart.backoff, spec.restart.crash_loop.early, spec.restart.start_seconds
    if backoff.initial > backoff.max:
        why = f"{backoff.initial:g} s is longer than restart.backoff.max, {backoff.max:g} s; write at most that"
        yield ("restart.backoff.initial", "restart.backoff.max"), why
    if early < started:
        why = f"{early:g} s is shorter than restart.start_seconds, {started:g} s: some failed starts would not count"
        yield ("restart.crash_loop.early", "restart.start_seconds"), f"{why}; write at least that"


def _limits_and_logs(spec: PoolSpec) -> Iterator[Contradiction]:
    largest, limit = spec.recycle.max_memory, spec.health.memory_limit
    if 0 < limit <= largest:
        why = f"{largest / MB:g} MB is not under health.memory_limit, {limit / MB:g} MB, which would always win"
        yield ("recycle.max_memory", "health.memory_limit"), f"{why}; write less, or raise that"
    if spec.recycle.jitter >= 1:
        yield ("recycle.jitter",), "1 could lower a limit to nothing; write less, such as 0.1"
    if spec.logs.mode == "file" and not spec.logs.path:
        why = 'is missing, and logs.mode = "file" needs it; write one such as "/var/log/{pool}.log"'
        yield ("logs.path", "logs.mode"), why


def _job_options(spec: PoolSpec) -> Iterator[Contradiction]:
    """What is set must reach the worker, and what the worker is told must be set. A job's time-out we see to ourselves,
    where nobody else does."""
    if spec.backend is not None:
        return
    told, used, given = words_in(spec.command), words_in((*spec.command, *spec.health.exec)), job_words(spec.job)
    if spec.job.backoff == ():
        yield ("job.backoff",), "names no delay; write one such as 5, or a list such as [1, 5, 10]"
    for word in JOB_WORDS:
        if word in given and word not in told and spec.command and word != "timeout":
            why = f"cannot be honoured: the command of pool {spec.name!r} does not take it"
            yield (f"job.{word}", "command"), f"{why}; write {{{word}}} into the command, or remove it"
        if word in used and word not in given:
            where = "command" if word in told else "health.exec"
            yield (
                (where, f"job.{word}"),
                f"uses {{{word}}}, and job.{word} is not set; set it, or write the value itself",
            )
