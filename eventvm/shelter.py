"""Shelter: work that is carried to its end, whoever cancels the one that waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio


async def sheltered(work: Coroutine[Any, Any, None]) -> None:
    """Carry work to its end though the caller be cancelled, and again; only then is it cancelled.

    A shield of anyio would not do: asyncio's own `Task.cancel` and `asyncio.timeout` pass through it.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as problem:
                cancelled = problem
    task.result()
    if cancelled is not None:
        raise cancelled
