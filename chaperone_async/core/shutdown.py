"""The end of the supervisor: one absolute deadline shared by all pools and all phases."""


def kill_time(deadline: float, at: float) -> float:
    """When what still lives must be killed so that everything is gone by `deadline`: a tenth of the time is kept for
    that, one second at most."""
    return deadline - min(1.0, max(0.0, deadline - at) / 10)
