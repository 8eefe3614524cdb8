"""Types of NumPy arrays, by what their elements mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]
Ids = NDArray[np.uint64]
"""Ids of rows."""
