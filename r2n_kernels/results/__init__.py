"""Write results: classes and embeddings of any number of inputs, and feature maps of one.

While a run writes FILE, its rows are kept in the folder `FILE.partial`, batch by batch; FILE
appears when it is complete, and replaces an earlier one at that moment. A run that ends early, in
any way, leaves the folder, and a later one may go on from it.
"""

from .maps import map_writer
from .output import Output, Run, check_names
from .place import find_place
from .rows import Row
from .stream import KeepsNothing

__all__ = ["KeepsNothing", "Output", "Row", "Run", "check_names", "find_place", "map_writer"]
