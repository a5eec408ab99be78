"""How fast, how small, against what: every number measured beside its alternative in one run."""
