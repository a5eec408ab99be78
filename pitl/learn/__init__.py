"""The product: prepare a cohort, train a generic model, personalise it, predict. `loss` has the loss, `optimise` the
one training loop, `model` what is kept of a person, `api` the Python face.
"""
