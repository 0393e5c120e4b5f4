"""`reload`: the plan in words, and an exit code that is true."""

from typing import Any

import pytest

from chaperone_async.service.cli.reload import plan_lines

PLAN: dict[str, Any] = {
    "summary": "change emails (command: rolling)",
    "empty": False,
    "pools": [
        {
            "pool": "emails", "kind": "change", "rolling": True,
            "differences": [
                {"key": "command", "old": ["a"], "new": ["b", "c d"], "rolling": True},
                {"key": "env.A", "old": None, "new": "***", "rolling": True},
            ],
        },
        {"pool": "reports", "kind": "add", "rolling": False, "differences": []},
    ],
    "unchanged": ["images"],
    "settings": [
        {"key": "http.token", "old": "***", "new": None, "live": True},
        {"key": "name", "old": "a", "new": "b", "live": False},
    ],
    "warnings": ["pools.emails: something"],
}  # fmt: skip
NOTHING = {"summary": "", "empty": True, "pools": [], "unchanged": ["a", "b"], "settings": [], "warnings": []}


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        (
            PLAN,
            [
                "emails: change, rolling",
                '  command: ["a"] -> ["b", "c d"]',
                '  env.A: not set -> "***"',
                "reports: add",
                'http.token: "***" -> not set',
                'name: "a" -> "b" (at the next start)',
                "1 pool unchanged",
                "warning: pools.emails: something",
            ],
        ),
        (NOTHING, ["nothing would change: 2 pools unchanged"]),
    ],
)
def test_a_plan_is_told_pool_by_pool_and_key_by_key(plan: dict[str, Any], lines: list[str]) -> None:
    assert list(plan_lines(plan)) == lines
