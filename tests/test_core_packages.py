"""The core rooms need few packages: with every other one blocked they train and personalise a person."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.deep

ROOT = Path(__file__).resolve().parents[1]
CORE = ["jax", "jaxlib", "flax", "optax", "orbax", "numpy", "scipy", "jaxtyping", "pydantic"]
BLOCKED = ["pandas", "sklearn", "matplotlib", "jinja2", "h5py", "ezc3d", "pyxdf", "typer", "onnx", "opensim"]
WORK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import pkgutil, importlib
import pitl.net, pitl.mechanics, pitl.signals, pitl.learn
for room in (pitl.net, pitl.mechanics, pitl.signals):
    for found in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
        if not found.ispkg:
            importlib.import_module(found.name)
from pitl import learn
people = pitl.simulate(subjects=3, seconds=6.0, rhythmic_trials=1, random_trials=0)
few = {"steps": 10, "check_every": 5, "batch": 32}
generic = pitl.train(people.without("V01"), train=few)
own = pitl.personalize(generic, people["V01"], personalize={"steps": 5})
answer = pitl.predict(own, people["V01"][0])
own.save(sys.argv[1])
assert pitl.Model.load(sys.argv[1]).subject == "V01"
try:
    answer.to_frame()
except pitl.errors.PitlError as e:
    print(e)
import json
print(json.dumps(pitl.score(answer, people["V01"][0]).angle_rmse_deg))
"""


def test_training_and_personalising_need_the_core_packages_alone(tmp_path):
    code = f"BLOCKED = {BLOCKED!r}\n{WORK}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "anna")], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *_, sentence, last = done.stdout.strip().splitlines()
    assert "pip install pandas" in sentence
    assert 0 < json.loads(last)["wrist_flexion"] < 180
