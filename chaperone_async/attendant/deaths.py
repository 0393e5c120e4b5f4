"""Jobs that cost their workers' lives, again and again: a brake for those that would be put back for ever."""

import threading

_REMEMBERED = 10_000


class Deaths:
    """As many as this process has seen. `most`: of one job; 0: there is no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = threading.Lock()
        self._of: dict[str, int] = {}

    def is_last(self, job: str, *, blamed: bool = True) -> bool:
        """Counts one more, and tells whether that was one too many. Not `blamed`: the worker was asked to end."""
        if not self._most or not blamed:
            return False
        with self._turn:
            many = self._of.pop(job, 0) + 1
            if many >= self._most:
                return True
            self._of[job] = many  # the latest at the end
            if len(self._of) > _REMEMBERED:
                del self._of[next(iter(self._of))]
        return False
