"""From an OpenSim model (.osim) to a musculoskeletal model that needs no OpenSim."""
