"""A control engine and flight recorder for machines: every change is an event in an append-only log."""

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("eventvm needs Linux or macOS: it depends on file locks that Windows does not have")

from eventvm import errors
from eventvm.errors import EventvmError

__all__ = [
    "End", "Engine", "EventvmError", "Evidence", "Handle", "Instant", "Lifecycle", "Observation",
    "Process", "Provider", "Receipt", "Record", "Report", "RestoreFrom", "Sandbox", "Simulated", "Spec",
    "Target", "Transition", "Unclear", "errors", "open", "open_log",
]  # fmt: skip

logging.getLogger("eventvm").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from eventvm.engine import Engine, Handle, Receipt, Report
    from eventvm.lifecycle import Lifecycle
    from eventvm.logs import open_log
    from eventvm.observation import End, Evidence, Instant, Observation
    from eventvm.opening import open  # noqa: A004  # the name that users expect
    from eventvm.provider import Provider, Target, Unclear
    from eventvm.providers.process import Process
    from eventvm.providers.simulated import Simulated
    from eventvm.record import Record
    from eventvm.spec import RestoreFrom, Sandbox, Spec
    from eventvm.views import Transition
else:
    HOMES = {
        "engine": ("Engine", "Handle", "Receipt", "Report"),
        "lifecycle": ("Lifecycle",),
        "logs": ("open_log",),
        "observation": ("End", "Evidence", "Instant", "Observation"),
        "opening": ("open",),
        "provider": ("Provider", "Target", "Unclear"),
        "providers.process": ("Process",),
        "providers.simulated": ("Simulated",),
        "record": ("Record",),
        "spec": ("RestoreFrom", "Sandbox", "Spec"),
        "views": ("Transition",),
    }

    def __getattr__(name: str) -> Any:
        """Import what is asked for from where it lives: who reads a log need not wait for an engine."""
        for home, names in HOMES.items():
            if name in names:
                found = globals()[name] = getattr(import_module(f"eventvm.{home}"), name)
                return found
        raise AttributeError(f"module 'eventvm' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
