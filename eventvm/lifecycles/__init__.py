"""The five lifecycles that come with eventvm, each a file that can be read as a table."""

from eventvm.lifecycle import Lifecycle
from eventvm.lifecycles.cell import cell
from eventvm.lifecycles.hcsshim import hcsshim
from eventvm.lifecycles.microvm import microvm
from eventvm.lifecycles.plugin import plugin
from eventvm.lifecycles.vm import vm

DEFAULT = "vm"
LIFECYCLES: dict[str, Lifecycle] = {one.name: one for one in (vm, hcsshim, plugin, microvm, cell)}
__all__ = ["DEFAULT", "LIFECYCLES", "cell", "hcsshim", "microvm", "plugin", "vm"]
