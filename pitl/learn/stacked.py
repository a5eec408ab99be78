"""Trees of several people, stacked in front of every array, taken apart and put together.

On the host: on the device every shape would be a program of its own, which takes longer to compile than to run.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def take(tree: Any, person: Any) -> Any:
    """One person's tree (a number), those of some (a slice or numbers), or one with a front of its own (None).

    NumPy's arrays stay NumPy's.
    """

    def index(x: Any) -> Any:
        if isinstance(x, Tracer) or isinstance(person, Tracer):  # part of a program already
            return jnp.asarray(x)[person]
        return x[person] if isinstance(x, np.ndarray) else jax.device_put(np.asarray(x)[person])

    return jax.tree.map(index, tree)


def repeat(tree: Any, count: int) -> Any:
    """The same tree for so many people."""
    return stack([tree] * count)


def stack(trees: Iterable[Any]) -> Any:
    """Trees of the same shape as one, stacked in front; NumPy's arrays stay NumPy's."""

    def join(*leaves: Any) -> Any:
        whole = np.stack([np.asarray(x) for x in leaves])
        return whole if isinstance(leaves[0], np.ndarray) else jax.device_put(whole)

    return jax.tree.map(join, *trees)
