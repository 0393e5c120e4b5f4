"""The console script `chaperone`, and `python -m chaperone_async`. Probes go past the command line's parser."""

import sys

from chaperone_async.service.cli.outcome import settle


def main() -> int:
    return settle(lambda: _run(sys.argv[1:]))


def _run(argv: list[str]) -> int:
    if argv and argv[0] in {"health", "ready"}:
        from chaperone_async.service.cli.probe import answer, read_question

        if question := read_question(argv):
            return answer(question)
    from chaperone_async.service.cli.app import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
