"""The network: second-order jets through an encoder and a head. Pure functions; `network` is where to begin."""
