"""Why smooth functions cannot follow a muscle's path."""

import numpy as np

from pitl.osim.sampler import Sampler
