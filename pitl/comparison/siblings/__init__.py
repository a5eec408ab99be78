"""Siblings of the method, each a reconstruction of a paper in the same framework, and other ways to train."""
