"""Recordings: what a laboratory keeps becomes a `Cohort` here and nowhere else. `load` is the only door; `formats` has
one reader each, `checks` finds, masks, leaves out and tells, `virtual` simulates people whose forces are known.
"""
