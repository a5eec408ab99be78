import html
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from pitl import report
from pitl.comparison import seal, statistics
from pitl.config import toml
from pitl.errors import PitlError
from pitl.report import canvas, curves, everyone, findings, inputs, tables, words

GRADES = {
    "generic_data": ("none",),
    "generic_physics": ("none",),
    **dict.fromkeys(("gain_offset", "head_data", "full_finetune", "scratch", "ridge"), ("angle_force", "angle")),
    "head_physics": ("angle_force", "angle"),
}
ERROR = {"generic_data": 22.0, "generic_physics": 21.0, "gain_offset": 14.0, "head_data": 8.4, "head_physics": 8.0}
_CONFIG = toml.Config.model_validate({"name": "made_up", "evaluate": {"primary": ("head_physics", "generic_physics")}})
MUSCLES = ("FCR", "FCU", "ECRL", "ECRB", "ECU")


def make_run(out, people=8, seeds=2, forces=True, tasks=("slow", "fast")):
    """A folder as a run leaves it, with made-up numbers."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(people):
        person = rng.lognormal(0, 0.25)
        for method, grades in GRADES.items():
            for supervision in grades:
                for seed in range(seeds):
                    for task in ("all", *tasks):
                        angle = ERROR.get(method, 9.0) * person * rng.lognormal(0, 0.08)
                        silent = not forces or (method == "ridge" and supervision == "angle")
                        force = None if silent else 20 * person * rng.lognormal(0, 0.1)
                        row = {"subject": f"v{n}", "task": task, "method": method, "seed": seed}
                        row |= {"supervision": supervision}
                        row |= {"angle_rmse_deg": angle, "angle_nrmse": angle / 80, "angle_r2": 1 - (angle / 35) ** 2}
                        row |= {"angle_r": 0.98, "force_rmse_n": force, "force_nrmse": force and force / 40}
                        row |= {"force_r2": force and 0.5, "torque_rmse_nm": force and 0.1 * person}
                        rows.append(row | {"residual_nm": force and 0.05, "seconds": 0.3})
        _traces(out / "traces" / f"v{n}.npz", rng, person, forces, tasks)
    environment = {"device": "cpu", "platform": "cpu", "cpus": 2, "python": "3.12.1", "jax": "0.10.2"}
    environment |= {"wall_seconds": {"data": 12.3, "generic models": 81.0}, "command": "pitl run a.toml --out <b>"}
    result = {"schema": 2, "config": toml.to_dict(_CONFIG), "environment": environment}
    (out / "metrics.json").write_text(json.dumps(result | {"rows": rows}))
    learned = {"strength": rng.lognormal(0, 0.1, 5).tolist(), "inertia": [1.02], "angle_offset_deg": [-3.0]}
    (out / "learned.json").write_text(json.dumps({f"v{n}": learned for n in range(people)}))
    (out / "notes.json").write_text(json.dumps(["v1/slow: the sign of the angle was <inverted>."]))
    return out


def _traces(path, rng, person, forces, tasks):
    count = 1400
    time = np.concatenate([np.arange(count) / 100 + 8.0] * len(tasks))
    angle = np.concatenate([40 * np.sin(2 * np.pi * f * np.arange(count) / 100) for f in (0.5, 1.1)[: len(tasks)]])
    noise = lambda: 3 * person * np.convolve(rng.normal(size=len(time)), np.ones(40) / 6, "same")  # noqa: E731
    keep = np.ones(len(time), bool)
    keep[150:260] = False  # a dropout
    arrays = {"time_s": time, "angle_deg": angle[:, None]}
    arrays["trial"] = np.repeat([f"{t}_1" for t in tasks], count)
    arrays["task"] = np.repeat(list(tasks), count)
    for model, scale in (("generic_physics/none", 0.6), ("head_physics/angle_force", 1.0), ("ridge/angle", 1.0)):
        arrays[f"angle_deg/{model}"] = (scale * angle + noise())[:, None]
    if forces:
        arrays["force_n"] = np.stack([30 * (m + 1) * np.maximum(angle * (-1) ** m / 40, 0.05) for m in range(5)], 1)
        for model in ("generic_physics/none", "head_physics/angle_force"):
            arrays[f"force_n/{model}"] = arrays["force_n"] * 0.8 + np.abs(noise())[:, None]
    gravity, muscle = 0.28 * np.sin(np.radians(angle))[:, None], 0.8 * np.roll(angle, 5)[:, None] / 40
    terms = {"inertia": 0.06 * angle[:, None] / 40, "gravity": gravity, "passive": 0.2 * angle[:, None] / 40}
    terms |= {"coriolis": 0 * gravity, "muscle": muscle}
    arrays |= {f"balance/{k}": v for k, v in terms.items()}
    arrays["balance/residual"] = sum(terms.values()) - 2 * muscle
    arrays = {k: v[keep].astype(np.float32) if v.dtype == float else v[keep] for k, v in arrays.items()}
    arrays |= {"dofs": np.array(["wrist_flexion"]), "muscles": np.array(MUSCLES)}
    arrays |= {"force_source": np.array("truth" if forces else "none"), "balance_supervision": np.array("angle_force")}
    half = {"half/angle_deg/head_physics/angle_force": np.full((len(arrays["time_s"]), 1), 5.0)}
    for file, kept in ((path, arrays), (path.parents[1] / "intervals" / path.name, half)):
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **kept)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(out):
    return report.write(out).read_text(encoding="utf-8")


class _Balanced(HTMLParser):
    """Fails where an element is not closed."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(page):
    assert len(page) < 3_000_000
    addresses = set(re.findall(r"https?://[^\"' <]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<script|<link|<img|@import|src=", page)
    assert "position: fixed" not in page
    assert 'name="viewport"' in page


def test_the_page_has_no_sideways_scrolling_on_a_phone(page, browser, tmp_path):
    frame = f'<iframe style="width:390px;height:844px;border:0" srcdoc="{html.escape(page)}"></iframe>'
    told = "const d = document.querySelector('iframe').contentDocument.documentElement;"
    told += "document.body.dataset.width = d.scrollWidth + ' ' + d.clientWidth"
    (tmp_path / "frame.html").write_text(f'<body onload="{told}">{frame}</body>', encoding="utf-8")
    command = [*browser, f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", str(tmp_path / "frame.html")], capture_output=True, text=True)
    whole, shown = re.search(r'data-width="(\d+) (\d+)"', done.stdout).groups()
    assert whole == shown


def test_the_page_is_well_formed(page):
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []


def test_what_users_write_cannot_become_markup(page):
    assert "&lt;inverted&gt;" in page
    assert "--out &lt;b&gt;" in page


def test_the_page_says_what_it_must(page):
    for text in (
        "The reference of the forces is the true muscle force of the virtual people.",
        "not significant",
        "Wilcoxon signed-rank test, with Holm",
        "generic models",
        "gain_augmentation = ",
        "has the largest angle error",
        "lowest median angle error",
        "its 90 % interval",
    ):
        assert text in page, text
    assert page.count("<svg") == 3 * 2 + 1 + 4 + 1


def test_the_picture_comes_first_then_the_effect_then_what_to_do_then_the_mechanics(page):
    order = [
        '<figure class="first">',
        'class="result">Joint angle: ',
        "<b>Worst.</b>",
        "<b>Best method.</b>",
        "What was learned about each person",
        "What to record next",
        "All other comparisons, corrected for their number",
        "Does the predicted motion satisfy the equation of motion?",
    ]
    assert [page.index(text) for text in order] == sorted(page.index(text) for text in order)


def test_the_effect_is_a_sentence_that_no_correction_changes():
    before, after = np.array([14.0, 15.0, 13.0, 20.0]), np.array([6.0, 7.0, 5.5, 8.0])
    rows = [
        {"subject": f"s{n}", "task": "all", "method": m, "supervision": s, "seed": 0, "angle_rmse_deg": v}
        for m, s, values in (("generic_physics", "none", before), ("head_physics", "angle", after))
        for n, v in enumerate(values)
    ]
    primary = statistics.choose_primary(rows, ("head_physics", "generic_physics"))
    sentence = "Joint angle: 14.5° to 6.50°, better in 4 of 4; 95 % interval of the difference −12.0° to −7.50°."
    assert findings.effect(rows, primary) == [sentence]
    more = [{**r, "method": m, "supervision": "angle"} for m in ("svr", "ridge", "scratch") for r in rows[:4]]
    assert findings.effect(rows + more, primary) == [sentence]
    others = statistics.compare(rows + more, "angle_rmse_deg", "head_physics", primary)
    assert [c.against for c in others] == ["scratch", "ridge", "svr"]
    assert "With 4 people no signed-rank test" in findings.significance(
        statistics.paired(rows, "angle_rmse_deg", primary.first, primary.second)
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t + 9.0, "a constant offset of 9.00°"),
        (lambda t: 0.5 * t, "the prediction covers 50 % of the measured excursion"),
        (lambda t: np.roll(t, 8), "the course of the motion itself differs"),
    ],
)
def test_the_worst_person_comes_with_the_kind_of_error(change, says):
    true = 30 * np.sin(2 * np.pi * np.arange(400) / 100)[:, None]
    trace = {"angle_deg": true, "angle_deg/head_physics/angle": change(true)}
    assert says in findings._kind_of_error(trace, "head_physics/angle")


def test_another_method_that_is_best_is_named_with_what_it_cannot_do():
    rows = [
        {"subject": f"s{n}", "task": "all", "method": m, "supervision": "angle", "seed": 0}
        | {"angle_rmse_deg": angle, "force_rmse_n": force}
        for m, angle, force in (("head_physics", 6.0, 2.0), ("svr", 4.9, None))
        for n in range(3)
    ]
    assert findings.best(rows, statistics.Primary("head_physics", "angle", "generic_physics", "none")) == (
        "Support-vector regression has the lowest median angle error with the same labels, 4.90° against 6.00°. "
        "It gives no muscle forces without force labels and cannot be used without labelled data of the person."
    )


def test_what_to_record_next_follows_from_intervals_channels_and_parameters():
    primary = statistics.Primary("head_physics", "angle", "generic_physics", "none")
    rows = [
        {"subject": "s0", "task": t, "method": "head_physics", "supervision": "angle", "seed": 0, "angle_rmse_deg": e}
        for t, e in (("all", 6.0), ("slow", 5.0), ("fast", 9.0))
    ]
    output = {"method": "head_physics", "supervision": "angle", "kind": "angle"}
    output |= {"people": {"s0": {"coverage": 0.8, "parts": {"task fast": 0.7, "posture neutral": 0.95}}}}
    identified = {"s0": {"strength FCR": {"by_data": False}, "gain FCR": {"by_data": True}}}
    text = " ".join(findings.advice(rows, primary, [output], None, identified))
    assert "in the task fast: the median angle error there is 9.00°" in text and "task slow" not in text
    assert "hold least: task fast (70 %)." in text
    assert "leave muscle strengths of the EMG-driven model at their prior values" in text


def test_a_run_without_the_primary_comparison_says_so_and_shows_its_best_method(tmp_path):
    make_run(tmp_path, 3, 1)
    made = json.loads((tmp_path / "metrics.json").read_text())
    made["config"]["evaluate"]["primary"] = ["blend", "generic_physics"]
    (tmp_path / "metrics.json").write_text(json.dumps(made))
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert "blend of personal models against generic, with physics, is not part of this run" in text
    assert "tested by itself" not in text


def test_every_reference_inside_a_figure_is_found(page):
    ids = re.findall(r'id="([^"]*)"', page)
    for reference in re.findall(r'(?:xlink:href="#|url\(#)([^")]*)', page):
        assert reference in ids


@pytest.mark.parametrize(("people", "seeds", "forces", "tasks"), [(1, 1, False, ("sen",)), (3, 1, True, ("sen",))])
def test_a_small_run_has_a_page(tmp_path, people, seeds, forces, tasks):
    page = report.write(make_run(tmp_path, people, seeds, forces, tasks)).read_text(encoding="utf-8")
    assert ("There is no reference for the forces" in page) == (not forces)
    assert "not significant (too few people)" in page


def test_a_run_without_curves_and_notes_has_a_page(tmp_path):
    make_run(tmp_path, 2)
    for path in (tmp_path / "traces").iterdir():
        path.unlink()
    for name in ("learned.json", "notes.json"):
        (tmp_path / name).unlink()
    assert "This run kept no curves." in report.write(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metrics.json", None, "no folder of a finished run"),
        ("metrics.json", "{", "metrics.json is damaged"),
        ("metrics.json", '{"schema": 1, "rows": []}', "has schema 1, expected 2"),
        ("metrics.json", '{"schema": 2, "rows": [{}]}', "row 0 has no subject"),
        ("metrics.json", '{"schema": 2, "rows": []}', "no results over all tasks"),
        ("notes.json", "{}", "should hold a list"),
        ("traces/v0.npz", "nothing", "v0.npz is damaged"),
    ],
)
def test_what_is_missing_or_damaged_is_a_sentence(tmp_path, name, text, says):
    make_run(tmp_path, 1)
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(PitlError, match=says):
        report.write(tmp_path)


def _leaves(value, change):
    if isinstance(value, dict):
        return {k: _leaves(v, change) for k, v in value.items()}
    return [_leaves(v, change) for v in value] if isinstance(value, list) else change(value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(
            (f"{n}.json", v)
            for n in ("metrics", "learned", "lost_channels", "uncertainty", "hill-a")
            for v in (None, 3)
        ),
        *((f"{n}.json", v) for n in ("metrics", "learned") for v in ("a", float("nan"), [[None]])),
        ("metrics.json", {"config": []}),
        ("metrics.json", {"config": {"evaluate": {"primary": 3}}}),
        ("metrics.json", {"environment": {"wall_seconds": 3}}),
        ("uncertainty.json", {"outputs": [1]}),
        ("hill-a.json", {"v0": {"a": 1}}),
    ],
)
def test_what_was_edited_is_a_sentence_that_names_the_file(tmp_path, name, change):
    """Nothing and a number in place of the whole, a text, no number or a list in place of every value, odd keys."""
    make_run(tmp_path, 1)
    path = tmp_path / name
    there = json.loads(path.read_text()) if path.exists() else {}
    if isinstance(change, dict):
        made = {**there, **change}
    else:
        made = change if change in (None, 3) else _leaves(there, lambda _: change)
    path.write_text(json.dumps(made))
    with pytest.raises(PitlError, match=name.replace(".", r"\.")):
        report.show(tmp_path, Console(quiet=True))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["metrics", "learned", "lost_channels", "uncertainty", "hill-a", "notes"])
def test_a_number_that_is_none_is_refused(tmp_path, name, value):
    make_run(tmp_path, 1)
    (tmp_path / f"{name}.json").write_text(f"[{value}]" if name == "notes" else f'{{"v0": {{"a": {value}}}}}')
    with pytest.raises(PitlError, match=rf"{name}\.json is damaged \(it holds {value}"):
        report.write(tmp_path)


def _digit(path):
    text = path.read_text()
    at = max(k for k, c in enumerate(text) if c in "12345")
    path.write_text(text[:at] + str(int(text[at]) + 1) + text[at + 1 :])


def _curve(path):
    with np.load(path) as data:
        arrays = {k: 2 * v if v.dtype.kind == "f" else v for k, v in data.items()}
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((n, _digit) for n in ("metrics.json", "learned.json", "hill-a.json")),
        *((n, _curve) for n in ("traces/v0.npz", "intervals/v0.npz")),
        *((n, Path.unlink) for n in ("metrics.json", "learned.json", "traces/v0.npz", "notes.json")),
        *(("sums.json", lambda path, t=t: path.write_text(t)) for t in ("", "[]", '{"notes.json": 1}', "[" * 9999)),
    ],
)
def test_what_was_changed_after_the_run_is_never_shown_as_its_own(tmp_path, name, change):
    make_run(tmp_path, 1)
    (tmp_path / "hill-a.json").write_text('{"v0": {"strength of a": {"by_data": 0.5}}}')
    seal.seal(tmp_path)
    assert seal.changed(tmp_path) == [] and inputs.read(tmp_path)
    change(tmp_path / name)
    with pytest.raises(PitlError, match=name.replace(".", r"\.")):
        inputs.read(tmp_path)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("time_s", lambda v: v[:-5]),
        ("time_s", lambda v: v * np.nan),
        ("angle_deg/ridge/angle", lambda v: np.where(np.arange(len(v))[:, None] == 9, np.inf, v)),
        ("time_s", lambda v: v.astype(str)),
        ("angle_deg", lambda v: v[:, :0]),
        ("angle_deg/head_physics/angle_force", lambda v: v.reshape(-1)[:7]),
        ("angle_deg/head_physics/angle_force", lambda v: v + 1j),
        ("trial", lambda v: np.arange(len(v))),
        ("muscles", lambda v: np.array([{}], object)),
    ],
)
def test_an_array_that_does_not_fit_is_a_sentence(tmp_path, array, change):
    make_run(tmp_path, 1)
    path = tmp_path / "traces" / "v0.npz"
    with np.load(path) as data:
        arrays = {k: change(data[k]) if k == array else data[k] for k in data.files}
    np.savez(path, **arrays)
    with pytest.raises(PitlError, match=r"v0\.npz"):
        report.write(tmp_path)


def test_a_trace_that_lacks_an_array_is_a_sentence(tmp_path):
    make_run(tmp_path, 1)
    np.savez(tmp_path / "traces" / "v0.npz", time_s=np.arange(3))
    with pytest.raises(PitlError, match=r"v0\.npz lacks something"):
        report.write(tmp_path)


def test_the_table_for_the_console(out):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(report.summary_table(json.loads((out / "metrics.json").read_text())["rows"]))
    text = console.export_text()
    assert "Median [quartiles] over 8 people, 2 seeds;" in text
    assert re.search(
        r"\nhead, with physics +A\+F +\d[\d.]* \[\d[\d.]*–\d[\d.]*\] +0\.\d+ +\d[\d.]* \[.*\] +0\.1\d+ *\n", text
    )


def test_a_long_name_of_a_method_never_cuts_a_number():
    rows = [
        {"subject": f"s{n}", "task": "all", "method": m, "supervision": "angle_force", "seed": 0,
         "torque_rmse_nm": 0.123, "angle_rmse_deg": error + n, "angle_r2": 0.9, "force_rmse_n": 12.0 + n}
        for m, error in (("head_physics", 10.0), ("emg_driven_measured", 20.0)) for n in range(4)
    ]  # fmt: skip
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(report.summary_table(rows))
    text = console.export_text()
    assert "…" not in text and text.count("0.123") == 2 and text.count("A+F") == 2


def test_what_the_data_identify_is_one_sentence():
    people = {p: {"gain FCR": {"by_data": False}, "damping": {"by_data": p == "a"}} for p in ("a", "b")}
    sentence = tables.identified(people, "angle")
    assert sentence.endswith("of 2 parameters the data identify damping (1 of 2); the prior decides the others.")


def _rows(first, second, metric="angle_rmse_deg"):
    methods = (("head_physics", "angle", first), ("head_data", "angle", second))
    return [
        {"subject": f"s{n}", "task": "all", "method": a, "supervision": s, "seed": 0, metric: v}
        for a, s, values in methods
        for n, v in enumerate(values)
    ]


def test_comparisons_agree_with_scipy():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=15), rng.normal(0.8, size=15)
    [result] = statistics.compare(_rows(first, second), "angle_rmse_deg", "head_physics")
    expected = stats.wilcoxon(first, second)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.p_holm == result.p
    assert result.difference == pytest.approx(np.median(first - second))
    assert result.low is not None and result.high is not None
    assert result.low < result.difference < result.high
    assert result.better == np.sum(first < second)


def test_the_effect_is_one_when_everybody_agrees():
    rows = _rows(np.arange(8.0), np.arange(8.0) + np.linspace(1, 2, 8))
    [result] = statistics.compare(rows, "angle_rmse_deg", "head_physics")
    assert result.effect == -1.0
    assert result.p == pytest.approx(2 / 2**8)
    assert tables.verdict(result) == "better"


def test_methods_that_are_equal_by_construction_are_in_no_table():
    rows = _rows(np.ones(8), np.ones(8))
    assert statistics.compare(rows, "angle_rmse_deg", "head_physics") == []
    assert [line.method for line in tables.lines(rows)] == ["head_physics"]
    result = statistics.paired(rows, "angle_rmse_deg", ("head_physics", "angle"), ("head_data", "angle"))
    assert (result.p, result.effect, result.difference) == (None, None, 0.0)
    assert tables.verdict(result) == "not significant"


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_a_person_counts_once_whatever_the_seeds_and_tasks():
    rows = _rows([1.0], [2.0])
    rows += [{**rows[0], "seed": 1, "angle_rmse_deg": 3.0}, {**rows[0], "task": "sen", "angle_rmse_deg": 99.0}]
    rows += [{**rows[0], "seed": 2, "angle_rmse_deg": None}]
    assert statistics.per_subject(rows, "angle_rmse_deg", "head_physics", "angle") == {"s0": 2.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.1234, "8.12"), (123.4, "123"), (0.00123, "0.00123"), (-3.0, "−3.00"), (9.999, "10.0"), (None, "–"), (0, "0")]
    + [(float("nan"), "–"), (123456.0, "123000"), (3e-9, "3.00e−09")],
)
def test_numbers_have_three_digits(value, text):
    assert words.number(value) == text


def test_subjects_are_chosen_by_rule():
    assert curves.chosen({"a": 3.0, "b": 1.0, "c": 2.0}) == [("best", "b"), ("median", "c"), ("worst", "a")]
    assert curves.chosen({"a": 3.0}) == [("best and median and worst", "a")]


def test_lines_break_where_samples_are_missing():
    time, value = canvas.with_gaps(np.array([0.0, 0.1, 0.2, 0.9, 1.0]), np.arange(5.0))
    assert np.isnan(time[3])
    assert np.isnan(value[3])
    assert len(time) == 6


@pytest.mark.parametrize(
    ("factor", "ticks"), [(1.003, {"0.98", "1.02"}), (1.08, {"0.952", "1.05"}), (3.0, {"0.5", "2"})]
)
def test_the_size_of_a_learned_factor_can_be_read(factor, ticks):
    with canvas.style():
        figure = everyone.learned({"anna": {"strength": [factor]}})
    assert ticks <= set(re.findall(r">([\d.]+)<", figure))
