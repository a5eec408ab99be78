"""Virtual people whose forces are known: the only cohort on which an estimate of muscle force can be judged."""

from pitl.virtual.cohort import simulate
from pitl.virtual.settings import VirtualSettings

__all__ = ["VirtualSettings", "simulate"]
