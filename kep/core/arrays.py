"""Types of NumPy arrays, by what their elements mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""Predictions, probabilities and losses."""
