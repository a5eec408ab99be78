"""What a virtual cohort is asked to be."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class VirtualSettings(BaseModel):
    """How many people, what they do, and how strongly each effect that the learner does not model is present.

    The strengths multiply the effect: 1 is the physiological default, 0 switches it off. They never change which
    random numbers are drawn, so two cohorts that differ in one strength hold the same people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subjects: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)
    emg_rate_hz: float = Field(default=2000.0, ge=1000.0)
    seconds: float = Field(default=15.0, gt=0.0)  # per trial

    rhythmic_trials: int = Field(default=3, ge=0)  # from slow and wide to fast and narrow
    random_trials: int = Field(default=1, ge=0)  # an unpredictable smooth target
    hold_trials: int = Field(default=0, ge=0)  # steps between targets that are held
    rest_trials: int = Field(default=0, ge=0)  # relaxed, the hand hangs
    postures: tuple[str, ...] = (
        "pronated",
        "pronated",
        "neutral",
        "pronated",
    )  # trial k takes entry k modulo their number

    # held targets with a known weight fixed to the hand; trial k takes entry k modulo their number, of each
    load_trials: int = Field(default=0, ge=0)
    load_kg: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    # along the hand from the wrist; negative is behind it, as with a bar that reaches back: the weight lifts the hand
    load_place_m: tuple[float, ...] = Field(default=(0.07,), min_length=1)
    load_postures: tuple[str, ...] = Field(default=("pronated",), min_length=1)

    variation: float = Field(default=1.0, ge=0.0, le=1.5)  # spread between people; 0 makes everybody the generic model
    friction: float = Field(default=1.0, ge=0.0)  # Coulomb-like friction of joint and sheaths
    elastic_tendon: float = Field(
        default=1.0, ge=0.0
    )  # tendon strain; 0 leaves 4 % of it, stiff enough to count as rigid
    force_memory: float = Field(default=1.0, ge=0.0)  # force depression after shortening, enhancement after stretch
    unrecorded_muscle: float = Field(default=1.0, ge=0.0)  # strength of palmaris longus, which has no electrode
    end_stiffness: float = Field(default=1.0, ge=0.0)  # ligaments that stop the joint near the ends of its range
    co_contraction: float = Field(default=1.0, ge=0.0)  # drive common to flexors and extensors
    drive_noise: float = Field(default=1.0, ge=0.0)  # signal-dependent noise of the neural drive
    cross_talk: float = Field(default=1.0, ge=0.0)  # neighbours' signals under an electrode
    emg_nonlinearity: float = Field(default=1.0, ge=0.0)  # bend and angle dependence of EMG against drive
    mvc_error: float = Field(default=1.0, ge=0.0)  # error of the recorded maximum voluntary contraction
    measurement_noise: float = Field(default=1.0, ge=0.0)  # of goniometer and amplifier, mains hum, goniometer offset
