"""The page of a study stands alone and says what the table says; targets are judged by the table alone."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import targets
from pitl import report
from pitl.comparison import statistics
from pitl.comparison.study import table
from pitl.config.schema import DataConfig
from pitl.config.toml import Config
from pitl.errors import PitlError
from pitl.report import study as page
from pitl.report import words

PEOPLE = tuple(f"V{n:02d}" for n in range(1, 11))
LEVEL = {  # angle error [deg] and ratio of force and torque errors to the generic model's
    ("generic_physics", "none"): (15.0, 1.0),
    ("gain_offset_shrunk", "angle"): (11.0, 1.0),
    ("scratch", "angle"): (9.0, None),
    ("head_data", "angle"): (8.5, 1.1),
    ("head_physics", "angle"): (8.0, 0.68),
}


def row(subject, method, grade, angle, ratio, **changes):
    force = None if ratio is None else 10.0 * ratio
    base = dict.fromkeys((*table.CELL, *table.ANSWER), "")
    return base | {
        "cell": "virtual", "cohort": "virtual", "role": "main", "subject": subject, "task": "all", "method": method,
        "supervision": grade, "seed": 0, "angle_rmse_deg": angle, "angle_nrmse": angle / 100, "angle_r": 0.9,
        "angle_r2": 1 - angle / 40, "force_rmse_n": force, "force_nrmse": ratio, "force_r2": None,
        "torque_rmse_nm": ratio,
        "residual_nm": 0.1, "seconds": 1.0, "calibration_s": 8.0, "test_rows": 100, "test_mark": "a",
        **dict.fromkeys(table.COVERAGE), "forces": "truth",
        "device": "cpu x2", "code": "c0de",
    } | changes  # fmt: skip


def rows(levels=LEVEL, **changes):
    rng = np.random.default_rng(0)
    own = dict(zip(PEOPLE, rng.uniform(0.8, 1.2, len(PEOPLE)), strict=True))
    noise = lambda: rng.uniform(0.99, 1.01)  # noqa: E731
    return [
        row(p, method, grade, angle * own[p] * noise(), None if ratio is None else ratio * own[p] * noise(), **changes)
        for (method, grade), (angle, ratio) in levels.items()
        for p in PEOPLE
    ]


def everything():
    result = rows()
    for x, seconds, generic in (("0.1", 2.0, 7.0), ("0.4", 8.0, 15.0)):
        levels = LEVEL | {("generic_physics", "none"): (generic, 1.0)}
        result += rows(levels, cell=f"cal-{x}", role="curve", curve="cal", x=x, calibration_s=seconds)
    worse = {("head_physics", "angle"): (12.0, 1.4), ("pi_cnn", "angle"): (20.0, 1.4)}
    result += rows(worse, cell="ablations-relu", role="ablation")
    return result


FAILURE = {"cell": "bad-1", "seed": 0, "method": "scratch", "supervision": "angle", "why": "it broke <here>"}


def about(**changes):
    config = Config(data=DataConfig(kind="virtual")).model_dump(mode="json")
    main = {"name": "virtual", "cohort": "virtual", "role": "main", "curve": "", "x": "", "title": "Wrists", "seeds": 1}
    curve = {"name": "cal", "cell": "virtual", "keys": ["data.calibration_fraction"], "title": "Length", "unit": ""}
    return {
        "schema": 1, "name": "s", "title": "A study", "about": "", "method": "head_physics", "grade": "angle",
        "cells": [main | {"config": config}], "judged": ["virtual"], "curves": [curve],
        "left_out": ["uci: <no folder>"],
        "failures": [FAILURE],
        "missing": 2, "environment": {"jax": "0.10"}, "processes": 1, "wall_seconds": 90.0, "command": "pitl study s",
    } | changes  # fmt: skip


@pytest.fixture
def out(tmp_path):
    table.write(tmp_path / table.FILE, (*table.CELL, *table.ANSWER), everything())
    (tmp_path / "study.json").write_text(json.dumps(about()))
    return tmp_path


def test_the_table_comes_back_as_it_was_written(out):
    for a, b in zip(everything(), table.read(out / table.FILE), strict=True):
        for key, value in a.items():
            assert b[key] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def test_the_page_stands_alone_and_names_what_failed(out):
    text = report.write(out).read_text()
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "")
    assert "it broke &lt;here&gt;" in text and "&lt;no folder&gt;" in text and "2 results are not made yet" in text
    assert text.count("<svg") >= 6 and "ablations-relu" in text and "90.0 s" in text
    assert "The test part is the same at every point" in text


def test_a_test_part_that_moved_along_a_curve_is_said(out):
    moved = [r | {"test_mark": "b"} if (r["x"], r["subject"]) == ("0.1", "V03") else r for r in everything()]
    table.write(out / table.FILE, (*table.CELL, *table.ANSWER), moved)
    assert "The test part moved along this curve for V03." in report.write(out).read_text()


def by_statement(result, text):
    (one,) = [t for t in result if re.search(text, t.statement)]
    return one


def test_targets_follow_from_the_table():
    result = targets.judged(everything(), {"virtual": "virtual"}, about()["curves"], "head_physics", "angle")
    force = by_statement(result, "^True force")
    assert force.reached and force.people == 10 and force.low <= force.value <= force.high
    assert force.value == pytest.approx(0.68, rel=0.02)
    assert by_statement(result, "^People whose true force").value == 100.0
    assert by_statement(result, "^Worst person").reached
    assert by_statement(result, "^Torque").reached
    assert not by_statement(result, "^Median angle .* with 2 s").reached  # there the generic model is the best
    assert by_statement(result, "^Median angle .* with 8 s").reached
    assert by_statement(result, "^People within 0.5° .* with 2 s").value == 0.0
    assert [t.reached for t in result if t.note == "not part of this study"] == [None]
    assert by_statement(result, "around the force").reached is None


@pytest.mark.parametrize(("held", "reached"), [(0.8, False), (0.9, True), (0.95, False)])
def test_intervals_that_hold_too_often_miss_their_target_too(held, reached):
    covered = [r | {"angle_coverage": held} for r in everything()]
    result = targets.judged(covered, {"virtual": "virtual"}, [], "head_physics", "angle")
    one = by_statement(result, "around the angle")
    assert one.reached is reached and one.value == pytest.approx(100 * held) and one.people == 10


def test_forces_that_are_not_true_reach_no_target_of_true_forces():
    labelled = [r | {"forces": "static_optimisation"} for r in everything()]
    result = targets.judged(labelled, {"virtual": "virtual"}, [], "head_physics", "angle")
    assert by_statement(result, "^True force").reached is None
    assert by_statement(result, "^Torque").reached


def test_real_people_have_targets_of_their_own():
    result = targets.judged(everything(), {"virtual": "uci"}, [], "head_physics", "angle")
    assert by_statement(result, "^Generic model, angle RMSE").reached
    assert not by_statement(result, "force RMSE / s.d.").reached
    assert by_statement(result, "^Personalised .* angle RMSE").value == pytest.approx(8.0, rel=0.1)


def test_walking_is_judged_by_its_mean():
    (target,) = targets._walking("gait", rows(), ("head_physics", "angle"))
    (missed,) = targets._walking("gait", rows(), ("scratch", "angle"))
    assert target.value == pytest.approx(
        np.mean([r["angle_rmse_deg"] for r in rows() if r["method"] == "head_physics"])
    )
    assert target.reached and target.low < target.value < target.high and not missed.reached


def test_an_ablation_is_compared_with_the_same_method_or_with_that_of_the_study(out):
    result = page.ablations(page.read(out), "virtual")
    against = {a.method: a.against for a in result}
    assert against == {"head_physics": "head_physics", "pi_cnn": "head_physics"}
    for a in result:
        c = a.differences["angle_rmse_deg"]
        assert c.better == 0 and c.low > 0 and c.significant and c.family == 2
        assert c.p_holm == pytest.approx(2 * c.p)
        assert c.effect == 1.0


def test_an_ablation_that_changes_nothing_is_in_no_table(out):
    same = [r | {"cell": "family-pitl", "role": "ablation"} for r in everything()[: 10 * len(LEVEL)]]
    table.write(out / table.FILE, (*table.CELL, *table.ANSWER), everything() + same)
    result = page.ablations(page.read(out), "virtual")
    assert ("family-pitl", "head_physics") not in {(a.cell, a.method) for a in result}


def test_any_method_can_be_the_one_that_is_compared():
    some = [r for r in everything()[: 10 * len(LEVEL)] if r["method"] in ("scratch", "head_data")]
    result = statistics.compare(some, "angle_rmse_deg", "scratch")
    assert [(c.method, c.against, c.better) for c in result] == [("scratch", "head_data", 0)]


def test_the_page_states_the_effect_and_folds_the_other_comparisons(out):
    text = report.write(out).read_text()
    assert "Primary comparison: personal head, with physics (labels: angle) against generic, with physics." in text
    assert re.search(r'class="result">Joint angle: 1[45]\.\d° to [78]\.\d\d°, better in 10 of 10', text)
    assert text.index("better in 10 of 10") < text.index("All other comparisons") < text.index("p, Holm")


def rendered(text, monkeypatch, out):
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "readme.py"
    spec = importlib.util.spec_from_file_location("readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", out / "results")
    module.store_study(out, "small")
    return module.render(text)


def test_tables_of_a_text_are_written_from_the_stored_study(out, monkeypatch):
    blocks = ("targets", "methods virtual", "comparisons virtual", "curve cal", "ablations virtual", "failures", "made")
    text = "\n".join(f"## {b}\n<!-- study small {b} -->\nSTALE\n<!-- end -->\nkept" for b in blocks)
    result = rendered(text, monkeypatch, out)
    assert "STALE" not in result and result.count("kept") == len(blocks)
    assert rendered(result, monkeypatch, out) == result
    (line,) = re.findall(r"\| personal head, with physics \| angle \| Angle RMSE.*", result)
    assert line.count("|") == 6  # a cell for each point of the curve
    expected = statistics.quartiles(
        statistics.per_subject(everything()[: 10 * len(LEVEL)], "angle_rmse_deg", "head_physics", "angle").values()
    )
    assert f"| personal head, with physics | angle | {words.spread(expected)} |" in result
    assert "it broke <here>" in result and "version c0de of the program" in result


def test_amounts_say_who_is_better_than_generic_and_how_often_intervals_hold(out):
    from benchmarks.study_markdown import markdown

    result = page.read(out)
    held = [r | {"angle_coverage": 0.91 if r["method"] == "head_physics" else None} for r in result.rows]
    lines = markdown(result._replace(rows=held), "amounts", "cal").splitlines()
    (little,) = (x for x in lines if "| 2 s | personal head, with physics" in x)
    (much,) = (x for x in lines if "| 8 s | personal head, with physics" in x)
    assert "0 of 10" in little and "10 of 10" in much and much.endswith("|  | 91 % |")
    (other,) = (x for x in lines if "| 8 s | from scratch" in x)
    assert other.endswith("| 10 of 10 | 10 of 10 |  |")


def test_a_table_that_a_study_does_not_have_is_a_sentence(out, monkeypatch):
    with pytest.raises(PitlError, match="no curve 'noise'; it has cal"):
        rendered("<!-- study small curve noise -->\n<!-- end -->", monkeypatch, out)


@pytest.mark.parametrize("damage", ["", "{}", "[", "null"])
def test_a_damaged_study_is_a_sentence(out, damage):
    (out / "study.json").write_text(damage)
    with pytest.raises(PitlError, match="study.json is damaged"):
        report.write(out)


def test_a_damaged_table_is_a_sentence(out):
    text = (out / table.FILE).read_text()
    (out / table.FILE).write_text(text.replace(",0.9,", ",half,", 1))
    with pytest.raises(PitlError, match="study.csv is damaged"):
        report.write(out)
