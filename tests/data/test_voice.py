"""Scenes in which an object speaks: what is said, by whom, and that it is heard; twins."""

import numpy as np
import pytest
import torch

from mmtutor.data import COLOURS, scenes, speak, twins
from mmtutor.data.items import Items
from mmtutor.data.spoken import log_mel, spoken

CLEAN = (float("inf"), float("inf"))


def tones(split):
    """Each digit is a tone of its own, two takes."""
    t = np.arange(8000) / 8000
    waves = [0.4 * np.sin(2 * np.pi * (300 + 300 * digit) * t) for digit in range(10)]
    return Items(np.array(waves * 2, np.float32), np.arange(20) % 10)


def heard(wave):
    """The tones of a sound, by the Fourier transform."""
    power = np.abs(np.fft.rfft(np.asarray(wave, float)))
    return {digit for digit in range(10) if power[300 + 300 * digit] > 0.3 * power.max()}


@pytest.fixture(scope="module")
def world():
    return scenes("test", n=60, progress=False)


def test_a_voice_says_the_digit_of_the_object_that_speaks(world):
    data = speak(world, "test", snr_db=CLEAN, source=tones, waveform=True, progress=False)
    assert (data.tensors["speaks_label"].sum(1) == 1).all()
    for k in range(60):
        example = data[k]
        (digit,) = example["digit_label"][example["speaks_label"]].tolist()
        assert digit == example["said_label"]
        assert heard(example["waveform"]) == {digit}
        np.testing.assert_array_equal(example["spoken"], log_mel(example["waveform"].numpy()))
    several = (data.tensors["digit_label"] >= 0).sum(1) > 1
    assert 0.2 < data.tensors["speaks_label"][several, 0].float().mean() < 0.7
    assert data.captions == world.captions
    assert data.objects == world.objects


def test_it_can_come_from_elsewhere_or_be_silent(world):
    other = speak(world, "test", says="other", snr_db=CLEAN, source=tones, waveform=True, progress=False)
    assert not other.tensors["speaks_label"].any()
    for k in range(60):
        (said,) = heard(other[k]["waveform"])
        assert said == other[k]["said_label"]
        assert said not in other[k]["digit_label"]
    silent = speak(world, "test", says="nothing", waveform=True, progress=False)
    assert (silent.tensors["said_label"] == -1).all()
    assert not silent.tensors["speaks_label"].any()
    wave = silent.tensors["waveform"]
    assert wave.abs().max() == 1
    assert (wave[:, 1:] * wave[:, :-1]).mean().abs() < 0.01 * wave.square().mean()
    assert not speak(world, "test", says="nothing", snr_db=CLEAN, progress=False).tensors["spoken"].any()


def test_several_may_speak_at_once(world):
    data = speak(world, "test", voices=2, snr_db=CLEAN, source=tones, waveform=True, progress=False)
    for k in range(60):
        example = data[k]
        speaks = set(example["digit_label"][example["speaks_label"]].tolist())
        assert len(speaks) == min(2, len(world.objects[k]))
        assert heard(example["waveform"]) == speaks


def test_a_sound_depends_on_its_scene_and_seed_alone(world):
    few = scenes("test", n=5, progress=False)
    first = speak(world, "test", progress=False)[:5]
    for name, value in speak(few, "test", progress=False)[:].items():
        assert (value == first[name]).all(), name
    assert (speak(few, "test", seed=1, progress=False)[:]["spoken"] != first["spoken"]).any()


def test_voices_are_those_of_the_split(world):
    clips = {split: [wave.tobytes() for wave in spoken(split).values] for split in ("train", "test")}
    for split, own in clips.items():
        data = speak(world, split, snr_db=CLEAN, waveform=True, progress=False)
        assert all(wave.numpy().tobytes() in own for wave in data.tensors["waveform"])


def test_twins_show_one_digit_twice_in_two_colours():
    data = twins("test", n=50)
    shown, colour = data.tensors["digit_label"], data.tensors["colour_label"]
    assert (shown[:, 0] == shown[:, 1]).all()
    assert (colour[:, 0] != colour[:, 1]).all()
    assert len(shown[:, 0].unique()) == 10
    names = list(COLOURS)
    for k, things in enumerate(data.objects):
        owner = data.tensors["owner_label"][k]
        for j, thing in enumerate(things):
            left, top, right, bottom = thing.box
            assert (owner[top:bottom, left:right] == j).any()
            assert (thing.digit, names.index(thing.colour)) == (shown[k, j], colour[k, j])
            assert thing.colour in data.captions[k][0]
    first = twins("test", n=4)
    for name, value in first[:].items():
        assert (value == data[:4][name]).all()
    assert (twins("test", n=4, seed=1)[:]["scene"] != first[:]["scene"]).any()
    said = speak(data, "test", progress=False)
    assert (said.tensors["said_label"] == shown[:, 0]).all()
    assert 0.3 < said.tensors["speaks_label"][:, 0].float().mean() < 0.7


def test_bad_arguments_are_refused(world):
    for arguments, error, message in (
        ({"says": "silence"}, ValueError, "says must be one of shown, other, nothing, got 'silence'"),
        ({"voices": 0}, ValueError, "voices must be a whole number from 1 to 4"),
        ({"seed": -1}, ValueError, "seed must be a whole number"),
        ({"snr_db": 3}, ValueError, "snr_db must be"),
        ({"snr_db": (10, -3)}, ValueError, "snr_db must be"),
        ({"snr_db": (True, 3)}, ValueError, "snr_db must be"),
        ({"snr_db": (float("nan"), 3)}, ValueError, "snr_db must be"),
        ({"source": 3}, TypeError, "source must be a function of the split"),
        ({"source": lambda split: Items(np.zeros((1, 8000)), np.zeros(1, int))}, ValueError, "has no 1 in the test"),
    ):
        with pytest.raises(error, match=message):
            speak(world, "test", progress=False, **arguments)
    with pytest.raises(TypeError, match="data must be Scenes"):
        speak({"scene": torch.zeros(2)}, "test")
    with pytest.raises(ValueError, match="split must be one of"):
        speak(world, "dev")
    with pytest.raises(ValueError, match="twins: n must be"):
        twins("test", n=0)
    with pytest.raises(TypeError, match="twins: source must be a function of the split"):
        twins("test", source=3)
    with pytest.raises(TypeError, match="twins: the source must return Items"):
        twins("test", source=lambda split: None)
