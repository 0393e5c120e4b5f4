"""`init`: a configuration to begin with."""

import errno
import os
from argparse import Namespace
from pathlib import Path

from chaperone_async.errors import ChaperoneError
from chaperone_async.service.cli.options import Subparsers, add_command
from chaperone_async.service.cli.outcome import DONE

DEFAULT_FILE = "chaperone.toml"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""The file system has none: what was looked for a moment ago must do."""


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "init",
        run,
        "write a commented configuration to begin with",
        "chaperone init\nchaperone init --print | less",
    )
    parser.add_argument("file", nargs="?", default=DEFAULT_FILE, metavar="FILE", help=f"default: {DEFAULT_FILE}")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--print", action="store_true", help="to stdout, without writing a file")


def run(args: Namespace) -> int:
    from chaperone_async.system.config.starter import starter

    if args.print:
        print(starter(), end="")
        return DONE
    path = Path(args.file)
    write_whole(path, starter(), replace=args.force)
    named = "" if path == Path(DEFAULT_FILE) else f" -c {path}"
    print(f"wrote {path}; next: chaperone config check{named} && chaperone up{named}")
    return DONE


def write_whole(path: Path, text: str, *, replace: bool) -> None:
    """All of it or nothing, and without `replace` never in place of another file. Raises ChaperoneError."""
    try:
        if not path.name or path.is_dir():
            raise ChaperoneError(f"cannot write {path}: it is a directory; name a file in it")
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _put(draft, path, replace=replace)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError as error:
        raise ChaperoneError(f"cannot write {path}: it is there already; name another, or give --force") from error
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise ChaperoneError(f"cannot write {path}: {why}; name a file in a writable directory") from error


def _put(draft: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            path.hardlink_to(draft)  # unlike a rename, this fails where something is
        except OSError as error:
            if error.errno not in _NO_LINKS or path.exists():
                raise
        else:
            return
    draft.replace(path)
