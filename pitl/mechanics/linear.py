"""Small symmetric systems, written out: a batched LAPACK call costs microseconds for each 2 x 2 matrix."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def solve(matrix: Float[Array, "... D D"], right: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """x of matrix x = right for symmetric positive definite matrices, by Cholesky's method without square roots."""
    size = right.shape[-1]
    lower: list[list[Array]] = [[] for _ in range(size)]
    pivot: list[Array] = []
    forward: list[Array] = []
    for i in range(size):
        for j in range(i):
            result = matrix[..., i, j]
            for k in range(j):
                result = result - lower[i][k] * lower[j][k] * pivot[k]
            lower[i].append(result / pivot[j])
        left, value = matrix[..., i, i], right[..., i]
        for k in range(i):
            left = left - lower[i][k] ** 2 * pivot[k]
            value = value - lower[i][k] * forward[k]
        pivot.append(left)
        forward.append(value)
    answer: list[Array] = [jnp.zeros(())] * size
    for i in reversed(range(size)):
        value = forward[i] / pivot[i]
        for k in range(i + 1, size):
            value = value - lower[k][i] * answer[k]
        answer[i] = value
    return jnp.stack(answer, axis=-1)
