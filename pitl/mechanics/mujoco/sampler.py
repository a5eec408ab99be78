"""Asks MuJoCo where things are: the only file that talks to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pitl.errors import PitlError
from pitl.mechanics.sampling.probe import probe
from pitl.mechanics.sampling.sampler import Body, Muscle, Passive, Sampler, check_request, coordinate

_NO_LIMIT = 1e3  # rad, of a joint without a range


class MujocoSampler(Sampler):
    """A MuJoCo model; joints that are tied by polynomials follow the chosen ones."""

    def __init__(self, model: Any, coordinates: Sequence[str], held: dict[str, float], path: Path) -> None:
        mujoco = program()
        self.model, self.data, self.path, self.held = model, mujoco.MjData(model), path, held
        self.coordinates = ()
        self.program = f"MuJoCo {mujoco.__version__}"
        self._names = {j: _name(mujoco.mjtObj.mjOBJ_JOINT, model, j) for j in range(model.njnt)}
        self._joints = {name: j for j, name in self._names.items()}
        self._chosen = [self._joints[name] for name in coordinates]
        for name, value in held.items():
            self.data.qpos[model.jnt_qposadr[self._joints[name]]] = value
        self._tied = _ties(model, self._names, path)
        muscle = int(mujoco.mjtGain.mjGAIN_MUSCLE)
        self._muscles = {
            _name(mujoco.mjtObj.mjOBJ_ACTUATOR, model, a): a
            for a in range(model.nu)
            if model.actuator_gaintype[a] == muscle
        }

    def pose(self, q: np.ndarray) -> None:
        """Moves the model to q (D,) [rad]."""
        for j, value in zip(self._chosen, q, strict=True):
            self.data.qpos[self.model.jnt_qposadr[j]] = value
        for dependent, independent, polynomial in self._tied:
            start = self.model.qpos0[self.model.jnt_qposadr]  # rad or m, of each joint
            x = self.data.qpos[self.model.jnt_qposadr[independent]] - start[independent] if independent >= 0 else 0.0
            value = start[dependent] + np.polynomial.polynomial.polyval(x, polynomial)
            self.data.qpos[self.model.jnt_qposadr[dependent]] = value
        mujoco = program()
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_tendon(self.model, self.data)
        mujoco.mj_transmission(self.model, self.data)

    def lengths(self, muscles: Sequence[str]) -> np.ndarray:
        """Musculotendon lengths [m] in the present pose."""
        return np.array([self.data.actuator_length[self._muscles[m]] for m in muscles])

    def arms(self, muscle: str, along: Sequence[int] | None = None) -> np.ndarray:
        """Moment arms [m] in the present pose: MuJoCo's `actuator_moment`, through the joints that follow."""
        a, asked = self._muscles[muscle], range(len(self._chosen)) if along is None else along
        first, count = self.data.moment_rowadr[a], self.data.moment_rownnz[a]
        row = np.zeros(self.model.nv)
        row[self.data.moment_colind[first : first + count]] = self.data.actuator_moment[first : first + count]
        return np.array([-row @ self._direction(self._chosen[c]) for c in asked])

    def frames(self, bodies: Sequence[str]) -> np.ndarray:
        """Rotation | translation [m] (B, 3, 4) of bodies in the world, in the present pose."""
        index = [self._body_names().index(name) for name in bodies]
        rotation = self.data.xmat[index].reshape(-1, 3, 3)
        return np.concatenate([rotation, self.data.xpos[index][..., None]], axis=-1)

    def bodies(self) -> tuple[Body, ...]:
        """Every body, with the one it hangs on."""
        mujoco, names, model = program(), self._body_names(), self.model
        result = []
        for b in range(1, model.nbody):
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.body_iquat[b])
            axes = turn.reshape(3, 3)
            inertia = axes @ np.diag(model.body_inertia[b]) @ axes.T  # kg m2
            centre = model.body_ipos[b].copy()
            result.append(Body(names[b], names[model.body_parentid[b]], float(model.body_mass[b]), centre, inertia))
        return tuple(result)

    def gravity(self) -> np.ndarray:
        """(3,) [m/s2]."""
        return self.model.opt.gravity.copy()

    def muscle_names(self) -> tuple[str, ...]:
        """All muscles of the file."""
        return tuple(self._muscles)

    def muscle(self, name: str) -> Muscle:
        """Parameters of one muscle, from MuJoCo's operating range: L0 = (longest - shortest) / (r1 - r0)."""
        a = self._muscles[name]
        gain, shortest, longest = self.model.actuator_gainprm[a], *self.model.actuator_lengthrange[a]
        optimal = (longest - shortest) / (gain[1] - gain[0])  # m
        force = gain[2] if gain[2] >= 0 else gain[3] / self.model.actuator_acc0[a]  # N
        if not (optimal > 0 and np.isfinite(force)):
            raise PitlError(
                f"{self.path}: the muscle {name} has no lengthrange, so its fibre length is not known; give one in the "
                'file (lengthrange="SHORTEST LONGEST").'
            )
        slack = shortest - gain[0] * optimal  # m
        return Muscle(name, float(force), float(optimal), float(slack), 0.0, float(gain[6]), self._geometry(a))

    def muscles_off(self) -> tuple[str, ...]:
        """Muscles whose group the file disables (`actuatorgroupdisable`)."""
        off = self.model.opt.disableactuator
        group = self.model.actuator_group
        return tuple(m for m, a in self._muscles.items() if 0 <= group[a] < 31 and off & (1 << int(group[a])))

    def passive(self) -> Passive:
        """Damping and stiffness of the chosen joints."""
        model, dof = self.model, self.model.jnt_dofadr[self._chosen]
        rest = model.qpos_spring[model.jnt_qposadr[self._chosen]]
        linear = (model.dof_damping[dof], model.jnt_stiffness[self._chosen])
        damping, stiffness = (np.asarray(x, float).reshape(len(dof), -1)[:, 0] for x in linear)
        return Passive(damping, stiffness, np.array(rest) if stiffness.any() else None)

    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not taken over."""
        mujoco, model = program(), self.model
        moving = [self._names[j] for j in self._chosen if model.dof_armature[model.jnt_dofadr[j]] > 0]
        rubbing = [self._names[j] for j in self._chosen if model.dof_frictionloss[model.jnt_dofadr[j]] > 0]
        slack = [
            _name(mujoco.mjtObj.mjOBJ_TENDON, model, t) for t in range(model.ntendon) if model.tendon_stiffness[t].any()
        ]
        actuators = {_name(mujoco.mjtObj.mjOBJ_ACTUATOR, model, a): a for a in range(model.nu)}
        others = [name for name in actuators if name not in self._muscles]
        direct = [m for m, a in self._muscles.items() if model.actuator_trntype[a] != mujoco.mjtTrn.mjTRN_TENDON]
        sentences = [f"actuators that are no muscles are not taken over: {', '.join(others)}."] if others else []
        if direct:
            sentences.append(
                f"{', '.join(direct)} turn a joint without a tendon: their forces are torques [N m], their lengths "
                "angles [rad]."
            )
        parts = (("the armature", moving), ("the dry friction", rubbing), ("the spring of the tendon", slack))
        sentences += [f"{what} of {', '.join(names)} is not taken over." for what, names in parts if names]
        return tuple(sentences)

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Ranges [rad], or the file's."""
        own = {
            self._names[j]: tuple(self.model.jnt_range[j]) if self.model.jnt_limited[j] else (-_NO_LIMIT, _NO_LIMIT)
            for j in self._chosen
        }
        self.coordinates = tuple(coordinate(self.path, n, *ranges.get(n, own[n])) for n in own)

    def _direction(self, joint: int) -> np.ndarray:
        """How all velocities (V,) change with a chosen joint's."""
        result = np.zeros(self.model.nv)
        result[self.model.jnt_dofadr[joint]] = 1.0
        for dependent, independent, polynomial in self._tied:
            if independent >= 0 and (rate := result[self.model.jnt_dofadr[independent]]):
                at = self.model.jnt_qposadr[independent]
                x = self.data.qpos[at] - self.model.qpos0[at]
                slope = np.polynomial.polynomial.polyval(x, np.polynomial.polynomial.polyder(polynomial))
                result[self.model.jnt_dofadr[dependent]] = rate * slope
        return result

    def _body_names(self) -> list[str]:
        body = program().mjtObj.mjOBJ_BODY
        return ["ground", *(_name(body, self.model, b) for b in range(1, self.model.nbody))]

    def _geometry(self, actuator: int) -> str:
        mujoco, model = program(), self.model
        if model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_TENDON:
            return "is no tendon"
        tendon = model.actuator_trnid[actuator, 0]
        first = model.tendon_adr[tendon]
        around = (int(mujoco.mjtWrap.mjWRAP_SPHERE), int(mujoco.mjtWrap.mjWRAP_CYLINDER))
        parts = range(first, first + model.tendon_num[tendon])
        wraps = [
            _name(mujoco.mjtObj.mjOBJ_GEOM, model, int(model.wrap_objid[w]))
            for w in parts
            if model.wrap_type[w] in around
        ]
        return f"wraps {', '.join(wraps)}" if wraps else ""


def open_model(
    path: Path,
    coordinates: Sequence[str],
    held: Mapping[str, float] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> MujocoSampler:
    """Opens a model and puts every joint that is not chosen into its posture.

    Args:
        path: the .xml file (MJCF).
        coordinates: hinge joints to be kept free.
        held: values of other joints [rad or m]; the file's defaults where nothing is said.
        ranges: [rad] in place of the file's.

    Raises:
        PitlError: MuJoCo is missing, the file cannot be read or has no muscles, or a joint is unknown, tied, no hinge
            or without limits.
    """
    mujoco = program()
    path = Path(path)
    probe(path, "MuJoCo", "import mujoco\nmujoco.MjModel.from_xml_path(path)", 2)
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as e:
        reason = " ".join(str(e).split())
        raise PitlError(f"MuJoCo cannot read {path} as a model ({reason}); open it in MuJoCo to see why.") from e
    kinds = {_name(mujoco.mjtObj.mjOBJ_JOINT, model, j): int(model.jnt_type[j]) for j in range(model.njnt)}
    hinge, slide = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
    hinges = [name for name, kind in kinds.items() if kind == hinge]
    held, ranges = dict(held or {}), ranges or {}
    check_request(path, coordinates, list(kinds) if coordinates else hinges, held, ranges)
    for name in coordinates:
        if name not in hinges:
            raise PitlError(f"{name} of {path} is not a hinge; only hinge joints can be chosen.")
    for name in held:
        if kinds[name] not in (hinge, slide):
            raise PitlError(f"{name} of {path} has more than one coordinate and cannot be held by one number.")
    sampler = MujocoSampler(model, coordinates, held, path)
    if not sampler.muscle_names():
        raise PitlError(
            f'{path} has no muscles (actuators of the kind <muscle>, or <general gaintype="muscle">), so nothing '
            "pulls; add them in the file."
        )
    for dependent, _, _ in sampler._tied:
        if dependent in sampler._chosen:
            raise PitlError(
                f"{sampler._names[dependent]} of {path} follows another joint by an equality; choose the one that "
                "drives it."
            )
    sampler.set_ranges(ranges)
    return sampler


def _ties(model: Any, names: Mapping[int, str], path: Path) -> list[tuple[int, int, np.ndarray]]:
    """(dependent joint, the one it follows or -1, polynomial) of the equalities that are active."""
    mujoco = program()
    result = []
    for e in range(model.neq):
        if not model.eq_active0[e]:
            continue
        if model.eq_type[e] != mujoco.mjtEq.mjEQ_JOINT:
            kind = mujoco.mjtEq(int(model.eq_type[e])).name.removeprefix("mjEQ_").lower()
            name = _name(mujoco.mjtObj.mjOBJ_EQUALITY, model, e)
            raise PitlError(
                f"{path}: the equality {name} ({kind}) ties bodies in a way that cannot be followed; only joint "
                'equalities can: switch it off in the file (active="false").'
            )
        result.append((int(model.eq_obj1id[e]), int(model.eq_obj2id[e]), model.eq_data[e, :5].copy()))
    # what others follow comes first
    return sorted(result, key=lambda tie: _depth(tie[0], {d: i for d, i, _ in result}))


def _depth(joint: int, follows: Mapping[int, int]) -> int:
    count = 0
    while joint in follows and count <= len(follows):
        joint, count = follows[joint], count + 1
    return count


def _name(kind: Any, model: Any, index: int) -> str:
    """Of an object; MuJoCo allows none."""
    mujoco = program()
    word = kind.name.removeprefix("mjOBJ_").lower()
    return mujoco.mj_id2name(model, kind, index) or f"{word}{index}"


def program() -> Any:
    """The `mujoco` package.

    Raises:
        PitlError: it is not installed.
    """
    try:
        import mujoco
    except ImportError as e:
        raise PitlError("this needs MuJoCo's Python package; install it with: pip install 'pitl[mujoco]'") from e
    return mujoco
