"""Huey's own tests, as its distribution brings them, on the embedded queue: all of its features are there."""

import unittest
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from huey.tests import base, test_api, test_consumer, test_priority, test_signals
from huey.tests.test_storage import StorageTests

from chaperone_async.huey import DurableHuey

_OTHERWISE = {
    "test_chord_bookkeeping_cleared": "looks into the memory storage",
    "test_read_schedule": "wants due jobs gone when they are read: here they stay until they are in the queue",
}


class Storage(StorageTests, base.BaseTestCase):
    __test__ = False  # not by pytest: it runs with all the others, below
    supports_ttl = False


def _tests() -> Iterator[unittest.TestCase]:
    loader = unittest.defaultTestLoader
    suites = [loader.loadTestsFromModule(module) for module in (test_api, test_consumer, test_priority, test_signals)]
    waiting: list[object] = [*suites, loader.loadTestsFromTestCase(Storage)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, unittest.TestCase):
            if one._testMethodName not in _OTHERWISE:
                yield one
        elif isinstance(one, unittest.TestSuite):
            waiting.extend(one)


def _run(tests: list[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.TestSuite(tests).run(result)
    return result


def _troubles(result: unittest.TestResult) -> list[tuple[unittest.TestCase, str]]:
    return result.errors + result.failures


def test_huey_passes_its_own_tests_on_the_embedded_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = list(_tests())
    names, file = (f"own-{number}" for number in count()), tmp_path / "jobs.db"
    monkeypatch.setattr(base.BaseTestCase, "get_huey", lambda case: DurableHuey(next(names), file, utc=False))
    result = _run(tests)
    failed = [case for case, _ in _troubles(result)]
    once_more = [case for case in tests if case in failed]
    again = _run(once_more)  # some wait for 2 s at most, which a busy machine may take
    elsewhere = [(what, error) for what, error in _troubles(result) if what not in once_more]
    assert [f"{case}: {error}" for case, error in elsewhere + _troubles(again)] == []
    assert result.testsRun > 150
