"""Sound: mu-law, noise at a known ratio, and the log-mel picture against a computation written differently."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT

from mmtutor.data.spoken import RATE, add_noise, log_mel, mu_law_decode, mu_law_encode, spoken

INF = float("inf")


def tone(hertz, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)


# ---- mu-law


def test_mu_law_is_monotone_and_finer_near_zero():
    decoded = mu_law_decode(np.arange(256, dtype=np.uint8))
    assert (np.diff(decoded) > 0).all()
    assert decoded[0] == pytest.approx(-1)
    assert decoded[-1] == pytest.approx(1)
    np.testing.assert_allclose(decoded, -decoded[::-1], atol=1e-12)
    steps = np.diff(decoded[128:])
    assert (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(mu_law_encode(decoded), np.arange(256))
    assert (np.diff(mu_law_encode(np.linspace(-1, 1, 5001)).astype(int)) >= 0).all()


def test_mu_law_loses_at_most_half_a_step():
    """One code is 1/127.5 on the curve y(x); dx/dy = (1/255 + |x|) ln 256, so half a step is at most
    (1/255 + |x|) (256^(1/255) - 1) to first order in both directions."""
    x = np.linspace(-1, 1, 20001)
    error = np.abs(mu_law_decode(mu_law_encode(x)) - x)
    assert (error <= (1 / 255 + np.abs(x)) * (256 ** (1 / 255) - 1) + 1e-12).all()
    assert error.max() > 0.01  # the bound is not idle: steps near 1 are 0.043 wide


def test_mu_law_matches_the_published_curve():
    """F(x) = sgn(x) ln(1 + 255 |x|) / ln 256, value by value."""
    for x in (-1.0, -0.3, 0.0, 1e-4, 0.02, 0.77, 1.0):
        curve = math.copysign(math.log(1 + 255 * abs(x)) / math.log(256), x)
        assert abs(int(mu_law_encode(np.array([x]))[0]) - (curve + 1) * 127.5) <= 0.5


def test_what_is_too_loud_is_clipped_and_does_not_wrap():
    assert mu_law_encode(np.array([-3.0, -1.0, 1.0, 1.5])).tolist() == [0, 0, 255, 255]


# ---- noise


@pytest.mark.parametrize("snr", [-10.0, 0.0, 12.5])
@pytest.mark.parametrize("amplitude", [0.01, 0.9])
def test_the_ratio_is_what_was_asked(snr, amplitude):
    """Signal and noise are separated again by least squares: the clean sound is known up to one factor. The noise
    power of 8,000 samples has a relative standard deviation of (2/8000)^.5 = 0.07 dB; the mean of 200 of 0.005 dB."""
    clean = np.zeros(RATE, np.float32)
    clean[:5000] = tone(440, amplitude)[:5000]  # and silence after it, which is not signal
    power = np.mean(clean[:5000].astype(float) ** 2)
    measured = []
    for seed in range(200):
        noisy = add_noise(clean, (snr, snr), np.random.default_rng(seed))
        assert noisy.shape == (RATE,)
        assert np.abs(noisy).max() <= 1
        factor = noisy @ clean / (clean.astype(float) @ clean)
        noise = noisy - factor * clean
        measured.append(10 * np.log10(factor**2 * power / np.mean(noise**2)))
    assert abs(np.mean(measured) - snr) < 0.05
    assert np.std(measured) < 0.5


def test_the_ratio_is_uniform_in_its_range():
    clean = tone(300, 0.3)
    found = []
    for seed in range(400):
        noisy = add_noise(clean, (-3, 10), np.random.default_rng(seed))
        factor = noisy @ clean / (clean @ clean)
        found.append(10 * np.log10(factor**2 * np.mean(clean**2) / np.mean((noisy - factor * clean) ** 2)))
    assert min(found) > -3.5
    assert max(found) < 10.5
    counts = np.histogram(found, 4, (-3, 10))[0]
    assert (np.abs(counts - 100) < 4.4 * (400 * 0.25 * 0.75) ** 0.5).all()


def test_the_noise_is_white():
    noise = add_noise(tone(1000, 1e-3), (-60, -60), np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(noise))[1:4000].reshape(-1, 1333) ** 2
    bands = spectrum.mean(1) / spectrum.mean()
    assert (np.abs(bands - 1) < 4.4 / 1333**0.5).all()


def test_clean_is_untouched_and_silence_stays_silent():
    wave = tone(440)
    np.testing.assert_array_equal(add_noise(wave, (INF, INF), np.random.default_rng(0)), wave)
    assert not add_noise(np.zeros(RATE), (-3, 10), np.random.default_rng(0)).any()


# ---- log-mel


def reference(wave):
    """The same picture by scipy's short-time transform and triangles written out one by one."""
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in range(400)])
    transform = ShortTimeFFT(window, hop=250, fs=RATE, mfft=512, fft_mode="onesided")
    # Frame k is centred at sample 250 k: scipy's slice p is centred at 250 p as well.
    power = np.abs(transform.stft(np.asarray(wave, float), p0=0, p1=32)) ** 2  # (257, 32)

    def mel(f):
        return 2595 * math.log10(1 + f / 700)

    corners = [700 * (10 ** ((mel(60) + (mel(3900) - mel(60)) * i / 33) / 2595) - 1) for i in range(34)]
    energy = np.zeros((32, 32))
    for band in range(32):
        left, centre, right = corners[band : band + 3]
        for i in range(257):
            f = i * RATE / 512
            if left < f <= centre:
                weight = (f - left) / (centre - left)
            elif centre < f < right:
                weight = (right - f) / (right - centre)
            else:
                continue
            energy[band] += weight * power[i]
    db = 10 * np.log10(np.maximum(energy, 1e-30) / energy.max())
    return np.maximum(1 + db / 60, 0)


@pytest.mark.parametrize("snr", [(-3, 10), (INF, INF)])
def test_log_mel_against_another_implementation(snr):
    clips = spoken("valid").values[::20]
    for seed, clip in enumerate(clips):
        wave = add_noise(clip, snr, np.random.default_rng(seed))
        np.testing.assert_allclose(log_mel(wave)[0], reference(wave), atol=1e-5)


@pytest.mark.parametrize("hertz", [200, 440, 1000, 1800, 3000, 3700])
def test_a_pure_tone_lights_its_band(hertz):
    """The band whose triangle is highest at the tone, in every frame that lies fully within the sound."""
    mel = 2595 * np.log10(1 + np.array([60, 3900, hertz]) / 700)
    nearest = round((mel[2] - mel[0]) / (mel[1] - mel[0]) * 33) - 1  # centres at 1/33, 2/33 …
    picture = log_mel(tone(hertz))[0][:, 1:31]
    assert (np.abs(picture.argmax(0) - nearest) <= (1 if hertz < 500 else 0)).all()  # low bands are a bin wide
    far = np.abs(np.arange(32) - nearest) > 6
    assert picture[far].max() < 0.5  # 30 dB softer
    assert picture.max() == 1


def test_a_click_lights_its_moment():
    wave = np.zeros(RATE)
    wave[250 * 10] = 1
    picture = log_mel(wave)[0]
    assert picture[:, 10].min() > 0.5
    assert picture.sum(0).argmax() == 10
    assert not picture[:, :9].any()
    assert not picture[:, 12:].any()  # a window reaches 200 samples to each side, the next frame is 250 away


def test_silence_is_zero_and_not_nan():
    for wave in (np.zeros(RATE), np.full(RATE, 1e-12), np.zeros(RATE, np.float16)):
        picture = log_mel(wave)
        assert picture.shape == (1, 32, 32)
        assert picture.dtype == np.float32
        assert not picture.any()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(factor=st.floats(1e-4, 1e3), seed=st.integers(0, 10**6))
def test_loudness_does_not_matter(factor, seed):
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(RATE) * np.exp(-np.arange(RATE) / rng.uniform(300, 900))  # fades by more than 60 dB
    np.testing.assert_allclose(log_mel(factor * wave), log_mel(wave), atol=1e-6)
    assert log_mel(wave).max() == 1
    assert log_mel(wave).min() == 0


@pytest.mark.parametrize(
    "wave",
    [np.zeros(7999), np.zeros((1, 8000)), np.full(8000, np.nan), np.r_[np.zeros(7999), np.inf], np.zeros(0), 3.0],
)
def test_another_length_or_nan_is_refused(wave):
    with pytest.raises(ValueError, match="log_mel: wave must be 8000 finite samples"):
        log_mel(wave)


def test_the_digits_can_be_told_apart_and_in_noise_less_well():
    """Nearest class mean of the clean training pictures, on voices of other families."""

    def pictures(split, snr):
        items = spoken(split)
        chosen = slice(None, None, 3)
        rng = np.random.default_rng(0)
        return np.stack([log_mel(add_noise(v, snr, rng)).ravel() for v in items.values[chosen]]), items.labels[chosen]

    x, y = pictures("train", (INF, INF))
    means = np.stack([x[y == d].mean(0) for d in range(10)])
    right = {}
    for snr in ((INF, INF), (10, 10), (-3, -3)):
        new, label = pictures("test", snr)
        guess = ((new[:, None] - means) ** 2).sum(-1).argmin(1)
        right[snr] = (guess == label).mean()
    assert right[INF, INF] > 0.6
    assert right[INF, INF] > right[10, 10] > right[-3, -3]
