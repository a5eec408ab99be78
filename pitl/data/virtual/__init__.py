"""Virtual people who move their wrists: recordings whose muscle forces are known. Everything follows from one seed."""

from pitl.data.virtual.cohort import simulate

__all__ = ["simulate"]
