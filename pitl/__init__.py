"""Muscle forces and joint motion from surface EMG, personalised in seconds.

    people  = pitl.load("recordings")                    # who was left out and why: people.left_out
    generic = pitl.train(people.without("anna"))         # a network that learned many people under physics
    anna    = pitl.personalize(generic, people["anna"])  # its inference part, fitted to one person
    answer  = pitl.predict(anna, people["anna"][0])      # .time_s .angle .force .torque .to_sto() .to_frame()
    pitl.score(answer, people["anna"][0])                # RMSE, R2 per coordinate and muscle
    anna.save("anna"); anna = pitl.Model.load("anna")

The names below are the whole promise. Nothing is imported before it is used. Where to change what: the limb's equation
of motion is `pitl.mechanics`, filters and normalisation `pitl.signals`, the network `pitl.net`, the loss
`pitl.learn.loss`, what else is compared with the method `pitl.comparison`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# LAPACK factors matrices of a hundred rows here: its threads would wait for one another, ten times as long on a machine
# that does something else as well. Read when NumPy and SciPy are loaded; see `pitl.files.one_lapack_thread`
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.2.0"
__all__ = [
    "Cohort",
    "Model",
    "Prediction",
    "check",
    "compare",
    "load",
    "personalize",
    "predict",
    "score",
    "simulate",
    "train",
]

if TYPE_CHECKING:
    from pitl.comparison.run import compare as compare
    from pitl.data.checks.quality import check_recordings as check
    from pitl.data.load import load_folder as load
    from pitl.data.load import simulate
    from pitl.data.recording import Cohort as Cohort
    from pitl.learn.api import personalize_model as personalize
    from pitl.learn.api import predict as predict
    from pitl.learn.api import score as score
    from pitl.learn.api import train_model as train
    from pitl.learn.model import Model as Model
    from pitl.learn.predict import Prediction as Prediction

_WHERE = {
    "Cohort": ("data.recording", "Cohort"),
    "Model": ("learn.model", "Model"),
    "Prediction": ("learn.predict", "Prediction"),
    "check": ("data.checks.quality", "check_recordings"),
    "compare": ("comparison.run", "compare"),
    "load": ("data.load", "load_folder"),
    "personalize": ("learn.api", "personalize_model"),
    "predict": ("learn.api", "predict"),
    "score": ("learn.api", "score"),
    "simulate": ("data.load", "simulate"),
    "train": ("learn.api", "train_model"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pitl' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _WHERE[name]
    value = getattr(import_module(f"pitl.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
