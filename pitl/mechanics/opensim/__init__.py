"""Turns an OpenSim model into one of ours, once; using it needs no OpenSim."""
