"""HTTP clients that send nothing, half a request, or nonsense: probes are answered all the while."""

import socket
import struct
from contextlib import ExitStack, suppress

from tests.faults.conftest import Start
from tests.faults.service import Service, descriptors, polled, until

HALF = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX-Endless: "
NONSENSE = (b"\x00" * 100, b"GET\r\n\r\n", b"\x16\x03\x01\x02", b"A" * 70000, HALF, b"POST / HTTP/1.1\r\n\r\n")
POOL = '[pools.one]\ncommand = "sleep 1000"'
MANY = 200


def connect(service: Service) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(service.socket))
    return client


def test_two_hundred_silent_and_two_hundred_half_requests_keep_no_probe_waiting(start: Start) -> None:
    service = start(POOL).started()
    before = descriptors(service.pid)
    with polled(service, "/livez") as livez, polled(service, "/readyz"):
        with ExitStack() as clients:
            for _ in range(MANY):
                clients.enter_context(connect(service))
                clients.enter_context(connect(service)).sendall(HALF)
            until(lambda: descriptors(service.pid) >= before + 2 * MANY)
            asked = len(livez.statuses)
            until(lambda: len(livez.statuses) > asked + 20)
        until(lambda: descriptors(service.pid) < before + 10)
    assert service.stop() == 0


def test_more_clients_than_it_keeps_do_not_shut_probes_out(start: Start) -> None:
    service = start(POOL).started()
    with ExitStack() as clients:
        for _ in range(700):
            clients.enter_context(connect(service))
        with polled(service, "/livez") as livez:
            until(lambda: len(livez.statuses) > 20)
        assert descriptors(service.pid) < 600
    assert service.stop() == 0


def test_a_client_that_takes_no_answer_keeps_no_probe_waiting(start: Start) -> None:
    service = start(POOL.replace("one", "many") + "\nworkers = 50").started()
    with ExitStack() as clients, polled(service, "/livez"):
        for _ in range(20):
            client = clients.enter_context(connect(service))
            client.setblocking(False)
            try:
                for _ in range(200):
                    client.send(b"GET /api/v1/pools HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except BlockingIOError:
                continue
        until(lambda: service.get("/api/v1/status")[0] == 200)
    assert service.stop() == 0


def test_nonsense_and_resets_are_not_worth_a_traceback(start: Start) -> None:
    service = start(POOL).started()
    with polled(service, "/livez"):
        for text in (
            b"\x00" * 100,
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02",
            b"A" * 70000,
            HALF,
            b"POST / HTTP/1.1\r\n\r\n",
        ):
            for _ in range(20):
                with connect(service) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    with suppress(BrokenPipeError, ConnectionResetError):  # it may hang up before all is sent
                        client.sendall(text)
    assert "Traceback" not in service.text
    assert service.stop() == 0
