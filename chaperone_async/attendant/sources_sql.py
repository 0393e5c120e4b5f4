"""A backlog in a database: one row of a query, with one number, or with columns that have the names of a backlog.

Nothing is written: the session is read-only. No more than two rows are fetched, however many a query gives, and none
runs for longer than a reading may take.
"""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import NAMES, Figures, Kept, Settings, figures, library, plainly, words_of

_ENOUGH = 2  # rows: one too many
_LENIENCE = 1.15  # PostgreSQL ends a statement itself, if it can
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: about a millisecond
_LEAST_CONNECT_TIMEOUT = 2  # seconds; libpq takes less for none
_MYSQL_OPTIONS = ("charset", "ssl_ca", "unix_socket")
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    return query_reader(str(settings["address"]), str(settings["query"]), limit)


def query_reader(address: str, query: str, limit: float) -> Callable[[], Figures]:
    scheme = address.partition(":")[0]
    if scheme == "sqlite":
        return lambda: _one_row(*_from_sqlite(address, query, limit))
    if scheme in {"mysql", "mariadb"}:
        mysql = _kept(lambda: _open_mysql(address, limit), lambda client: not client.open, limit)
        return lambda: _one_row(*_from_mysql(mysql, address, query))
    postgres = _kept(lambda: _open_postgres(address, limit), lambda client: client.broken, limit)
    return lambda: _one_row(*_from_postgres(postgres, address, query, limit))


def _kept(make: Callable[[], Any], is_lost: Callable[[Any], bool], limit: float) -> Kept[Any]:
    return Kept(make, lambda client: client.close(), lambda client, _: is_lost(client), limit)


def _one_row(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Figures:
    if len(rows) != 1:
        raise Unavailable(f"the query gives {'more than one row' if rows else 'no row'}; one is wanted")
    if len(columns) == 1 and columns[0] not in NAMES:
        return figures(rows[0][0])
    return figures(dict(zip(columns, rows[0], strict=True)))


# PostgreSQL


def _from_postgres(kept: Kept[Any], address: str, query: str, limit: float) -> Table:
    with plainly(address, library("psycopg", "postgres").Error, OSError):
        return kept.ask(lambda client: _ask_postgres(client, query, limit))


def _open_postgres(address: str, limit: float) -> Any:
    connect = library("psycopg", "postgres").connect
    waiting = max(_LEAST_CONNECT_TIMEOUT, round(limit))
    client = connect(address, connect_timeout=waiting, application_name="chaperone-async")
    client.read_only = True
    return client


def _ask_postgres(client: Any, query: str, limit: float) -> Table:
    """By a cursor of the server's, and within a transaction: what is set there is not left to others by a pooler."""
    try:
        with cut_off(client.fileno(), limit * _LENIENCE), client.transaction():
            client.execute(f"set local statement_timeout = {round(limit * 1000)}")
            with client.cursor(name="backlog") as cursor:
                cursor.execute(query)
                return [column.name for column in cursor.description], cursor.fetchmany(_ENOUGH)
    except library("psycopg", "postgres").Error as error:
        raise _refusal(error, alive=not client.broken) from error


def _refusal(error: Exception, *, alive: bool) -> Exception:
    """The first line: what follows shows the place in the query."""
    return Unavailable(words_of(error).partition("\n")[0]) if alive else error


@contextmanager
def cut_off(descriptor: int, seconds: float) -> Iterator[None]:
    """Ends a connection when its time is up, whoever waits for it: libpq has no time-out for an answer."""
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with suppress(OSError):  # it has ended at this moment
            connection.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(descriptor)) as connection:
        timer = threading.Timer(seconds, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise Unavailable(f"no answer within {seconds:g} s") from error
            raise
        finally:
            timer.cancel()
            timer.join()


# MySQL


def _from_mysql(kept: Kept[Any], address: str, query: str) -> Table:
    with plainly(address, library("pymysql", "mysql").MySQLError, OSError, ValueError):
        return kept.ask(lambda client: _ask_mysql(client, query))


def _open_mysql(address: str, limit: float) -> Any:
    connect = library("pymysql", "mysql").connect
    parts = urlsplit(address)
    options = dict(parse_qsl(parts.query))
    if strange := options.keys() - set(_MYSQL_OPTIONS):
        raise Unavailable(f"{min(strange)!r} is no option here; valid are {', '.join(_MYSQL_OPTIONS)}")
    client = connect(
        **options,
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or ""),
        database=unquote(parts.path[1:]) or None,
        connect_timeout=limit,
        read_timeout=limit,
        write_timeout=limit,
        autocommit=True,
    )
    mariadb = "mariadb" in client.get_server_info().lower()
    longest = f"max_statement_time = {limit:g}" if mariadb else f"max_execution_time = {round(limit * 1000)}"
    with client.cursor() as cursor:
        cursor.execute("set session transaction read only")
        cursor.execute(f"set session {longest}, sql_select_limit = {_ENOUGH}")
    return client


def _ask_mysql(client: Any, query: str) -> Table:
    """What a query gives is taken whole: the session's own limit makes it two rows."""
    try:
        with client.cursor() as cursor:
            cursor.execute(query)
            return [column[0] for column in cursor.description or ()], cursor.fetchmany(_ENOUGH)
    except library("pymysql", "mysql").MySQLError as error:
        if "timed out" in str(error):
            raise Unavailable("no answer in time") from error
        raise _refusal(error, alive=client.open) from error


# SQLite


def _from_sqlite(address: str, query: str, limit: float) -> Table:
    """Opened for each reading, which costs little: the file may have become another."""
    path = unquote(urlsplit(address).path)[1:]  # sqlite:///jobs.db, and sqlite:////var/lib/jobs.db
    deadline = time.monotonic() + limit
    with plainly(address, sqlite3.Error, sqlite3.Warning):
        if not path:
            raise Unavailable("the address names no file; write sqlite:///FILE")
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=limit)) as client:
            client.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            try:
                cursor = client.execute(query)
                return [column[0] for column in cursor.description or ()], cursor.fetchmany(_ENOUGH)
            except sqlite3.OperationalError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"no answer within {limit:g} s") from error
                raise
