"""Musculoskeletal mechanics as pure functions: no network, no data."""
