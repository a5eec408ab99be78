"""From a MuJoCo model (.xml) to a musculoskeletal model that needs no MuJoCo."""
