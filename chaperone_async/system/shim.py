"""The first program of a worker with resource limits: it sets them, and then becomes the worker.

Runs by itself, `python -I -S shim.py CHANNEL`, where CHANNEL is the descriptor of a socket. From there it reads its
order to the end, and there it tells what failed, or `GOING` as its last word before the exec, which closes the socket.
Limits set from outside come too late, because a program reads its own as its first act; and between fork and exec no
Python may run beside threads. This one imports almost nothing: its start delays the worker's.

It starts as the supervisor's own user, who may set what the worker's may not, and with next to no environment: the
worker's could make it load what the worker's user has written.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without its enums, which cost as much as Python's start
import marshal
import os
import resource
import sys
import warnings  # noqa: F401  os.execvpe imports it, when this may be out of the reach of the worker's user

GOING = b"+"

Order = tuple[
    list[bytes],  # the command
    dict[bytes, bytes],  # the environment
    list[tuple[int, int]],  # limits
    int | None,  # nice
    int | None,  # group
    tuple[int, ...] | None,  # supplementary groups
    int | None,  # user
]
Refusal = tuple[str, int, int, str]
"""The step that failed (nice, limit, user or exec), which limit, the error number or 0, and the error in words."""


def read_order(channel: int) -> Order | None:
    """None: the supervisor died before it had given one."""
    text = b""
    while chunk := os.read(channel, 1 << 16):
        text += chunk
    try:
        order: Order = marshal.loads(text)  # noqa: S302  from our own parent, over a socket nobody else has
    except (EOFError, ValueError, TypeError):
        return None
    return order


def become(order: Order, channel: int) -> Refusal:
    """Returns only where something failed."""
    command, environment, limits, nice, group, groups, user = order
    step, which = "nice", 0
    try:
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        step = "limit"
        for which, (number, value) in enumerate(limits):  # noqa: B007  told where one fails
            resource.setrlimit(number, (value, value))
        step = "user"
        if groups is not None:
            os.setgroups(groups)
        if group is not None:
            os.setregid(group, group)
        if user is not None:
            os.setreuid(user, user)
        for ignored in (_signal.SIGPIPE, _signal.SIGXFSZ):  # by Python
            _signal.signal(ignored, _signal.SIG_DFL)
        step = "exec"
        os.write(channel, GOING)
        os.execvpe(command[0], command, environment)  # noqa: S606  this is what it is for
    except OSError as error:
        return step, which, error.errno or 0, str(error)
    except (ValueError, OverflowError) as error:
        return step, which, 0, str(error)


def main(channel: int) -> None:
    os.set_inheritable(channel, False)  # noqa: FBT003  the function has no other way
    order = read_order(channel)
    if order is not None:
        os.write(channel, marshal.dumps(become(order, channel)))
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
