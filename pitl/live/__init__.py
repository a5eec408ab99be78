"""A model on a stream: sources, one pure step from samples to answers, calibration on the spot, a page, latency, export."""
