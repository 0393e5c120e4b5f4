"""Orphans that are no worker's are reaped, and no status is stolen."""

import asyncio
import os
import subprocess

import anyio

from chaperone_async.system.janitor import read_stat
from chaperone_async.system.kin import become_subreaper
from chaperone_async.system.reaper import Reaper
from chaperone_async.system.sweep import Family
from tests.system.world import alive, until


def zombie(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat[2] == "Z"


def adopt_a_dead_orphan() -> int:
    """In a session of its own, as what `docker exec` or a daemon leaves behind."""
    told = subprocess.run(
        ["setsid", "-w", "sh", "-c", "sh -c 'exec sleep 0.01 >&-' & echo $!"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout)


async def test_a_strangers_zombie_is_reaped_in_the_second_round() -> None:
    give_up = become_subreaper()
    orphan = adopt_a_dead_orphan()
    await until(lambda: zombie(orphan))
    reaper = Reaper(Family())
    reaper.reap_strangers()
    assert zombie(orphan)
    reaper.reap_strangers()
    assert read_stat(orphan) is None
    give_up()


async def test_nothing_is_reaped_while_a_spawn_is_in_flight_nor_what_the_family_knows() -> None:
    family = Family()
    reaper = Reaper(family)
    own = subprocess.Popen(["sh", "-c", "exit 5"], start_new_session=True)
    await until(lambda: zombie(own.pid))
    with family.spawning():
        reaper.reap_strangers()
        reaper.reap_strangers()
    family.add(own.pid)
    reaper.reap_strangers()
    reaper.reap_strangers()
    assert own.wait() == 5


async def test_the_users_own_zombie_in_our_session_is_left_to_the_user() -> None:
    reaper = Reaper(Family())
    own = subprocess.Popen(["sh", "-c", "exit 6"])
    await until(lambda: zombie(own.pid))
    await reaper.reap_the_last()
    assert own.wait() == 6


async def test_the_loop_reaps_by_itself() -> None:
    give_up = become_subreaper()
    looked = asyncio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Reaper(Family()).run, 0.01, looked.set)
        orphan = adopt_a_dead_orphan()
        await looked.wait()
        await until(lambda: not os.path.exists(f"/proc/{orphan}"))
        tasks.cancel_scope.cancel()
    give_up()


async def test_the_subreaper_is_given_up_by_the_last_who_wanted_it() -> None:
    first, second = become_subreaper(), become_subreaper()
    first()
    orphan = adopt_a_dead_orphan()
    await until(lambda: not alive(orphan))
    stat = read_stat(orphan)
    assert stat is not None
    assert stat[0] == os.getpid()
    os.waitpid(orphan, 0)
    second()
    orphan = adopt_a_dead_orphan()
    stat = read_stat(orphan)
    assert stat is None or stat[0] != os.getpid()
