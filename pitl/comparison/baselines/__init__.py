"""Regressions and recalibrations that need no physics."""
