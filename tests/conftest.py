"""For all tests: what differs between machines and must not matter. A run started in the background ignores signals
that tests send; some environments make every Python write unbuffered; examples take as long as they take."""

import os
import signal

from hypothesis import settings

os.environ.pop("PYTHONUNBUFFERED", None)

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

settings.register_profile("slow machine", deadline=None)
settings.load_profile("slow machine")
