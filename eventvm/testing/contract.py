"""What a contract is: laws that whoever fills a port inherits as tests, each in a loop of its own.

A contract needs no plugin for asynchronous tests: every law opens and closes its own loop, so a subject is
opened within it, and fixtures that are asynchronous themselves do not fit. pytest finds the cases of a law
by `pytest_generate_tests`; without pytest, `failures` runs them all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import wraps
from itertools import product
from typing import Any, ClassVar, TypeVar

Error = TypeVar("Error", bound=BaseException)
Law = Callable[..., None]


class Contract:
    """The laws of a port; a subclass says how to open what they are to judge, and is a test class."""

    patience_seconds: ClassVar[float] = 60.0
    """How long a law may take until it counts as broken."""

    def __init_subclass__(cls) -> None:
        """Leave out the laws that need what this subject does not have."""
        for name, each in every_law(cls):
            needs: str = getattr(each, "needs", "")
            if needs and name not in vars(cls):
                setattr(cls, name, each if cls.can(needs) else None)

    def loop(self) -> asyncio.AbstractEventLoop:
        """Make the loop that a law runs in; a VirtualLoop suits what lives in memory."""
        return asyncio.new_event_loop()

    @classmethod
    def can(cls, need: str) -> bool:
        """Say whether the subject has what some laws need; what is missing is no test, and no skip either."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Let pytest try each case of a law by itself."""
        for argument, values in getattr(metafunc.function, "cases", {}).items():
            metafunc.parametrize(argument, values, ids=_id)


def law(*, needs: str = "", **cases: Sequence[Any]) -> Callable[[Callable[..., Awaitable[None]]], Law]:
    """Make a law of an asynchronous method: a test that runs in a fresh loop, and always ends."""

    def enacted(check: Callable[..., Awaitable[None]]) -> Law:
        @wraps(check)
        def judged(self: Contract, **case: Any) -> None:
            with asyncio.Runner(loop_factory=self.loop) as runner:
                runner.run(_ending(check(self, **case), self.patience_seconds, check.__name__))

        vars(judged).update(cases=cases, needs=needs, law=True)
        return judged

    return enacted


async def _ending(check: Awaitable[None], seconds: float, name: str) -> None:
    try:
        async with asyncio.timeout(seconds) as limit:
            await check
    except TimeoutError:
        if limit.expired():
            raise AssertionError(f"{name} did not come to its end within {seconds:g} s") from None
        raise


def _id(value: Any) -> str | None:
    return next(iter(value)) if isinstance(value, dict) else None


def every_law(contract: type[Contract]) -> Iterator[tuple[str, Law]]:
    """Give the laws of a contract by name, those that its subject leaves out included."""
    for name in dir(contract):
        for kind in contract.__mro__:
            found: Any = vars(kind).get(name)
            if hasattr(found, "law"):
                yield name, found
                break


def laws(contract: type[Contract]) -> tuple[str, ...]:
    """Name the laws that a contract holds its subject to."""
    return tuple(name for name, _ in every_law(contract) if getattr(contract, name) is not None)


def failures(contract: type[Contract], *names: str) -> dict[str, BaseException]:
    """Try these laws, or all, each case on a fresh subject, and give those that do not hold."""
    broken: dict[str, BaseException] = {}
    for name in names or laws(contract):
        judged: Any = getattr(contract, name)
        for values in product(*judged.cases.values()):
            try:
                judged(contract(), **dict(zip(judged.cases, values, strict=True)))
            except Exception as problem:  # noqa: BLE001  # whatever is wrong with a subject, it breaks the law
                broken.setdefault(name, problem)
    return broken


async def refused(wish: Awaitable[object], error: type[Error]) -> Error:
    """Await what must be refused, and give the refusal."""
    try:
        await wish
    except error as refusal:
        return refusal
    raise AssertionError(f"it was taken, and not refused as {error.__name__}")
