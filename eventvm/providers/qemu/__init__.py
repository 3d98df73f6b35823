"""QEMU guests: the provider, its bridge, and a tiny guest to try them with."""

from eventvm.providers.qemu.accelerator import TINY
from eventvm.providers.qemu.provider import Qemu

__all__ = ["TINY", "Qemu"]
