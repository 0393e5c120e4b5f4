"""The kinds of jobs in the demonstration: what each does to its worker, and how often it comes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """`name`: of its task. `share`: of fifty jobs. `fails`: it is to end among the failed ones, until it is retried."""

    name: str
    share: int
    what: str
    fails: bool = False


KINDS = (
    Kind("send_email", 29, "is done in no time"),
    Kind("render_report", 8, "takes a quarter of a second"),
    Kind("resize_image", 5, "leaks 16 MB: its worker is replaced before that matters"),
    Kind("import_contacts", 4, "fails, and is done a second later, when it is tried again"),
    Kind("charge_card", 3, "fails for good, and is kept until somebody retries it", fails=True),
    Kind("read_upload", 1, "kills its worker: it is put back, and the next one does it"),
)


def kind_of(number: int) -> Kind:
    """Of the job with this number: each kind comes as evenly as its share allows."""
    return _ROUND[number % len(_ROUND)]


_ROUND = tuple(
    kind
    for _, _, kind in sorted(
        ((turn + 0.5) / kind.share, place, kind) for place, kind in enumerate(KINDS) for turn in range(kind.share)
    )
)
