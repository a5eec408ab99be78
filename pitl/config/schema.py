"""Every setting of a run, with its meaning, unit, default and limits."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pitl.config.methods import METHODS, Supervision


def _item(default: Any, description: str, unit: str = "", **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


class Section(BaseModel):
    """A frozen, closed part of the configuration; it can be hashed, so it may be a static argument."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        """TOML and JSON have lists; frozen sections, which are static arguments of compiled functions, need tuples."""
        if not isinstance(data, Mapping):
            return data
        return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


def _comma_separated(value: Any) -> Any:
    return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value


class DataConfig(Section):
    """Which recordings, and how they are divided."""

    kind: Literal["virtual", "uci", "cohort", "auto"] = _item(
        "virtual", "where recordings come from: simulated, the UCI set, a folder with a cohort.toml; auto looks at dir"
    )
    dir: str | None = _item(None, "folder with the recordings, relative to this file; also --data DIR")
    tasks: tuple[str, ...] = _item((), "tasks to use; empty means all")
    subjects: tuple[str, ...] = _item((), "subjects to use; empty means all")
    calibration_fraction: float = _item(
        0.4, "first part of each trial, used to personalise; 1 leaves no test part", "1", gt=0, le=1
    )
    calibration_repetitions: int = _item(
        0,
        "only the first so many repetitions of a calibration part count; 0, or a calibration of everything, is all",
        "1",
        ge=0,
    )
    labelled_fraction: float = _item(
        1.0, "first part of each calibration that has labels; physics alone sees the rest", "1", gt=0, le=1
    )
    gap_s: float = _item(0.5, "left out between calibration and test; at least one window is", "s", ge=0)
    test_after: float | None = _item(
        None, "where the test part of each trial begins; right after calibration and gap if not given", "1", gt=0, lt=1
    )
    offset: Literal["auto", "none"] = _item("auto", "find sign and zero of the angle from the calibration part, or not")
    offset_fraction: float | None = _item(
        None, "first part of each trial that shows sign and zero; the calibration part if not given", "1", gt=0, lt=1
    )
    overrides: dict[str, dict[str, Any]] = _item({}, "your decisions on single subjects or trials, by name")
    force_labels: Literal["recorded", "static_optimisation", "none"] = _item("recorded", "where force labels come from")
    angle_lowpass_hz: float = _item(6.0, "corner of the zero-phase smoothing of measured angles", "Hz", gt=0)

    _split = field_validator("tasks", "subjects", mode="before")(_comma_separated)

    @model_validator(mode="after")
    def _zero_before_test(self) -> Self:
        begins = self.test_after or self.calibration_fraction
        if self.offset_fraction is not None and self.offset_fraction > begins:
            raise ValueError(
                f"offset_fraction = {self.offset_fraction:g} looks into the test part, which begins at {begins:g}; "
                "lower it, or begin the test part later with test_after"
            )
        return self


class ModelConfig(Section):
    """The musculoskeletal model, where it is not the cohort's own joint."""

    name: str | None = _item(None, "wrist, knee, or a folder written by `pitl model import`; the cohort's if not given")
    slack: Literal["as_stored", "calibrated"] = _item(
        "as_stored", "tendon slack lengths; calibrated puts fibres near their plateau over the range"
    )
    electrodes: dict[str, tuple[str, ...]] = _item({}, "channels of muscles that are not called like their channel")
    damping: tuple[float, ...] = _item((), "of each coordinate, in place of the model's", "N m s/rad")
    stiffness: tuple[float, ...] = _item((), "of each coordinate, in place of the model's", "N m/rad")
    inertia_factor: float = _item(
        1.0,
        "wrong on purpose: times the bodies' mass, so inertia and weight together; truth and labels stay",
        "1",
        gt=0,
    )
    moment_arm_factor: float = _item(
        1.0, "wrong on purpose: times the muscles' moment arms; truth and labels stay", "1", gt=0
    )

    @field_validator("electrodes", mode="before")
    @classmethod
    def _tuples(cls, value: Any) -> Any:
        """One channel may be given as it is, several as a list."""
        if not isinstance(value, Mapping):
            return value
        return {k: (v,) if isinstance(v, str) else tuple(v) if isinstance(v, list) else v for k, v in value.items()}


class VirtualConfig(Section):
    """The virtual cohort; everything in it follows from the seed.

    The strengths multiply an effect that the learner does not model: 1 is the physiological default, 0 switches it off.
    They never change which random numbers are drawn, so two cohorts that differ in one strength hold the same people.
    """

    joint: Literal["wrist", "wrist2"] = _item("wrist", "wrist2 flexes and deviates, and can make efforts")
    dynamics: Literal["pitl", "mujoco"] = _item(
        "pitl", "mujoco lets MuJoCo simulate wrist2, with its own muscles, tendons and joints"
    )
    subjects: int = _item(8, "number of people", "1", ge=1)
    seed: int = _item(0, "of every random choice", ge=0)
    seconds: float = _item(20.0, "length of each trial", "s", gt=0)
    emg_rate_hz: float = _item(2000.0, "samples of raw EMG per second", "Hz", ge=1000)
    rhythmic_trials: int = _item(3, "rhythmic trials per person, from slow and wide to fast and narrow", "1", ge=0)
    random_trials: int = _item(1, "trials of random motion per person", "1", ge=0)
    hold_trials: int = _item(0, "trials of held targets per person", "1", ge=0)
    rest_trials: int = _item(0, "relaxed trials per person, the hand hangs", "1", ge=0)
    postures: tuple[str, ...] = _item(
        ("pronated", "pronated", "neutral", "pronated"), "of the trials in turn", min_length=1
    )
    effort_trials: int = _item(
        0,
        "isometric trials of wrist2 against a dynamometer: flexion, extension, radial, ulnar, co-contraction",
        "1",
        ge=0,
    )
    load_trials: int = _item(0, "trials of held targets with a known weight fixed to the hand", "1", ge=0)
    load_kg: tuple[Annotated[float, Field(gt=0)], ...] = _item((1.0,), "weights of these in turn", "kg", min_length=1)
    load_place_m: tuple[float, ...] = _item(
        (0.07,), "where they are along the hand from the wrist; negative is behind it", "m", min_length=1
    )
    load_postures: tuple[str, ...] = _item(("pronated",), "of these trials in turn", min_length=1)
    variation: float = _item(1.0, "spread between people; 0 makes everybody the generic model", "1", ge=0, le=1.5)
    friction: float = _item(1.0, "Coulomb-like friction of joint and sheaths", "1", ge=0)
    elastic_tendon: float = _item(1.0, "tendon strain; 0 leaves 4 % of it, as good as rigid", "1", ge=0)
    force_memory: float = _item(1.0, "force depression after shortening, enhancement after stretch", "1", ge=0)
    unrecorded_muscle: float = _item(1.0, "strength of palmaris longus, which has no electrode", "1", ge=0)
    end_stiffness: float = _item(1.0, "ligaments that stop the joint near the ends of its range", "1", ge=0)
    co_contraction: float = _item(1.0, "drive common to flexors and extensors", "1", ge=0)
    drive_noise: float = _item(1.0, "signal-dependent noise of the neural drive", "1", ge=0)
    cross_talk: float = _item(1.0, "neighbours' signals under an electrode", "1", ge=0)
    emg_nonlinearity: float = _item(1.0, "bend and angle dependence of EMG against drive", "1", ge=0)
    mvc_error: float = _item(1.0, "error of the recorded maximum voluntary contraction", "1", ge=0)
    measurement_noise: float = _item(1.0, "of goniometer and amplifier, mains hum, goniometer offset", "1", ge=0)


class EmgConfig(Section):
    """From raw EMG to the normalised envelope."""

    bandpass_hz: tuple[float, float] = _item((20.0, 450.0), "band that is kept of the raw EMG", "Hz")
    lowpass_hz: float = _item(4.0, "corner of the envelope's low-pass", "Hz", gt=0)
    lowpass_order: int = _item(4, "order of that low-pass; the second derivative needs 3", "1", ge=3, le=8)
    lowpass_kind: Literal["bessel", "butterworth"] = _item("bessel", "family of that low-pass; bessel rings less")
    normalisation: Literal["blend", "mvc", "trial_max", "zscore", "fixed"] = _item(
        "blend", "scale of each channel; blend is the geometric mean of the person's own and the fixed one"
    )
    shrink_scale: bool = _item(
        True, "shrink each channel's scale to the other people's by how much the calibration part tells of it"
    )
    fixed_scale_v: float = _item(5e-5, "the fixed scale", "V", gt=0)
    zscore_s: float = _item(10.0, "length of the running mean and deviation of zscore", "s", gt=0)
    rate_hz: float = _item(100.0, "samples of the envelope per second", "Hz", gt=0)

    @field_validator("bandpass_hz")
    @classmethod
    def _ordered(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 < band[0] < band[1]:
            raise ValueError(f"should be a low and a higher frequency above 0, not {band[0]:g} and {band[1]:g}")
        return band


class PerturbConfig(Section):
    """What goes wrong between calibration and use: done to the raw EMG of test parts alone. Nobody trains on it."""

    noise: float = _item(0.0, "white noise added, as a part of each channel's RMS in the calibration part", "1", ge=0)
    shift: float = _item(0.0, "part of each channel that comes from the next one, round and round", "1", ge=0, le=1)
    gain_spread: float = _item(0.0, "spread of a random gain of each channel, in logarithms", "1", ge=0)
    lost: int = _item(0, "channels that fall silent; people lose different ones in turn", "1", ge=0)
    seed: int = _item(0, "of noise and gains", ge=0)


class WindowConfig(Section):
    """What the network sees at once."""

    seconds: float = _item(0.4, "length of the window of envelopes that ends now", "s", gt=0)


class NetConfig(Section):
    """Shape of the network."""

    encoder: Literal["cnn", "gru"] = _item("cnn", "convolutions, or a gated recurrent unit that reads the window")
    channels: tuple[int, ...] = _item((16, 32), "channels of each convolution", "1", min_length=1)
    kernels: tuple[int, ...] = _item((5, 5), "kernel of each convolution", "samples", min_length=1)
    strides: tuple[int, ...] = _item((2, 2), "stride of each convolution", "samples", min_length=1)
    recurrent_state: int = _item(32, "numbers that the recurrent encoder remembers", "1", ge=1)
    recurrent_stride: int = _item(2, "the recurrent encoder reads one sample in so many", "samples", ge=1)
    features: int = _item(48, "outputs of the encoder", "1", ge=1)
    hidden: int = _item(48, "hidden units of the head", "1", ge=1)
    compression: float = _item(
        0.0, "normalised envelope above which the encoder's input is a logarithm; 0 leaves it linear", "1", ge=0
    )
    activation: Literal["tanh", "gelu", "softplus", "relu"] = _item(
        "tanh", "relu is an ablation: its second derivative is zero and inertia never trains"
    )
    nonnegative: bool = _item(True, "muscles only pull; false is an ablation whose forces may have any sign")

    @model_validator(mode="after")
    def _same_depth(self) -> Self:
        lengths = (len(self.channels), len(self.kernels), len(self.strides))
        if len(set(lengths)) > 1:
            raise ValueError(f"channels, kernels and strides need one entry per convolution; they have {lengths}")
        if min((*self.channels, *self.kernels, *self.strides)) < 1:
            raise ValueError("channels, kernels and strides should all be at least 1")
        return self


class TrainConfig(Section):
    """The generic model."""

    steps: int = _item(600, "optimiser steps", "1", ge=1)
    batch: int = _item(256, "windows per step", "1", ge=1)
    learning_rate: float = _item(2e-3, "at the start; falls along a cosine", "1", gt=0)
    weight_decay: float = _item(1e-4, "of AdamW", "1", ge=0)
    gain_augmentation: float = _item(0.3, "spread of random channel gains, in logarithms; 0 is off", "1", ge=0)
    channel_dropout: float = _item(
        0.0, "chance that a channel is silent in a batch, so that its loss is survived", "1", ge=0, lt=1
    )
    force_weight: float = _item(1.0, "weight of the force error; 0 learns without labels, which still judge", "1", ge=0)
    physics_weight: float = _item(0.1, "weight of the squared residual, in units of the torque's variance", "1", ge=0)
    physics_rows: float = _item(
        0.5,
        "part of a batch in which the equation of motion is looked at; all of it where the residual is weak or a Hill "
        "term is in the loss, which need it",
        "1",
        gt=0,
        le=1,
    )
    hill_weight: float = _item(0.0, "weight of the distance from an EMG-driven Hill model", "1", ge=0)
    hill_prior_weight: float = _item(3e-3, "pull of that model's parameters, learned with it, to 0", "1", ge=0)
    derivative: Literal["total", "time_input", "finite_difference"] = _item(
        "total", "recipe of velocity and acceleration; all but total are ablations"
    )
    residual: Literal["strong", "weak"] = _item("strong", "equation of motion pointwise, or averaged with a kernel")
    balance: Literal["fixed", "relobralo", "gradient_norm"] = _item(
        "fixed", "factors of the terms of the loss, beside their weights, that follow the course of training"
    )
    curriculum: int = _item(1, "levels of training, from smoothed recordings to the recordings as they are", "1", ge=1)
    curriculum_hz: float = _item(1.0, "corner of the smoothing at the first level; doubles at each", "Hz", gt=0)
    patience: int = _item(
        0, "checks without improvement on held-out people before it stops; 0 holds nobody out", "checks", ge=0
    )
    check_every: int = _item(100, "steps between looks at the loss", "steps", ge=1)
    holdout_fraction: float = _item(0.2, "part of the source people kept out where patience is given", "1", gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _all_rows_where_needed(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "physics_rows" in data:
            return data
        hill = data.get("hill_weight", 0.0)
        needed = data.get("residual") == "weak" or (isinstance(hill, int | float) and hill > 0)
        return {**data, "physics_rows": 1.0} if needed else data

    @model_validator(mode="after")
    def _rows_stand_alone(self) -> Self:
        if self.physics_rows < 1 and (self.residual == "weak" or self.hill_weight > 0):
            raise ValueError(
                "physics_rows below 1 goes with residual = 'strong' and hill_weight = 0: the weak residual needs "
                "contiguous rows, and the Hill term all of them; set physics_rows = 1"
            )
        return self

    @model_validator(mode="after")
    def _every_level_is_reached(self) -> Self:
        least = self.curriculum * self.check_every
        if self.curriculum > 1 and self.steps < least:
            raise ValueError(
                f"a curriculum of {self.curriculum} levels changes at checks and needs {least} steps at least "
                f"(curriculum times check_every), not {self.steps}; lower check_every"
            )
        return self


class PersonalizeConfig(Section):
    """The personalised models."""

    deviation: bool = _item(
        True, "the angle is the generic model's plus a Gaussian process whose prior enough other people taught"
    )
    steps: int = _item(300, "optimiser steps", "1", ge=1)
    learning_rate: float = _item(5e-3, "at the start; falls along a cosine", "1", gt=0)
    l2_to_generic: float = _item(1e-2, "pull of the head towards the generic one", "1", ge=0)
    angle_weight: float = _item(1.0, "weight of the angle error, in units of its variance", "1", ge=0)
    force_weight: float = _item(1.0, "weight of the force error, in units of its variance", "1", ge=0)
    physics_weight: float = _item(0.1, "weight of the squared residual, in units of the torque's variance", "1", ge=0)
    residual: Literal["weak", "strong"] = _item("weak", "equation of motion averaged with a kernel, or pointwise")
    unfreeze: Literal["nothing", "features", "encoder"] = _item(
        "nothing", "what of the encoder trains with the head: its last layer (features), or all of it"
    )
    along: Literal["predicted", "measured"] = _item("predicted", "motion along which the weak residual is taken")
    batch: int = _item(512, "most windows of a person per step, chosen at random", "1", ge=64)
    scaled: bool = _item(True, "modified physics: masses, lengths and strengths of the person's own size")
    learnable: bool = _item(True, "modified physics: corrections of the model train together with the head")
    unlabelled: bool = _item(True, "modified physics: the residual also sees recordings without labels")
    muscle: bool = _item(
        False, "modified physics: forces are drawn to those of muscles fitted by the equation of motion"
    )
    muscle_fitted: bool = _item(
        True, "the equation of motion fits these muscles; false leaves them at the source people's mean, the control"
    )
    muscle_weight: float = _item(0.3, "weight of the distance from these forces, in units of their variance", "1", ge=0)
    prior_weight: float = _item(1e-2, "pull of the corrections towards 1", "1", ge=0)
    weak_kernel_s: float = _item(0.06, "length of the kernel of the weak residual", "s", gt=0)


class HillConfig(Section):
    """The calibrated EMG-driven model."""

    steps: int = _item(400, "optimiser steps", "1", ge=1)
    learning_rate: float = _item(0.05, "at the start, in z-scores; falls along a cosine", "1", gt=0)
    prior_weight: float = _item(3e-3, "pull of the muscles' parameters to those of the model", "1", ge=0)
    people_weight: float = _item(5e-2, "the same, in the muscle part, to those of the source people", "1", ge=0)
    share: float = _item(
        0.25,
        "part of the fitted muscles in the forces that a head learns; the rest is the generic model's",
        "1",
        ge=0,
        le=1,
    )


# Without being asked for; the other methods cost more time or are there for studies.
_COMPARED: tuple[str, ...] = (
    "generic_data",
    "generic_physics",
    "gain_offset",
    "head_data",
    "head_physics",
    "deviation",
    "scratch",
    "ridge",
    "emg_driven_measured",
)


def known_methods(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of methods, if they are.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(METHODS)}"
            raise ValueError(f"should name methods of the comparison, not '{name}'; {hint}")
    return names


class EvaluateConfig(Section):
    """The comparison."""

    seeds: int = _item(1, "repetitions with other random numbers", "1", ge=1)
    folds: Literal["loso"] | int = _item("loso", "groups of people left out in turn; loso leaves out one at a time")
    sources: int | None = _item(
        None, "people to train on, hold out included; all that are not left out if not given", "1", ge=2
    )
    methods: tuple[str, ...] = _item(_COMPARED, "what is compared", min_length=1)
    supervision: tuple[Supervision, ...] = _item(
        ("angle_force", "angle"), "labels that personalisation may use, each in turn", min_length=1
    )
    primary: tuple[str, str] = _item(
        ("deviation", "generic_physics"),
        "the primary comparison, tested by itself: a method, and the method that it is compared with",
    )
    lost_channels: bool = _item(True, "also measure what the loss of each EMG channel costs the personalised models")
    intervals: bool = _item(True, "also put intervals around the personalised answers and count how many hold")

    _split = field_validator("methods", "supervision", "primary", mode="before")(_comma_separated)

    @field_validator("methods", "primary")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_methods(value)

    @field_validator("folds")
    @classmethod
    def _at_least_two(cls, value: Any) -> Any:
        if value != "loso" and value < 2:
            raise ValueError(f'should be "loso" or a number of at least 2, not {value}')
        return value


class Config(Section):
    """Everything that decides a run's numbers."""

    name: str = _item("unnamed", "of the run and its folder; that of the file if not given", pattern=r"^[\w.-]+$")
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    virtual: VirtualConfig = Field(default_factory=VirtualConfig)
    emg: EmgConfig = Field(default_factory=EmgConfig)
    perturb: PerturbConfig = Field(default_factory=PerturbConfig)
    window: WindowConfig = Field(default_factory=WindowConfig)
    net: NetConfig = Field(default_factory=NetConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    personalize: PersonalizeConfig = Field(default_factory=PersonalizeConfig)
    hill: HillConfig = Field(default_factory=HillConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
