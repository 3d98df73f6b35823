"""Virtual time: nothing waits, one seed is one order, and what would bring chance in is refused."""

import asyncio

import pytest

from eventvm.testing import Deadlock, VirtualClock, VirtualLoop, virtual
from eventvm.testing.loop import EPOCH_NS


def ran(main, seed=0):
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


def test_a_year_takes_a_moment_and_the_clock_follows():
    async def main():
        clock = VirtualClock()
        before = clock.now()
        await asyncio.sleep(365 * 86_400)
        return before.until(clock.now()), clock.wall() - EPOCH_NS

    year_ns = 365 * 86_400 * 10**9
    assert ran(main) == (year_ns, year_ns)


def test_one_seed_is_one_order_and_another_seed_another():
    async def main():
        order = []

        async def task(name):
            for _ in range(3):
                await asyncio.sleep(0)
                order.append(name)

        await asyncio.gather(*map(task, range(10)))
        return order

    assert ran(main, 7) == ran(main, 7)
    assert len({tuple(ran(main, seed)) for seed in range(5)}) == 5


def test_tasks_that_wait_for_one_another_are_named():
    async def main():
        async def stuck():
            await asyncio.get_running_loop().create_future()

        await asyncio.create_task(stuck(), name="the stuck one")

    with pytest.raises(Deadlock, match=r"seed 3: nothing can ever run again; waiting: .*the stuck one"):
        ran(main, 3)


def test_a_thread_is_refused():
    async def main():
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="no threads in virtual time"):
        ran(main)


def test_a_wall_clock_can_be_set_back_and_a_host_booted_again():
    async def main():
        clock = VirtualClock()
        await asyncio.sleep(10)
        first = clock.now()
        clock.jump(-60)
        set_back = clock.now()
        clock.reboot()
        return first, set_back, clock.now()

    first, set_back, booted = ran(main)
    assert (set_back.wall - first.wall, set_back.boot) == (-60 * 10**9, first.boot)
    assert (booted.boot, booted.boot_id == first.boot_id) == (0, False)


def test_a_clock_outside_virtual_time_says_what_to_do():
    async def main():
        VirtualClock()

    with pytest.raises(AssertionError, match=r"let the fixture anyio_backend return virtual\(\)"):
        asyncio.run(main())


def test_a_backend_in_virtual_time_has_its_seed():
    name, options = virtual(7)
    loop = options["loop_factory"]()
    assert (name, type(loop), loop.seed) == ("asyncio", VirtualLoop, 7)
    loop.close()
