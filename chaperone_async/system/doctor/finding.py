"""What one look at the machine found."""

from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`warn`: works, with something missing; `fail`: pools will not run as configured. `advice`: what that means, and
    what to do about it; empty where there is nothing to do."""

    name: str
    result: Result
    found: str
    advice: str = ""


def verdict(findings: list[Finding]) -> Result:
    """The worst."""
    results = {finding.result for finding in findings}
    return "fail" if "fail" in results else "warn" if "warn" in results else "ok"
