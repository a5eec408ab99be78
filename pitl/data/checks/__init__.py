"""What is wrong with recordings: `faults` finds it, `usable` masks it or leaves it out, `quality` tells."""
