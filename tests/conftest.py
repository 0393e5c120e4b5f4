"""For all tests: what differs between machines and must not matter. A run started in the background ignores signals
that tests send; some environments make every Python write unbuffered; examples take as long as they take.

Examples are drawn the same in every run, so that a run tells of the code and not of its luck. New ones are looked for
by a search: `tests/run tests/core tests/supervision --hypothesis-profile=search --timeout=2000`."""

import os
import signal

from hypothesis import settings

os.environ.pop("PYTHONUNBUFFERED", None)

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000, derandomize=False)  # as it is by itself in CI
settings.load_profile("same")
