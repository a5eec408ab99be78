"""The person in front of you: streams in, angles and muscle forces out, while they move."""
