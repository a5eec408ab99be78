"""Physics-informed transfer learning from surface EMG to muscle forces and joint motion."""

__version__ = "0.1.0"
