"""Inputs that were made to hurt: each is read, or refused in one sentence that names it, in a moment."""

# ruff: noqa: E501 (a table of inputs)

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from io_samples import MAKERS

from benchmarks import fuzz_kinds
from pitl.errors import PitlError

LONGEST_S = 10.0
ROWS = "".join(f"{k / 1000},{k % 7},{k % 5}\n" for k in range(60))
LONG = "9" * 5000
CSV = {
    "empty": "", "a line end": "\n", "BOM alone": "\ufeff", "names alone": "time,a,b", "names and units": "time,a\ns,V\n",
    "one row": "time,a\n0,1\n", "two rows": "time,a\n0,1\n1,2\n", "NUL names": f"time,\0,b\n{ROWS}",
    "names of spaces": f"time, ,  \n{ROWS}", "no names": ROWS, "same names": f"time,a,a\n{ROWS}",
    "time twice": f"time,time,a\n{ROWS}", "digits of 5000": f"time,a,b\n0,{LONG},1\n{ROWS}",
    "superscript": f"time,a,b\n0,²,³\n{ROWS}", "arabic digits": f"time,a,b\n٠,١,٢\n{ROWS}",
    "underscores": f"time,a,b\n0,1_000,1\n{ROWS}", "hex": f"time,a,b\n0,0x1p3,1\n{ROWS}",
    "over a float": f"time,a,b\n0,1e999,-1e999\n{ROWS}", "a sample of 1e300": f"time,a,b\n0,1e300,1\n{ROWS}",
    "no numbers": "time,a,b\n" + "nan,nan,nan\n" * 60, "no times": "time,a,b\n" + "nan,1,2\n" * 60,
    "time stands still": "time,a,b\n" + "5,1,2\n" * 60, "time runs back": "time,a,b\n" + "".join(f"{-k},1,2\n" for k in range(60)),
    "times of 1e300": "time,a,b\n" + "".join(f"{k}e300,1,2\n" for k in range(60)),
    "infinite times": "time,a,b\n" + "inf,1,2\n" * 60, "a rate of 1e300": "time,a,b\n" + "".join(f"{k}e-300,1,2\n" for k in range(60)),
    "a blank line under the names": f"time,a,b\n\n{ROWS}", "many blank lines": f"\n\n\ntime,a,b\n\n\n{ROWS}\n\n",
    "returns": f"time,a,b\n{ROWS}".replace("\n", "\r"), "two returns": f"time,a,b\n{ROWS}".replace("\n", "\r\r\n"),
    "short units": f"time,a,b\ns\n{ROWS}", "long units": f"time,a,b\ns,V,V,V,V\n{ROWS}", "odd units": f"time,a,b\n((((,[[[,(]\n{ROWS}",
    "units that backtrack": f"time,a {'(' * 20000},b\n{ROWS}", "spaces that backtrack": f"time,{' ' * 60000}x,b\n{ROWS}",
    "an open quote": f'time,"a,b\n{ROWS}', "quotes within": f'time,a"b"c,b\n{ROWS}', "a quote over lines": f'time,"a\nb",c\n{ROWS}',
    "a long name": f"time,{'a' * 300_000},b\n{ROWS}", "20000 columns": "time," + ",".join(f"c{k}" for k in range(20000)) + "\n0" + ",1" * 20000 + "\n",
    "1e5 columns": "time" + ",c" * 100_000 + "\n", "ragged": "time,a,b\n0\n0,1\n0,1,2\n0,1,2,3\n" + ROWS, "trailing separators": f"time,a,b,,,,\n{ROWS}",
    "decimal commas": f"time;a;b\n{ROWS.replace(',', ';').replace('.', ',')}", "two separators": f"time;a,b\n{ROWS}", "Excel's line": f"sep=,\ntime,a,b\n{ROWS}",
    "a formula": f"time,=cmd|' /C calc'!A0,@a\n{ROWS}", "escape codes": f"time,\x1b[2J\x1b]0;x\x07,b\n{ROWS}", "TeX": f"time,$x_{{1$,\\frac\n{ROWS}",
    "surrogates": b"time,\xed\xa0\x80,b\n" + ROWS.encode(), "latin": f"time,\xb5V,\xe9\n{ROWS}".encode("latin-1"),
    "UTF-16": f"time,a,b\n{ROWS}".encode("utf-16"), "half of UTF-16": f"time,a,b\n{ROWS}".encode("utf-16")[:101], "UTF-32": f"time,a,b\n{ROWS}".encode("utf-32"),
    "a ZIP": b"PK\x03\x04" + bytes(200), "gzip": b"\x1f\x8b\x08" + bytes(200), "NULs": bytes(5000), "comments alone": "# a\n" * 500,
}  # fmt: skip
MOT = {
    n: f"x\nversion=1\n{h}\nendheader\ntime\ta\tb\n" + ROWS.replace(",", "\t")
    for n, h in {
        "superscript rows": "nRows=²\nnColumns=3", "rows of 5000 digits": f"nRows={LONG}\nnColumns=3", "rows below zero": "nRows=-5\nnColumns=-3",
        "rows of 1e300": "nRows=1e300\nnColumns=3", "1e9 columns": "nRows=60\nnColumns=1000000000", "no rows": "nRows=\nnColumns=", "rate that is none": "nRows=60\nDataRate=nan",
        "degrees maybe": "nRows=60\ninDegrees=maybe", "two counts": "nRows=60\nnRows=4\nnColumns=3\nnColumns=9", "two ends": "endheader\nendheader",
    }.items()
} | {"no end": "x\nnRows=3\n", "nothing after the end": "x\nendheader", "names alone": "x\nendheader\ntime\ta\n"}  # fmt: skip
UCI = {
    "no end of digits": fuzz_kinds.UCI.replace("40 values", f"{LONG} values"), "superscript": fuzz_kinds.UCI.replace("40 values", "² values"),
    "commas": fuzz_kinds.UCI.replace("'RF',", "," * 50_000), "quotes": fuzz_kinds.UCI.replace("'RF'", "'" * 50_001), "no units": fuzz_kinds.UCI.replace("engineering units: mV", ""),
    "one long line": fuzz_kinds.UCI.split("\r\n")[0] + "1" * 500_000, "header alone": fuzz_kinds.UCI.partition("\r\n\r\n")[0], "same channels": fuzz_kinds.UCI.replace("'BF'", "'RF'"),
}  # fmt: skip
CONFIG = {
    "5000 digits": f"[train]\nsteps = {LONG}\n", "deep": "a = " + "[" * 3000, "deep tables": "[" + ".".join("a" * 2000) + "]\n", "itself": 'base = "a.toml"\n',
    "an absent base": 'base = "none.toml"\n', "a folder": 'base = "."\n', "NUL": 'base = "\\u0000"\n', "a device as base": 'base = "/dev/zero"\n', "a long base": f'base = "{"a" * 5000}"\n',
    "surrogate": 'base = "\\ud800"\n', "lists of bases": 'base = ["a.toml", 3]\n', "no number": "[emg]\nlowpass_hz = nan\n", "infinite": "[emg]\nlowpass_hz = inf\n", "1e300": "[emg]\nrate_hz = 1e300\n",
    "1e-300": "[emg]\nrate_hz = 1e-300\n", "date": "[train]\nsteps = 1979-05-27\n", "truth": "[train]\nsteps = true\n", "odd keys": '["\\u001b[2J"]\n"\\u0000" = 1\n', "twice": "[train]\n[train]\n",
    "NUL bytes": "\0\0\0", "not UTF-8": b"name = \"\xff\"\n", "BOM": "\ufeff[train]\nsteps = 3\n", "a name that leaves": 'name = "../../x"\n', "a folder that is a device": '[data]\nkind = "cohort"\ndir = "/dev/zero"\n',
}  # fmt: skip
_COHORT = fuzz_kinds.COHORT
COHORT = {
    **{f"person {n!r}": _COHORT.replace('"anna"', v) for n, v in {"up": '"../../x"', "absolute": '"/abs/x"', "NUL": '"\\u0000"', "dot": '"."', "dots": '".."', "none": '""', "long": f'"{"a" * 300}"',
        "number": "3", "escape": '"\\u001b[2J"', "device": '"con"', "list": '["a"]', "slashes": '"a/b\\\\c"', "spaces": '"  "'}.items()},
    **{f"file {v}": _COHORT.replace('"a.csv"', v) for v in ('"../a.csv"', '"/etc/passwd"', '"/dev/zero"', '"b/../../a.csv"', '"\\u0000"', f'"{"a" * 300}"', '""', '"."', "3", '"~/a.csv"', '"a.csv\\n"')},
    **{f"rate {v}": _COHORT.replace("1000", v) for v in ("1e300", "1e-300", "-1", "0", "nan", "inf", LONG, "true", '"1000"')},
    **{f"height {v}": _COHORT.replace("1.7", v) for v in ("1e300", "-1", "nan", "inf", "1e-300")},
    **{f"coordinate {v}": _COHORT.replace("-knee", v) for v in ("--knee", "-", "", "knee-", "k" * 5000, "\\u0000")},
    "no people": _COHORT.partition("[[subject]]")[0], "1000 people of one name": _COHORT + '[[subject]]\nname = "anna"\n' * 1000, "channels of nothing": _COHORT.replace('RF = "RF"', ""),
}  # fmt: skip
MJCF = {
    "entities": '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><mujoco model="&b;"/>', "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><mujoco model="&a;"/>',
    "deep": "<mujoco>" + "<worldbody>" * 5000, "included device": '<mujoco><include file="/dev/zero"/></mujoco>', "included itself": '<mujoco><include file="a.xml"/></mujoco>', "empty": "", "no XML": "mujoco",
    "a mesh elsewhere": '<mujoco><asset><mesh file="/etc/passwd"/></asset></mujoco>', "no numbers": fuzz_kinds.MJCF.replace("0.1", "nan"), "1e300": fuzz_kinds.MJCF.replace("0.1", "1e300"),
}  # fmt: skip
TEXTS = {"csv": CSV, "mot": MOT, "uci": UCI, "config": CONFIG, "cohort": COHORT, "mjcf": MJCF}


def _h5(make: Callable[[h5py.File, Path], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            make(file, path)

    return write


def _virtual(file: h5py.File, path: Path) -> None:
    layout = h5py.VirtualLayout((100,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (100,))
    file.create_virtual_dataset("emg", layout)


def _cycle(file: h5py.File, path: Path) -> None:
    for k in range(30):
        file.create_group(f"g{k}")
        for m in range(k + 1):
            file[f"g{k}/to{m}"] = file[f"g{m}"]
            file[f"g{m}/back{k}"] = file[f"g{k}"]


def _mat(**values: Any) -> Callable[[Path], None]:
    return lambda path: scipy.io.savemat(path, values)


def _nested(depth: int) -> Any:
    value: Any = np.zeros(2)
    for _ in range(depth):
        held = np.empty((1, 1), object)
        held[0, 0] = value
        value = held
    return value


def _link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def _damaged(name: str, *changes: tuple[int, bytes], cut: int | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        MAKERS[name](path)
        data = bytearray(path.read_bytes()[:cut])
        for at, value in changes:
            data[at : at + len(value)] = value
        path.write_bytes(data)

    return write


MADE = {
    "hdf5": {
        "an external link": _h5(lambda f, p: f.__setitem__("emg", h5py.ExternalLink("/etc/passwd", "/x"))), "a virtual dataset": _h5(_virtual), "every group in every group": _h5(_cycle),
        "raw storage elsewhere": _h5(lambda f, p: f.create_dataset("emg", (100,), "u1", external=[("/etc/passwd", 0, 100)])), "a soft link to itself": _h5(lambda f, p: f.__setitem__("a", h5py.SoftLink("/a"))),
        "a petabyte of fill": _h5(lambda f, p: f.create_dataset("emg", (10**15,), "f8", chunks=(1000,))), "nothing": _h5(lambda f, p: None), "no space": _h5(lambda f, p: f.create_dataset("emg", data=h5py.Empty("f8"))),
        "a scalar": _h5(lambda f, p: f.__setitem__("emg", 3.0)), "references": _h5(lambda f, p: f.__setitem__("emg", np.array([f.ref], h5py.ref_dtype))), "9 axes": _h5(lambda f, p: f.__setitem__("emg", np.zeros((1,) * 9))),
        "a gigabyte that unpacks": _h5(lambda f, p: f.create_dataset("emg", (2**27,), "f8", chunks=(2**20,), compression="gzip")), "100 deep": _h5(lambda f, p: f.create_group("/".join("a" * 100))), "2000 datasets": _h5(lambda f, p: [f.__setitem__(f"d{k}", 0.0) for k in range(2000)]),
        "cut": _damaged("a.h5", cut=700), "a device": _link("/dev/zero"), "terminal codes": _h5(lambda f, p: f.__setitem__("\x1b[2J", np.zeros((9, 2)))),
    },
    "mat": {
        "cells 300 deep": _mat(emg=_nested(300)), "nothing": _mat(), "text of 3 axes": _mat(emg=np.full((2, 2, 2), "a")), "complex": _mat(emg=np.ones((50, 3)) * 1j), "empty": _mat(emg=np.zeros((0, 3))), "truth": _mat(emg=np.ones((50, 3), bool)),
        "sparse": _mat(emg=scipy.sparse.eye(50).tocsc()), "infinite": _mat(emg=np.full((50, 3), np.inf), rate=1000.0), "structs": _mat(a={"b": {"c": np.zeros((50, 3)), "rate": np.nan}}), "2000 variables": _mat(**{f"v{k}": 0.0 for k in range(2000)}),
        "cut": _damaged("a.mat", cut=300), "lengths of 2^32": _damaged("a.mat", (132, b"\xff" * 4)), "a tag of nothing": _damaged("a.mat", (128, bytes(8))), "other order of bytes": _damaged("a.mat", (126, b"MI")),
    },
    "xdf": {"the mark alone": lambda p: p.write_bytes(b"XDF:"), "a length of 2^63": lambda p: p.write_bytes(b"XDF:\x08" + b"\xff" * 7 + b"\x7f\x02\x00"), "lengths of no kind": lambda p: p.write_bytes(b"XDF:" + b"\x07" * 99), "cut": _damaged("a.xdf", cut=200)},
    "c3d": {"the mark alone": lambda p: p.write_bytes(b"\x02\x50" + bytes(510)), "65535 points": _damaged("a.c3d", (2, b"\xff\xff\xff\xff")), "frames back": _damaged("a.c3d", (6, b"\xff\xff\x01\x00")), "cut": _damaged("a.c3d", cut=600), "no scale": _damaged("a.c3d", (12, bytes(4)))},
    "csv": {"a folder": Path.mkdir, "a pipe": os.mkfifo, "a device": _link("/dev/zero"), "random": _link("/dev/urandom"), "a link to itself": _link("a.csv"), "a link to nothing": _link("none"), "a terminal": _link("/dev/tty"), "what the system shows": _link("/proc/self/mem")},
    "config": {"a pipe": os.mkfifo, "a device": _link("/dev/zero")}, "cohort": {"a pipe": os.mkfifo, "a device": _link("/dev/zero")},
    "model": {n: lambda p, t=t: p.write_text(t) for n, t in {"empty": "", "a list": "[]", "deep": "[" * 9000, "no arrays": '{"format": "pitl", "schema": 1}', "arrays of 2^60": '{"format": "pitl", "schema": 1, "files": {}, "meta": {}, "arrays": [{"name": ["a"], "dtype": "float64", "shape": [1152921504606846976]}]}', "a negative shape": '{"format": "pitl", "schema": 1, "files": {}, "meta": {}, "arrays": [{"name": ["a"], "dtype": "object", "shape": [-1]}]}', "5000 digits": f'{{"format": "pitl", "schema": {LONG}}}', "files elsewhere": '{"format": "pitl", "schema": 1, "meta": {}, "arrays": [], "files": {"../../etc/passwd": "a"}}'}.items()},
}  # fmt: skip
CASES = [(kind, name) for table in (TEXTS, MADE) for kind, cases in table.items() for name in cases]


def test_there_are_enough_of_them():
    assert len(CASES) > 200 and len(CASES) == len(set(CASES))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_directed_input_is_read_or_refused_in_a_sentence(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / fuzz_kinds.NAMES[kind]
    made = MADE.get(kind, {}).get(name)
    if made is None:
        content = TEXTS[kind][name]
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    else:
        made(path)
    read, began = fuzz_kinds.reader(kind), time.monotonic()
    try:
        read(path)
    except PitlError as e:
        said = str(e)
        assert "\n" not in said and len(said) < 1500 and said.isprintable(), said
        assert str(tmp_path) in said or "/dev/zero" in said, said  # what the input names in its turn
    assert time.monotonic() - began < LONGEST_S
