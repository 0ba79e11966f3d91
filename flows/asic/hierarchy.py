"""Where things are in a netlist: the module that an instance path leads to, names to show for pins."""

import re
from functools import cached_property

from flows.asic.library import Library
from flows.asic.netlist import REGISTER_SUFFIX, Netlist


class Hierarchy:
    """Looks up paths such as ``core/drain/lane_0/count_3_reg/D``."""

    def __init__(self, netlist: Netlist, library: Library) -> None:
        self.netlist = netlist
        self.library = library

    @cached_property
    def _children(self) -> dict[str, dict[str, str]]:
        return {module.name: {i.name: i.module for i in module.instances}
                for module in self.netlist.modules.values()}

    def module_of(self, pin: str) -> str:
        """Return the module that holds the cell of a pin, or the top for a port."""
        module = self.netlist.top
        for part in pin.split("/")[:-2]:
            module = self._children[module][part]
        return module

    def cell_of(self, pin: str) -> str:
        """Return the library cell or macro of a pin; empty for a port."""
        parts = pin.split("/")
        return self._children[self.module_of(pin)][parts[-2]] if len(parts) > 1 else ""

    def show(self, pin: str) -> str:
        """Return a pin as a person calls it: a register by its name, a memory by its pin."""
        if self.cell_of(pin) in self.library.cells:
            return pin.rpartition("/")[0].removesuffix(REGISTER_SUFFIX)
        return pin


def group_name(shown: str) -> str:
    """Return a name in which all numbers are the same: bits, lanes and copies make one group."""
    return re.sub(r"\d+", "*", shown)
