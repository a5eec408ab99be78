"""The network as pure functions on parameter pytrees, with its exact time derivatives."""
