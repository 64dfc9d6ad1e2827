"""CMU-MOSI from pickles in the real forms, made here, and from pickles that try to do something else."""

import builtins
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmtutor.data.mosi import _ALLOWED, Mosi, _read_pickle, convert_mosi, mosi
from mmtutor.metrics import predict
from mmtutor.mfm import absolute_error, sequence_mfm
from mmtutor.training import fit

MODULE = sys.modules["mmtutor.data.mosi"]

COUNTS = {"train": 9, "valid": 4, "test": 5}
STEPS = 6
PROTOCOLS = [2, 3, 4, 5]


def features(n, sizes, rng, side):
    """Features whose example k has 1 + k % STEPS real steps on the left or right side, and these lengths."""
    lengths = 1 + np.arange(n) % STEPS
    step = np.arange(STEPS)
    real = step >= STEPS - lengths[:, None] if side == "right" else step < lengths[:, None]
    arrays = [rng.normal(size=(n, STEPS, d)).astype(np.float32) * real[:, :, None] for d in sizes]
    return arrays, lengths


def scores(n, rng):
    score = rng.uniform(-3, 3, n).astype(np.float32)
    score[:3] = 0, 3, -3
    return score


def mmsa():
    """MMSA's form: right padded, with sentences."""
    rng = np.random.default_rng(0)
    content = {}
    for split, n in COUNTS.items():
        (text, audio, vision), _ = features(n, (12, 5, 7), rng, "left")
        content[split] = {
            "raw_text": np.array([f"IT WAS GOOD {split} {k} é" for k in range(n)], object),
            "audio": audio.astype(np.float64),
            "vision": vision.astype(np.float64),
            "id": [f"video$_${k}" for k in range(n)],
            "text": text,
            "text_bert": np.zeros((n, 3, STEPS)),
            "annotations": ["Positive"] * n,
            "classification_labels": np.arange(n) % 3,
            "regression_labels": scores(n, rng),
        }
    return content


def multibench():
    """MultiBench's form: left padded, scores (N, 1, 1), the id of a list of three."""
    rng = np.random.default_rng(1)
    content = {}
    for split, n in COUNTS.items():
        (text, audio, vision), _ = features(n, (10, 4, 3), rng, "right")
        ids = np.array([[f"video{k}".encode(), b"1.5", b"2.5"] for k in range(n)])
        labels = scores(n, rng).reshape(n, 1, 1)
        content[split] = {"vision": vision, "labels": labels, "text": text, "audio": audio, "id": ids}
    return content


def write(path, content, protocol=4):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def older(path, seconds=100):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "mosi.pkl"


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "data").mkdir()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("make", "side"), [(mmsa, "left"), (multibench, "right")])
def test_every_split_is_read_and_ends_with_its_last_real_step(file, make, side, protocol):
    content = make()
    write(file, content, protocol)
    for split, n in COUNTS.items():
        data = mosi(file, split, zeros="negative")
        assert isinstance(data, Mosi)
        assert data.modalities == ("language", "acoustic", "visual")
        lengths = 1 + np.arange(n) % STEPS
        assert data.tensors["length"].dtype == torch.int64
        assert data.tensors["length"].tolist() == lengths.tolist()
        for name, key in (("language", "text"), ("acoustic", "audio"), ("visual", "vision")):
            value, given = data.tensors[name], content[split][key].astype(np.float32)
            assert value.dtype == torch.float32
            assert value.shape == given.shape
            for k, length in enumerate(lengths):
                real = given[k, :length] if side == "left" else given[k, STEPS - length :]
                np.testing.assert_array_equal(value[k, STEPS - length :], real)
                assert not value[k, : STEPS - length].any()
        score = content[split].get("regression_labels", content[split].get("labels")).reshape(n)
        np.testing.assert_array_equal(data.tensors["score_label"], score)
        assert data.tensors["score_label"].dtype == torch.float32
        assert data.tensors["label"].tolist() == (score > 0).astype(int).tolist()
        assert data.tensors["label"].dtype == torch.int64
        assert data.repaired == {"language": 0, "acoustic": 0, "visual": 0}
    assert sorted(path.name for path in file.parent.iterdir()) == ["mosi.pkl", "mosi.pkl.npz"]


def test_sentences_and_ids(file):
    write(file, mmsa())
    data = mosi(file, "test", zeros="negative")
    assert data.sentences == [f"IT WAS GOOD test {k} é" for k in range(5)]
    assert data.ids == [f"video$_${k}" for k in range(5)]
    write(file, multibench())
    data = mosi(older(file, -100), "test", zeros="negative")
    assert data.sentences is None
    assert data.ids == [f"video{k} 1.5 2.5" for k in range(5)]


def test_a_score_of_zero_is_dropped_or_negative(file):
    write(file, mmsa())
    every = mosi(file, "train", zeros="negative")
    some = mosi(file, "train")
    assert every.tensors["score_label"][0] == 0
    assert every.tensors["label"][0] == 0
    assert len(some) == len(every) - 1
    assert some.sentences == every.sentences[1:]
    assert some.ids == every.ids[1:]
    for name, value in every.tensors.items():
        torch.testing.assert_close(some.tensors[name], value[1:])
    with pytest.raises(ValueError, match="zeros must be"):
        mosi(file, "train", zeros="positive")


def test_what_is_not_finite_becomes_zero_and_is_counted(file):
    content = mmsa()
    audio = content["train"]["audio"]
    audio[5, 0, :3] = -np.inf, np.inf, np.nan
    audio[5, 1, 0] = 1e300  # too large for float32
    data = mosi(write(file, content), "train", zeros="negative")
    assert data.repaired == {"language": 0, "acoustic": 4, "visual": 0}
    assert data.tensors["acoustic"].isfinite().all()
    assert not data.tensors["acoustic"][5, 0, :3].any()  # example 5 has all 6 steps
    assert data.tensors["acoustic"][5, 0, 3] == np.float32(audio[5, 0, 3])
    assert mosi(file, "test").repaired["acoustic"] == 0


def test_an_example_of_zeros_has_one_step(file):
    content = mmsa()
    for key in ("text", "audio", "vision"):
        content["test"][key][3] = 0
    data = mosi(write(file, content), "test", zeros="negative")
    assert data.tensors["length"][3] == 1
    assert not data.tensors["language"][3].any()


def test_a_step_is_padding_only_if_all_modalities_are_zero_from_there_on(file):
    content = mmsa()
    for key in ("text", "audio", "vision"):
        content["test"][key][0] = 0
    content["test"]["text"][0, 1] = 1
    content["test"]["vision"][0, 3] = 2
    data = mosi(write(file, content), "test", zeros="negative")
    assert data.tensors["length"][0] == 3
    assert data.tensors["language"][0, :, 0].tolist() == [0, 0, 0, 1, 0, 0]
    assert data.tensors["visual"][0, :, 0].tolist() == [0, 0, 0, 0, 0, 2]


def test_an_unknown_split(file):
    with pytest.raises(ValueError, match="train, valid, test, got 'dev'; did you mean 'valid'"):
        mosi(file, "dev")


# Scores and classes ------------------------------------------------------------------------------------------------


def labelled(*labels, form=multibench):
    """A file whose splits have these labels, each repeated over the split."""
    content = form()
    for split, values in zip(COUNTS, labels * (3 if len(labels) == 1 else 1), strict=True):
        content[split]["labels"] = np.resize(np.array(values), (COUNTS[split], 1, 1))
    return content


def test_a_regression_learns_the_score(file, fit_device):
    write(file, mmsa())
    data, sign = mosi(file, "train", label="score"), mosi(file, "train", zeros="negative")
    assert torch.equal(data.tensors["label"], sign.tensors["score_label"])  # zeros too
    assert data.tensors["label"].dtype == torch.float32
    assert data.dropped == 0
    assert data.sentences == sign.sentences
    sizes = {"language": 12, "acoustic": 5, "visual": 7}
    model = sequence_mfm(sizes, STEPS, 1, label_cost=absolute_error, hidden=4, memory=4, attend=4, z=4, f=4)
    cost = fit(model, data, epochs=1, progress=False).train["label"][0]
    wanted = (predict(model, data)[:, 0] - data.tensors["label"]).abs().mean().item()
    assert cost == pytest.approx(wanted, abs=0.1)  # one step of training lies between


@pytest.mark.parametrize("kind", [int, float, np.uint8])
def test_classes_0_and_1_are_classes(file, kind):
    write(file, labelled([kind(1), kind(0)]))
    for split, n in COUNTS.items():
        for data in (mosi(file, split), mosi(file, split, label="class"), mosi(file, split, zeros="negative")):
            assert data.tensors["label"].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1][:n]
            assert data.tensors["label"].dtype == torch.int64
            assert data.dropped == 0
    assert "score_label" not in mosi(file, "train").tensors
    with pytest.raises(ValueError, match="from 0 to 1, which could be classes or scores; say label="):
        mosi(file, "train", zeros="drop")
    with pytest.warns(UserWarning, match="4 of 9 examples have a score of 0 and are left out, .* positive") as caught:
        assert mosi(file, "train", label="sign").dropped == 4
    assert caught[0].filename == __file__


def test_more_classes_must_be_called_so(file):
    write(file, labelled([0, 2, 1, 6]))
    with pytest.raises(ValueError, match=r"mosi\.pkl: the labels are whole numbers from 0 to 6.*label=\"class\""):
        mosi(file, "train")
    assert mosi(file, "train", label="class").tensors["label"].tolist() == [0, 2, 1, 6, 0, 2, 1, 6, 0]
    assert mosi(file, "test", label="score").tensors["label"].tolist() == [0, 2, 1, 6, 0]


@pytest.mark.parametrize("labels", [([-3, 2, 0, 1, -1],), ([-1, 1],), ([1, 0], [1, 0], [-1, 0, 1]), ([0.5, 1, 0],)])
def test_whole_scores_stay_scores(file, labels):
    """Whether labels are scores is a question to the whole file: a split may have none below 0."""
    write(file, labelled(*labels))
    score = np.resize(np.array(labels[0]), COUNTS["train"])
    data = mosi(file, "train", zeros="negative")
    assert data.tensors["label"].tolist() == (score > 0).astype(int).tolist()
    assert data.tensors["score_label"].tolist() == score.tolist()
    if min(map(min, labels)) < 0:
        with pytest.raises(ValueError, match=r"classes should be whole numbers from 0, found -.*label="):
            mosi(file, "train", label="class")


def test_what_is_dropped_is_counted_and_much_of_it_is_said(file):
    write(file, mmsa())
    assert [mosi(file, split).dropped for split in COUNTS] == [1, 1, 1]
    write(file, labelled([0, 0, 0, 2, -1], [0, -2], [0, 0, 0, 0, 0]))
    older(file, -100)
    with pytest.warns(UserWarning, match="train: 6 of 9 examples have a score of 0 and are left out; zeros="):
        assert mosi(file, "train").dropped == 6
    with pytest.warns(UserWarning, match="valid: 2 of 4 .* left out, and all that are left are negative"):
        assert mosi(file, "valid").dropped == 2
    with pytest.raises(ValueError, match="test: all 5 scores are 0; zeros="):
        mosi(file, "test")
    assert len(mosi(file, "test", label="score")) == 5


def test_arguments_that_do_not_fit(file):
    write(file, mmsa())
    for label in ("scores", "classes", 3, True):
        with pytest.raises(ValueError, match='label must be "sign", "score" or "class", got'):
            mosi(file, "train", label=label)
    for label in ("score", "class"):
        with pytest.raises(ValueError, match=f"all examples are kept with label='{label}'; leave it out"):
            mosi(file, "train", label=label, zeros="drop")


@pytest.mark.parametrize("name", ["dev", "val", "validation"])
def test_valid_has_other_names(file, name):
    content = multibench()
    content[name] = content.pop("valid")
    assert len(mosi(write(file, content), "valid", zeros="negative")) == COUNTS["valid"]


# The npz ----------------------------------------------------------------------------------------------------------


def test_the_npz_is_read_as_long_as_it_is_newer(file, monkeypatch):
    write(file, mmsa())
    older(file)
    first = mosi(file, "test")
    npz = file.with_name("mosi.pkl.npz")
    written = npz.stat().st_mtime_ns
    with monkeypatch.context() as m:
        m.setattr(MODULE, "_read_pickle", None)
        again = mosi(file, "test")
        direct = mosi(npz, "test")
    for name, value in first.tensors.items():
        torch.testing.assert_close(again.tensors[name], value)
        torch.testing.assert_close(direct.tensors[name], value)
    assert direct.sentences == again.sentences == first.sentences
    assert npz.stat().st_mtime_ns == written
    write(file, multibench())
    older(npz)
    assert mosi(file, "test").tensors["language"].shape[2] == 10


def test_the_npz_has_no_objects(file):
    npz = convert_mosi(write(file, mmsa()))
    assert npz == file.with_name("mosi.pkl.npz")
    with np.load(npz, allow_pickle=False) as data:
        assert {name.split("/")[0] for name in data.files} == set(COUNTS)
        assert not any(data[name].dtype.hasobject for name in data.files)


def test_a_folder_that_cannot_be_written_uses_the_cache(file, tmp_path, monkeypatch):
    write(file, mmsa())
    older(file)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert len(mosi(file, "test", folder=tmp_path / "mine")) == 4
    assert list(file.parent.iterdir()) == [file]
    assert len(list((tmp_path / "mine" / "mosi").glob("mosi-*.npz"))) == 1
    monkeypatch.setattr(MODULE, "_read_pickle", None)
    assert len(mosi(file, "test", folder=tmp_path / "mine")) == 4


def test_a_path_for_the_npz(file, tmp_path):
    write(file, mmsa())
    assert convert_mosi(file, tmp_path / "x.npz") == tmp_path / "x.npz"
    assert len(mosi(str(tmp_path / "x.npz"), "valid")) == 3
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        convert_mosi(file, tmp_path / "x.pkl")


@pytest.mark.parametrize("where", ["numpy.savez", "os.fsync"])
def test_a_conversion_that_fails_leaves_the_old_file(file, monkeypatch, where):
    npz = convert_mosi(write(file, mmsa()))
    old = npz.read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(where, full)
    with pytest.raises(OSError, match="no space left"):
        convert_mosi(file)
    assert npz.read_bytes() == old
    assert sorted(path.name for path in file.parent.iterdir()) == ["mosi.pkl", "mosi.pkl.npz"]


def test_a_conversion_killed_midway_leaves_nothing_under_the_name(file):
    write(file, mmsa())
    program = (
        "import os, sys, numpy as np; from mmtutor.data.mosi import convert_mosi\n"
        "def die(file, **arrays): file.write(b'PK half'); file.flush(); os._exit(9)\n"
        "np.savez = die; convert_mosi(sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", program, str(file)], check=False).returncode == 9
    assert not file.with_name("mosi.pkl.npz").exists()
    assert len(mosi(file, "test")) == 4


def test_a_damaged_npz_is_named(file):
    npz = convert_mosi(write(file, mmsa()))
    whole = npz.read_bytes()
    other = io.BytesIO()
    np.savez(other, x=np.zeros(3))
    bad = [whole[: len(whole) // 2], b"", b"PK", pickle.dumps([1]), other.getvalue()]
    for content in bad:
        npz.write_bytes(content)
        with pytest.raises(ValueError, match=r"mosi\.pkl\.npz: damaged, or no file of convert_mosi"):
            mosi(npz, "test")
    with pytest.raises(FileNotFoundError):
        mosi(file.with_name("none.npz"), "test")
    with pytest.raises(FileNotFoundError):
        mosi(file.with_name("none.pkl"), "test")


def test_an_npz_of_objects_is_not_unpickled(file, tmp_path):
    npz = file.with_name("x.npz")
    np.savez(npz, **{"test/language": np.array([Run(open, str(tmp_path / "ran"), "w")], object)})
    with pytest.raises(ValueError, match="damaged"):
        mosi(npz, "test")
    assert not (tmp_path / "ran").exists()


# Content that is not what it should be ----------------------------------------------------------------------------


def change(key, new, split="valid", form=mmsa):
    content = form()
    if new is None:
        del content[split][key]
    else:
        content[split][key] = new(content[split][key])
    return content


WRONG = [
    ([1], "should be a dict, is list"),
    ({}, "has no 'train', only nothing"),
    ({k: v for k, v in mmsa().items() if k != "test"}, "has no 'test', only train, valid"),
    (mmsa() | {"valid": 3}, "valid: should be a dict, is int"),
    (change("vision", None), "valid: has no 'vision'"),
    (change("regression_labels", None), "valid: has no 'labels'"),
    (change("text", lambda x: x[0]), r"'text': should be floats, \(N, steps, features\), is float32 \(6, 12\)"),
    (change("text", lambda x: x.astype(int)), "'text': should be floats.* is int64"),
    (change("text", lambda x: x.astype(object)), "'text': should be floats.* is object"),
    (change("text", lambda x: x.astype("U9")), "'text': should be floats.* is <U9"),
    (change("text", lambda x: x.tolist()), "'text': should be an array, is list"),
    (change("text", lambda x: x[:, :, :0]), r"'text': should be floats.* is float32 \(4, 6, 0\)"),
    (change("audio", lambda x: x[:3]), r"same N and steps .* audio \(3, 6, 5\)"),
    (change("audio", lambda x: np.repeat(x, 2, 1)), r"same N and steps .* audio \(4, 12, 5\)"),
    (change("regression_labels", lambda x: x[:2]), r"one score for each of 4 examples, is \(2,\)"),
    (change("regression_labels", lambda x: x.astype("U9")), "should be numbers"),
    (change("regression_labels", lambda x: x[0]), r"should be numbers, \(N, ...\), is float32 \(\)"),
    (change("regression_labels", lambda x: x + 4), "scores should be from -3 to 3, found 1.0 to 7.0"),
    (change("regression_labels", lambda x: x * np.nan), "scores should be from -3 to 3, found nan"),
    (change("regression_labels", lambda x: np.full(4, -128, np.int8)), "scores should be from -3 to 3"),
    (change("labels", lambda x: np.repeat(x, 7, 2), form=multibench), r"one score .* is \(4, 1, 7\)"),
    (change("raw_text", lambda x: x[:2]), "'raw_text': should be 4 texts"),
    (change("raw_text", lambda x: [None] * 4), "'raw_text': should be texts, found NoneType"),
    (change("id", lambda x: 3), "'id': should be 4 texts"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_content_is_named_and_nothing_written(file, content, message):
    write(file, content)
    with pytest.raises(ValueError, match=message) as caught:
        mosi(file, "train")
    assert str(file) in str(caught.value)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_truncated_pickle_is_named(file, protocol):
    whole = pickle.dumps(multibench(), protocol)
    for length in [*range(40), *range(40, len(whole), 211), len(whole) - 1]:
        write(file, whole[:length])
        with pytest.raises(ValueError, match=r"mosi\.pkl: cut off, damaged, or no pickle .* download it again"):
            convert_mosi(file)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    "content", [b"<html>Too many requests</html>", b"PK\3\4" + bytes(99), bytes(99), b"\x89HDF\r\n"]
)
def test_something_else_than_a_pickle_is_named(file, content):
    with pytest.raises(ValueError, match="cut off, damaged, or no pickle"):
        convert_mosi(write(file, content))


def test_flipped_bytes_give_a_value_error_or_data(file):
    """Damage of any kind ends in one error, or in arrays that passed all checks."""
    whole = pickle.dumps(multibench(), 2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(min(len(whole), 4000))] = rng.integers(256)
        with contextlib.suppress(ValueError, MemoryError):
            convert_mosi(write(file, bytes(damaged)))


# Pickles of Python 2 ----------------------------------------------------------------------------------------------


def python2(value):
    """A pickle as Python 2 writes it with protocol 2: its str are bytes of no encoding."""

    def text(value):
        value = value if isinstance(value, bytes) else value.encode()
        return b"T" + struct.pack("<i", len(value)) + value

    def put(value):
        if isinstance(value, dict):
            return b"}(" + b"".join(put(k) + put(v) for k, v in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(put, value)) + b"e"
        if isinstance(value, np.ndarray):
            kind, order = value.dtype.str[1:], value.dtype.str[:1]
            shape = b"(" + b"".join(b"K" + bytes([n]) for n in value.shape) + b"t"
            size = b"J\xff\xff\xff\xff" if kind[0] != "S" else b"K" + bytes([value.dtype.itemsize])
            return (
                b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + text("b") + b"tR(K\1" + shape
                # the type, its state, and the content, rows first
                + b"cnumpy\ndtype\n(" + text(kind) + b"K\0K\1tR(K\3" + text(order) + b"NNN" + size * 2 + b"K\0tb"
                + b"\x89" + text(value.tobytes()) + b"tb"
            )  # fmt: skip
        return text(value)

    return b"\x80\2" + put(value) + b"."


def test_the_writer_of_old_pickles_writes_what_numpy_reads():
    content = multibench()
    read = pickle.loads(python2(content["test"]), encoding="latin1")
    for key, value in content["test"].items():
        np.testing.assert_array_equal(read[key], value)


def test_a_pickle_of_python_2(file):
    content = multibench()
    content["test"]["audio"] = content["test"]["audio"].astype(">f8")
    write(file, python2(content))
    old = mosi(file, "test")
    write(file.with_name("new.pkl"), content)
    new = mosi(file.with_name("new.pkl"), "test")
    assert old.ids == new.ids
    for name, value in new.tensors.items():
        torch.testing.assert_close(old.tensors[name], value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_read_as_numpy_reads_them(file, protocol):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = [x, x.T, x.transpose(1, 0, 2), x[:, ::2], np.float32(2.5), np.array(True), np.array(["é", "bc"])]
    arrays += [x.astype(kind) for kind in (">f8", "f2", "i1", ">u2", "i8")] + [np.array([b"x", b"yz"]), x.astype("S3")]
    arrays += [x[:0]] * (protocol > 2)  # protocol 2 writes no bytes at all as a call of bytes()
    arrays += [np.array([["a", 1], [None, b"b"]], object), np.array([["a", 1], [None, b"b"]], object).T]
    for array, got in zip(arrays, _read_pickle(write(file, arrays, protocol)), strict=True):
        assert got.value.dtype == array.dtype
        assert got.value.tolist() == array.tolist()


# Pickles that try to do something ---------------------------------------------------------------------------------


class Run:
    """A pickle of this calls a function."""

    def __init__(self, function, *args):
        self.how = function, args

    def __reduce__(self):
        return self.how


def op(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def name(module, attribute, protocol=4):
    """The opcodes that look a name up."""
    if protocol < 4:
        return f"c{module}\n{attribute}\n".encode()
    return op(module) + op(attribute) + b"\x93"


def attacks(target):
    """Pickles that would make the file ``target``, or change something, with what the refusal names."""
    touch = f"touch {target}"
    run = f"open({target!r}, 'w').close()"
    yield "system", pickle.dumps(Run(os.system, touch)), r"(posix|nt)\.system"
    yield "eval", pickle.dumps(Run(eval, run)), r"builtins\.eval"
    yield "eval, protocol 2", pickle.dumps(Run(eval, run), 2), "__builtin__.eval"
    yield "popen", pickle.dumps(Run(subprocess.Popen, ["touch", target])), r"subprocess\.Popen"
    nested = mmsa()
    nested["train"]["raw_text"][0] = Run(builtins.exec, run)
    for protocol in PROTOCOLS:
        yield f"in an array of objects {protocol}", pickle.dumps(nested, protocol), r"\.exec"
    yield "in a key", pickle.dumps({Run(os.mkdir, target): 1}), r"\.mkdir"
    for module, attribute in (
        ("os", "system"),
        ("numpy", "load"),
        ("numpy", "core.multiarray.__loader__.exec_module"),
        ("numpy", "dtype.__class__.__base__"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py.crackfortran", "myeval"),
        ("numpy", "memmap"),
        ("numpy", "matrix"),
        ("builtins", "getattr"),
        ("_codecs", "decode"),
        ("_codecs", "lookup"),
        ("mmtutor.data.mosi", "_Unpickler"),
        ("NumPy", "dtype"),
        ("", ""),
    ):
        message = rf"{module}\.{attribute}"
        yield f"STACK_GLOBAL {module}.{attribute}", b"\x80\4" + name(module, attribute) + op(touch) + b"\x85R.", message
        yield f"GLOBAL {module}.{attribute}", b"\x80\2" + name(module, attribute, 2) + op(touch) + b"\x85R.", message
    yield "INST", f"(S'{touch}'\nios\nsystem\n.".encode(), r"os\.system"
    yield "OBJ", b"\x80\2(" + name("os", "system", 2) + op(touch) + b"o.", r"os\.system"
    yield "NEWOBJ", b"\x80\2" + name("subprocess", "Popen", 2) + op(touch) + b"\x85\x81.", r"subprocess\.Popen"
    yield "NEWOBJ_EX", b"\x80\4" + name("subprocess", "Popen") + op(touch) + b"\x85}\x92.", r"subprocess\.Popen"
    yield "a persistent id", b"\x80\4" + op("x") + b"Q.", "persistent"
    yield "an extension", b"\x80\2\x82\xf0.", "cut off"
    yield "a buffer from elsewhere", b"\x80\5\x97.", "cut off"
    # Names that are admitted, used for something else.
    yield "a codec", b"\x80\4" + name("_codecs", "encode") + op("x") + op("idna") + b"\x86R.", "the codec 'idna'"
    yield "no text", b"\x80\4" + name("_codecs", "encode") + b"K\1" + op("latin1") + b"\x86R.", "codec"
    kind = b"\x80\4" + name("numpy", "dtype")
    yield "a type of records", kind + op("f4,O") + b"\x85R.", "an array of 'f4,O'"
    yield "a type of a list", kind + b"]\x85R.", r"an array of \[\]"
    yield "a type by a name", kind + op("V8") + b"\x85R.", "an array of 'V8'"
    fields = b"(K\3" + op("|") + b"N" + op("a") + b"\x85}" + op("a") + name("numpy", "dtype") + op("O") + b"\x85R"
    fields += b"K\0\x86sK\x08K\1K\0tb"
    yield "fields in a state", kind + op("f8") + b"\x85R" + fields + b".", "an array of records"
    state = b"}" + op("__setstate__") + b"K\1sb."
    for module, attribute in _ALLOWED:
        setting = b"\x80\4" + name(module, attribute)
        yield f"BUILD on {module}.{attribute}", setting + state, "cut off"
        yield f"BUILD of slots on {module}.{attribute}", setting + b"N" + state[:-2] + b"\x86b.", "cut off"
        yield f"SETITEM on {module}.{attribute}", setting + op("x") + b"K\1s.", "cut off"
        yield f"APPEND to {module}.{attribute}", setting + b"K\1a.", "cut off"
        yield f"{module}.{attribute} without arguments, BUILD", setting + b")\x81" + state, "refused|cut off"
        for args in (b")", b"N\x85", b"K\1K\1\x86", op("f8") + b"\x85", b"]K\1]\x87", b"K\1" * 0 + b"(NNNNt"):
            yield f"{module}.{attribute} with {args!r}", setting + args + b"R.", "refused|cut off|should be a dict"
    # An array that claims more than it has: numpy would read beyond the end.
    array = b"\x80\4" + name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\0\x85C\1b\x87R"
    f8 = name("numpy", "dtype") + op("f8") + b"\x85R"
    yield "more than it has", array + b"(K\1K\x63\x85" + f8 + b"\x89C\1xtb.", r"1 bytes for an array \(99,\)"
    yield (
        "less than none",
        array + b"(K\1J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + f8 + b"\x89C\x08xxxxxxxxtb.",
        "cut off",
    )
    letters = name("numpy", "dtype") + op("U1") + b"\x85R"
    yield "no letter", array + b"(K\1K\1\x85" + letters + b"\x89C\4\xff\xff\xff\xfftb.", "cut off"
    pointers = name("numpy", "dtype") + op("O8") + b"\x85R"
    records = kind[2:] + op("V8") + b"\x85R" + fields
    # Of this the plain unpickler makes an array, and the process crashes when its element is looked at.
    yield "bytes for pointers", array + b"(K\1K\1\x85" + records + b"\x89C\x08xxxxxxxxtb.", "an array of 'V8'"
    yield "bytes for objects", array + b"(K\1K\1\x85" + pointers + b"\x89C\x08xxxxxxxxtb.", r"cut off"


def test_a_pickle_that_tries_something_is_refused_and_not_run(file, tmp_path):
    target = tmp_path / "ran"
    table = {key: dict(vars(stand_in)) for key, stand_in in _ALLOWED.items()}
    modules = set(sys.modules)
    count = 0
    for what, content, message in attacks(str(target)):
        write(file, content)
        with pytest.raises(ValueError, match=message) as caught:
            convert_mosi(file)
        assert str(file) in str(caught.value), what
        assert not target.exists(), what
        assert list(file.parent.iterdir()) == [file], what
        count += 1
    assert count > 100
    assert {key: dict(vars(stand_in)) for key, stand_in in _ALLOWED.items()} == table
    assert set(sys.modules) == modules
    assert np.dtype("f8") == np.float64


def test_the_attacks_are_real(tmp_path):
    """The plain unpickler runs them, so that their refusal means something."""
    target = tmp_path / "ran"
    for what, content, _ in attacks(str(target)):
        if what in ("system", "eval", "eval, protocol 2", "INST", "OBJ", "STACK_GLOBAL os.system"):
            pickle.loads(content)
            assert target.exists(), what
            target.unlink()


def test_too_little_memory_is_not_taken_for_a_damaged_file(file, monkeypatch):
    def too_large(*args, **kwargs):
        raise MemoryError

    npz = convert_mosi(write(file, mmsa()))
    monkeypatch.setattr(MODULE._Unpickler, "find_class", too_large)
    with pytest.raises(MemoryError):
        convert_mosi(file)
    monkeypatch.setattr("numpy.load", too_large)
    with pytest.raises(MemoryError):
        mosi(npz, "test")
