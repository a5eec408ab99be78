"""A model on a stream: sources, one pure step from samples to answers, calibration, a page, latency, export."""
