"""The commands that make and show musculoskeletal models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pitl.cli import shell
from pitl.errors import PitlError

if TYPE_CHECKING:
    from rich.table import Table

    from pitl.mechanics.sampling.paths import PathFit

model = typer.Typer(no_args_is_help=True, help="Make a musculoskeletal model from another program's, or look at one.")


@model.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="MODEL", help="OpenSim (.osim) or MuJoCo (.xml) model, best scaled to the person.")
    ],
    coordinates: Annotated[
        str, typer.Option("--coordinates", metavar="C1[,C2...]", help="Joint angles that move; the others are held.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write the model to.")],
    muscles: Annotated[
        str, typer.Option("--muscles", metavar="M1[,M2...]|all", help="Muscles; all that cross the coordinates.")
    ] = "all",
    posture: Annotated[
        list[str] | None,
        typer.Option("--posture", metavar="[NAME:]COORD=DEG", help="Where a held coordinate stays; repeat for others."),
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="COORD=LOW:HIGH", help="Range of a coordinate [deg], in place of the file's."),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="BODY=KG@X,Y,Z", help="Small mass fixed to a body at a place [m]."),
    ] = None,
    accept: Annotated[
        str, typer.Option("--accept", metavar="M1[,M2...]", help="Muscles to take although they fit badly.")
    ] = "",
) -> None:
    """Sample an OpenSim or MuJoCo model into one that needs neither.

    Musculotendon lengths become smooth functions of the coordinates, with moment arms as their exact derivatives;
    bodies keep their masses and inertias. Small jumps of a path are smoothed, and a muscle that cannot be followed
    within 1 mm is left out: each is named with the reason. With --range give what your recordings visit. Signs of the
    coordinates are the file's.

    \b
    Examples:
      pitl model import arm26.osim --coordinates r_shoulder_elev,r_elbow_flex --range r_shoulder_elev=-90:28 --out arm
      pitl model import leg.osim --coordinates knee_angle_r --posture seated:hip_flexion_r=85 \\
          --posture standing:hip_flexion_r=0 --out knee
    """
    with shell.sentences():
        console = shell.console()
        from pitl.mechanics import importing, library
        from pitl.mechanics.sampling.convert import load_bodies

        with console.status("sampling") as status:
            imported = importing.import_model(
                file,
                _names(coordinates),
                ranges=_ranges(range_ or []),
                muscles=None if muscles == "all" else _names(muscles),
                postures=_postures(posture or []),
                accept=_names(accept),
                progress=status.update,
            )
        console.print(_fit_table(imported.fits))
        for sentence in imported.sentences:
            console.print(f"Note: {sentence}", soft_wrap=True, markup=False)
        imported = load_bodies(imported, _weights(weight or []))
        library.save(out, imported.model, imported.about)
        console.print(f"Wrote {out}: {_summary(imported.model)}", soft_wrap=True)


@model.command()
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="wrist, wrist2, knee, or a folder written by `import`.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.png", help="Picture to write.")] = None,
) -> None:
    """Draw a model's lengths, moment arms and torque capacity.

    \b
    Examples:
      pitl model show wrist
      pitl model show arm --out arm.png
    """
    with shell.sentences():
        from pitl.files import atomic_write_bytes
        from pitl.mechanics import library
        from pitl.report import mechanics

        chosen = library.load(name)
        picture = out or Path(f"{Path(name).name}.png")
        atomic_write_bytes(picture, mechanics.png(chosen))
        console = shell.console()
        console.print(_summary(chosen), soft_wrap=True)
        console.print(mechanics.muscle_table(chosen))
        console.print(f"Picture: {picture}", soft_wrap=True)


def _summary(chosen: object) -> str:
    from pitl.mechanics.model import MusculoskeletalModel, body_properties

    assert isinstance(chosen, MusculoskeletalModel)
    mass = ", ".join(f"{name} {m:.3g} kg" for name, m in zip(chosen.bodies, body_properties(chosen).mass, strict=True))
    return (
        f"{chosen.name} ({chosen.source}): {', '.join(chosen.dofs)}; {len(chosen.muscles)} muscles; "
        f"postures {', '.join(chosen.postures)}; bodies {mass}."
    )


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _postures(items: list[str]) -> dict[str, dict[str, float]] | None:
    from math import radians

    result: dict[str, dict[str, float]] = {}
    for item in items:
        name, _, setting = item.rpartition(":")
        coordinate, value = _setting(setting, "--posture", "seated:hip_flexion_r=85")
        result.setdefault(name or "default", {})[coordinate] = radians(_number(value, item))
    return result or None


def _ranges(items: list[str]) -> dict[str, tuple[float, float]]:
    from math import radians

    result = {}
    for item in items:
        coordinate, value = _setting(item, "--range", "knee_angle_r=0:90")
        low, colon, high = value.partition(":")
        if not colon:
            raise PitlError(f"--range {item} should be two angles in degrees, such as knee_angle_r=0:90.")
        result[coordinate] = (radians(_number(low, item)), radians(_number(high, item)))
    return result


def _weights(items: list[str]) -> list[tuple[str, float, tuple[float, ...]]]:
    result = []
    for item in items:
        body, value = _setting(item, "--weight", "hand=0.5@0,-0.05,0")
        mass, _, place = value.partition("@")
        at = tuple(_number(v, item) for v in place.split(",")) if place else ()
        if len(at) != 3:
            raise PitlError(f"--weight {item} should be a mass [kg] and a place [m], such as hand=0.5@0,-0.05,0.")
        result.append((body, _number(mass, item), at))
    return result


def _setting(item: str, option: str, example: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals or not key or not value:
        raise PitlError(f"{option} {item} should look like {option} {example}.")
    return key, value


def _number(text: str, item: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise PitlError(f"{text!r} in {item} is not a number.") from e


def _fit_table(fits: "tuple[PathFit, ...]") -> "Table":
    from rich.table import Table

    table = Table(title="worst difference from the file's program at random poses", title_justify="left")
    for heading in ("muscle", "across", "nodes", "length mm", "moment arm mm", "of a range of mm", "fits"):
        table.add_column(heading, justify="right" if "mm" in heading else "left")
    for f in fits:
        numbers = (f"{f.length_error_mm:.3f}", f"{f.arm_error_mm:.3f}", f"{f.arm_range_mm:.1f}")
        nodes = " x ".join(map(str, f.nodes))
        follows = "smoothed" if f.smoothed else "yes" if f.accepted else "no"
        table.add_row(f.muscle, ", ".join(f.coordinates), nodes, *numbers, follows)
    return table


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(model, name="model")
