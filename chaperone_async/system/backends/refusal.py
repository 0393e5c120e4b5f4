"""What a backend cannot do, refused with the reason."""

from collections.abc import Iterable, Mapping

from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.protocol import Unsuited

Advice = Mapping[tuple[str, ...], str]
"""By the spellings of an option, such as ("-n", "--name"): what to do instead."""


def refuse_job_options(job: JobOptions, reasons: Mapping[str, str]) -> None:
    """`reasons`: for each option that the queue system's command line does not take, why, and what would be right."""
    for option, why in reasons.items():
        if getattr(job, option) is not None:
            raise Unsuited(f"job.{option}", f"cannot be honoured: {why}")


def refuse_no_pause(job: JobOptions) -> None:
    """For those that ask their queue again and again."""
    if job.sleep == 0:
        raise Unsuited("job.sleep", "0 would ask the queue without a pause; write a time, such as 0.1")


def refuse_arguments(key: str, arguments: Iterable[str], ours: Advice) -> None:
    """Arguments by hand that we give ourselves: of the two one would be lost without a word."""
    for argument in arguments:
        for spellings, advice in ours.items():
            if any(_is(argument, spelling) for spelling in spellings):
                raise Unsuited(key, f"cannot have {str(argument)!r}: {advice}")


def _is(argument: str, spelling: str) -> bool:
    """`--name=x` is `--name`, and `-nx` is `-n`."""
    if spelling.startswith("--"):
        return argument.partition("=")[0] == spelling
    return argument.startswith(spelling) and not argument.startswith("--")
