"""The limb: bodies, joints, muscle paths, Hill muscles, the equation of motion and its residual, in pure JAX; built-in
models and imported ones.
"""
