"""From a simulator that can be asked for lengths, moment arms and frames to a model that needs no simulator."""
