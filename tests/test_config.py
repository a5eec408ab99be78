import pytest

from pitl.config import schema, toml
from pitl.errors import PitlError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "base.toml"
    path.write_text('[train]\nsteps = 10\n[data]\ndir = "records"\n', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("train", "rows"),
    [({}, 0.5), ({"residual": "weak"}, 1.0), ({"hill_weight": 0.3}, 1.0), ({"physics_rows": 0.25}, 0.25)],
)
def test_the_equation_of_motion_takes_half_of_the_rows_or_all_where_a_term_needs_them(train, rows):
    assert schema.Config(train=train).train.physics_rows == rows


def test_part_of_the_rows_is_refused_where_a_term_needs_all_of_them():
    with pytest.raises(ValueError, match="set physics_rows = 1"):
        schema.Config(train={"residual": "weak", "physics_rows": 0.5})


def test_defaults_need_no_file():
    assert toml.Config().net.channels == (16, 32)


def test_an_ablation_names_only_what_it_changes(file):
    small = file.with_name("small.toml")
    small.write_text('base = "base.toml"\n[train]\nbatch = 8\n', encoding="utf-8")
    result = toml.load(small)
    assert (result.name, result.train.steps, result.train.batch) == ("small", 10, 8)
    assert result.data.dir == str(file.parent / "records")


def test_overrides_win_and_have_types(file):
    changes = ["net.channels=[8, 8]", "data.tasks=sen,pie", "evaluate.folds=4", "train.learning_rate=1"]
    result = toml.load(file, [*changes, "data.overrides.1A.sign=-1", "emg.lowpass_kind=butterworth"])
    assert result.net.channels == (8, 8)
    assert result.data.tasks == ("sen", "pie")
    assert result.evaluate.folds == 4
    assert result.train.learning_rate == 1.0
    assert result.data.overrides == {"1A": {"sign": -1}}
    assert result.emg.lowpass_kind == "butterworth"


def test_what_is_written_reads_back(file, tmp_path):
    result = toml.load(file, ["train.weight_decay=1e-05", 'data.overrides.1A.note="a \\"b\\" \\\\ ü"'])
    for explain in (False, True):
        copy = tmp_path / "copy.toml"
        copy.write_text(toml.to_toml(result, explain=explain), encoding="utf-8")
        assert toml.load(copy) == result


def test_a_dictionary_makes_the_same_configuration(file):
    result = toml.load(file)
    assert toml.Config(**toml.to_dict(result)) == result


def test_sections_can_be_static_arguments():
    assert hash(schema.TrainConfig()) == hash(schema.TrainConfig())


def test_every_key_says_what_it_means():
    for section in [toml.Config, *(type(s) for _, s in toml.Config() if not isinstance(s, str))]:
        for name, info in section.model_fields.items():
            assert info.description or section is toml.Config, name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.stepz=3", "did you mean train.steps?"),
        ("steps=3", "did you mean hill.steps or personalize.steps or train.steps?"),
        ("trian.steps=3", "did you mean train?"),
        ("zzz=1", "known here: data, emg"),
        ("train.steps=1.5", "train.steps is 1.5; it should be a whole number."),
        ("train.steps=true", "train.steps is true; it should be a whole number."),
        ("train.steps=-1", "train.steps is -1; it should be at least 1."),
        ("train.learning_rate=nan", "it should be a finite number"),
        ("net.activation=rely", "'tanh', 'gelu', 'softplus' or 'relu'"),
        ("net.kernels=[5]", "one entry per convolution"),
        ("evaluate.folds=1", '"loso" or a whole number of at least 2'),
        ("evaluate.methods=[]", "at least 1 item"),
        ("emg.bandpass_hz=[50, 20]", "a low and a higher frequency"),
        ("emg.bandpass_hz=[50]", "too short"),
        ("emg.lowpass_order=2", "at least 3"),
        ("train=3", "a table of keys."),
        ("name=a/b", "names a folder"),
        ("foo", "write a change as section.key=value"),
    ],
)
def test_a_mistake_is_one_sentence(file, change, says):
    with pytest.raises(PitlError) as caught:
        toml.load(file, [change])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_names_the_file_that_made_it(file):
    file.write_text("[train]\nstepz = 10\n", encoding="utf-8")
    small = file.with_name("small.toml")
    small.write_text('base = "base.toml"\n', encoding="utf-8")
    with pytest.raises(PitlError, match=r"base\.toml: train\.stepz is not a known key; did you mean train\.steps\?"):
        toml.load(small)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train\n", "not valid TOML"),
        ('base = "base.toml"', "leads back"),
        ('base = "other.toml"', "cannot read the configuration"),
        ("base = 3", "give the name of a TOML file"),
    ],
)
def test_a_damaged_file_is_one_sentence(file, text, says):
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PitlError, match=says):
        toml.load(file)


def test_a_missing_file_names_its_neighbours(file):
    with pytest.raises(PitlError, match=r"No such file or directory; .* has base\.toml"):
        toml.load(file.with_name("bsae.toml"))
