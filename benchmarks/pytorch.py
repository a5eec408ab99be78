"""The other side: the same network, loss and equation of motion in PyTorch, as a good user writes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from pitl.learn.loss import Problem
from pitl.mechanics import dynamics
from pitl.net.network import Network


class Wrist:
    """The equation of motion of one hinge for several people, with the numbers of their models."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        models: Any = problem.limbs

        def put(x: Any) -> torch.Tensor:
            return torch.tensor(np.asarray(x), dtype=torch.float32, device=device)

        people = len(models.damping)
        at = np.array([0.0, np.pi / 2], np.float32)[:, None]  # gravity of a hinge is a sine: two angles tell it
        postures = len(models.postures)
        one = [jax.tree.map(lambda x, s=s: x[s], models) for s in range(people)]
        gravity = [[[dynamics.gravity_torque(m, a[None], p)[0, 0] for a in at] for p in range(postures)] for m in one]
        self.inertia = put([dynamics.mass_matrix(m, jnp.zeros((1, 1)))[0, 0, 0] for m in one])  # kg m2
        self.gravity = put(gravity)  # N m
        self.damping, self.stiffness = put(models.damping[:, 0]), put(models.stiffness[:, 0])
        self.rest = put(models.rest_angle[:, :, 0])  # rad
        self.limits = put(models.limit_angle[:, 0])  # rad
        self.limit_stiffness = put(models.limit_stiffness[:, 0])
        self.range = put(models.angle_range[0, 0])  # rad
        self.path_scale = put(models.path_scale)
        self.table = put(models.path_coefficients[0][0])  # (P, N, M) m
        group = models.paths[0]
        self.start, self.step, self.count = group.start[0], group.step[0], group.count[0]

    def moment_arm(self, q: torch.Tensor, subject: torch.Tensor, posture: torch.Tensor) -> torch.Tensor:
        """(B, M) [m] from the cubic splines of musculotendon length."""
        u = (q.clamp(self.range[0], self.range[1]) - self.start) / self.step
        left = u.floor().clamp(0, self.count - 2)
        t = (u - left)[:, None]
        s = 1 - t
        slope = torch.cat([-(s**2), 3 * t**2 - 4 * t, -3 * s**2 + 4 * s, t**2], dim=1) / (2 * self.step)
        index = left.long()[:, None] + torch.arange(4, device=q.device)
        rows = self.table[posture[:, None], index]  # (B, 4, M)
        return -(rows * slope[..., None]).sum(1) * self.path_scale[subject]

    def residual(
        self,
        q: torch.Tensor,
        qd: torch.Tensor,
        qdd: torch.Tensor,
        force: torch.Tensor,
        subject: torch.Tensor,
        posture: torch.Tensor,
    ) -> torch.Tensor:
        """(B,) [N m]."""
        gravity = self.gravity[subject, posture]
        low, high = self.limits[subject].unbind(1)
        soft = 0.05  # rad
        softplus = torch.nn.functional.softplus
        beyond = soft * (softplus((q - high) / soft) - softplus((low - q) / soft))
        passive = self.damping[subject] * qd + self.stiffness[subject] * (q - self.rest[subject, posture])
        passive = passive + self.limit_stiffness[subject] * beyond
        muscle = (self.moment_arm(q, subject, posture) * force).sum(1)
        weight = gravity[:, 0] * torch.cos(q) + gravity[:, 1] * torch.sin(q)
        return self.inertia[subject] * qdd + weight + passive - muscle


class Net(torch.nn.Module):
    """Encoder and head, with the parameters of a JAX network."""

    def __init__(self, net: Network, params: Any, problem: Problem) -> None:
        super().__init__()
        convolutions = []
        for n, stride in enumerate(net.strides):
            layer = params["encoder"]["convolutions"][str(n)]
            taps, inputs, filters = layer["w"].shape
            made = torch.nn.Conv1d(inputs, filters, taps, stride)
            with torch.no_grad():
                made.weight.copy_(torch.tensor(np.asarray(layer["w"])).permute(2, 1, 0))
                assert made.bias is not None
                made.bias.copy_(torch.tensor(np.asarray(layer["b"])))
            convolutions.append(made)
        self.convolutions = torch.nn.ModuleList(convolutions)
        self.features = _linear(params["encoder"]["features"])
        self.hidden, self.angle, self.force = (_linear(params["head"][k]) for k in ("hidden", "angle", "force"))
        self.angle_scale: torch.Tensor
        self.angle_mean: torch.Tensor
        self.strength: torch.Tensor
        for name, value in (
            ("angle_scale", problem.scale.angle_std),
            ("angle_mean", problem.scale.angle_mean),
            ("strength", problem.scale.strength),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(value)))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, L) -> (B, Z)."""
        for convolution in self.convolutions:
            x = torch.tanh(convolution(x))
        return torch.tanh(self.features(x.transpose(1, 2).flatten(1)))

    def forward(self, x: torch.Tensor, posture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Angle (B,) [rad] and forces (B, M) [N]."""
        h = torch.tanh(self.hidden(torch.cat([self.encode(x), posture], dim=1)))
        angle = self.angle(h)[:, 0] * self.angle_scale + self.angle_mean
        return angle, self.strength * torch.nn.functional.softplus(self.force(h))


def _linear(layer: Any) -> torch.nn.Linear:
    inputs, outputs = layer["w"].shape
    made = torch.nn.Linear(inputs, outputs)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(np.asarray(layer["w"])).T)
        made.bias.copy_(torch.tensor(np.asarray(layer["b"])))
    return made


class Batches:
    """Recordings on the device, windows gathered by index, as the JAX side has them."""

    def __init__(self, net: Network, problem: Problem, device: torch.device) -> None:
        s = problem.samples
        self.window, self.postures = net.window, net.postures
        self.jets, self.angle, self.force = (
            torch.tensor(np.asarray(v), device=device) for v in (s.jets, s.angle, s.force)
        )
        self.posture, self.subject = (
            torch.tensor(np.asarray(v), dtype=torch.long, device=device) for v in (s.posture, s.subject)
        )

    def windows(self, rows: torch.Tensor, order: int) -> torch.Tensor:
        """(J, B, C, L)."""
        at = rows[:, None] + torch.arange(1 - self.window, 1, device=rows.device)
        return self.jets[at, :order].permute(2, 0, 3, 1).contiguous()

    def context(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(self.posture[rows], self.postures).float()


Motion = Callable[[Net, torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]


def double_backward(model: Net, windows: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Angle, its first and second derivative along the recording, forces: reverse over reverse."""
    time = torch.zeros(windows.shape[1], device=windows.device, requires_grad=True)
    tau = time[:, None, None]
    angle, force = model(windows[0] + tau * windows[1] + 0.5 * tau**2 * windows[2], context)
    (rate,) = torch.autograd.grad(angle.sum(), time, create_graph=True)
    (acceleration,) = torch.autograd.grad(rate.sum(), time, create_graph=True)
    return angle, rate, acceleration, force


def nested_jvp(model: Net, windows: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same by forward mode over forward mode (torch.func)."""

    def at(tau: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = tau[:, None, None]
        return model(windows[0] + t * windows[1] + 0.5 * t**2 * windows[2], context)

    def moving(tau: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        result: Any = torch.func.jvp(at, (tau,), (torch.ones_like(tau),))
        (angle, force), (rate, _) = result
        return angle, rate, force

    still = torch.zeros(windows.shape[1], device=windows.device)
    result: Any = torch.func.jvp(moving, (still,), (torch.ones_like(still),))
    (angle, rate, force), (_, acceleration, _) = result
    return angle, rate, acceleration, force


def total(
    model: Net, problem: Problem, wrist: Wrist, data: Batches, rows: torch.Tensor, motion: Motion | None
) -> torch.Tensor:
    """The loss of a batch: data terms, and with `motion` the equation of motion too."""
    w = [float(v) for v in problem.weights]
    units = [torch.tensor(np.asarray(v), device=rows.device) for v in problem.spread]
    context = data.context(rows)
    windows = data.windows(rows, 3 if motion else 1)
    if motion is None:
        angle, force = model(windows[0], context)
    else:
        angle, rate, acceleration, force = motion(model, windows, context)
    value = w[0] * (((angle - data.angle[rows, 0]) / units[0]) ** 2).mean()
    value = value + w[1] * (((force - data.force[rows]) / units[1]) ** 2).mean()
    if motion is None:
        return value
    left = wrist.residual(angle, rate, acceleration, force, data.subject[rows], data.posture[rows])
    return value + w[2] * ((left / units[2]) ** 2).mean()


def stepper(
    net: Network, model: Net, problem: Problem, rows: torch.Tensor, motion: Motion | None, compiled: bool = False
) -> Callable[[], float]:
    """A function that takes one optimiser step for each row of `rows` (K, B) and returns the last loss."""
    device = rows.device
    wrist, data = Wrist(problem, device), Batches(net, problem, device)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-3, fused=True)
    value = torch.compile(total) if compiled else total

    def run() -> float:
        last = torch.zeros(())
        for batch in rows:
            optimiser.zero_grad(set_to_none=True)
            last = value(model, problem, wrist, data, batch, motion)
            last.backward()
            optimiser.step()
        return float(last.detach())

    return run
