"""`doctor`: what this machine or container gives and lacks."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from chaperone_async.service.cli.options import Subparsers, add_command, add_config
from chaperone_async.service.cli.outcome import DONE, NO

if TYPE_CHECKING:
    from chaperone_async.system.doctor.finding import Finding


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "doctor",
        run,
        "tell what this machine or container gives and lacks; exit 1 if pools cannot run as configured",
        "chaperone doctor\nchaperone doctor -c chaperone.toml --format json",
    )
    what = "table (default), or json"
    parser.add_argument("--format", choices=("table", "json"), default="table", help=what)
    add_config(parser)


def run(args: Namespace) -> int:
    from chaperone_async.system.doctor.examine import examine
    from chaperone_async.system.doctor.finding import verdict

    findings = examine(Path(args.config) if args.config else None, os.environ)
    result = verdict(findings)
    if args.format == "json":
        from dataclasses import asdict

        print(json.dumps({"result": result, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _draw(findings)
    return NO if result == "fail" else DONE


def _draw(findings: "list[Finding]") -> None:
    from chaperone_async.service.cli.table import Cell, Column, Table, Tone, print_table

    tones: dict[str, Tone] = {"ok": "good", "warn": "warn", "fail": "bad"}
    rows: list[tuple[Cell, ...]] = []
    for finding in findings:
        rows.append((Cell(finding.result, tones[finding.result]), Cell(finding.name), Cell(finding.found)))
        if finding.advice:
            rows.append((Cell(""), Cell(""), Cell(f"-> {finding.advice}", tones[finding.result])))
    print_table(Table((Column("Result"), Column("Check"), Column("Found", long=True)), rows))
