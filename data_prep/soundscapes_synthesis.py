"""Everyday sounds made of noise and sines: one function for each class of the built-in corpus.

Each takes a random generator, a length in samples and a rate in Hz, and returns a mono signal (T,) of any level whose
pitch, pace, timbre and timing are drawn anew. They imitate what makes a sound recognisable (a siren glides, a clock
repeats, a bell rings inharmonically, rain has no pitch); they were written for this project and copy no recording.
"""

import numpy as np

from data_prep.signals import (
    add,
    attack_decay,
    colored_noise,
    formant_harmonics,
    place,
    ring,
    seconds,
    tone,
    wander,
)


def dog_bark(rng, n, rate):
    """Short harsh bursts whose pitch rises and falls, with breath."""
    f0, formant = rng.uniform(300, 500), rng.uniform(600, 1100)

    def bark(_):
        m = int(rng.uniform(0.11, 0.2) * rate)
        u = np.linspace(0, 1, m)
        rough = 1 + 0.15 * wander(rng, m, rate, 400)
        glide = f0 * rng.uniform(0.93, 1.07) * np.interp(u, [0, 0.2, 0.6, 1], [0.7, 1.2, 1.0, 0.6]) * rough
        voice = tone(glide, rate, formant_harmonics(f0, (formant, 2.1 * formant), 40))
        breath = colored_noise(rng, m, rate, 0.5 * formant, 3 * formant)
        envelope = np.minimum(u / 0.08, 1) * np.minimum((1 - u) / 0.5, 1) ** 1.5
        return (voice / np.abs(voice).max() + 0.5 * breath / np.abs(breath).max()) * envelope

    return place(rng, n, rate, bark, rng.uniform(0.35, 0.9), 0.3)


def cat_meow(rng, n, rate):
    """A long voiced glide through three vowels."""
    f0 = rng.uniform(380, 650)
    vowels = [formant_harmonics(f0, formants) for formants in ((500, 2200, 3300), (950, 1700, 3200), (700, 1100, 2900))]

    def meow(_):
        m = int(rng.uniform(0.6, 1.1) * rate)
        u = np.linspace(0, 1, m)
        glide = f0 * np.interp(u, [0, 0.15, 0.4, 1], [0.8, 1.1, rng.uniform(1.15, 1.35), 0.75])
        glide = glide * (1 + 0.008 * wander(rng, m, rate, 60))
        shares = (
            np.interp(u, [0, 0.25], [1, 0]),
            np.interp(u, [0.05, 0.3, 0.6, 0.9], [0, 1, 1, 0]),
            np.interp(u, [0.6, 0.95], [0, 1]),
        )
        voice = sum(share * tone(glide, rate, vowel) for share, vowel in zip(shares, vowels, strict=True))
        breath = 0.05 * colored_noise(rng, m, rate, 800, 5000)
        return (voice / np.abs(voice).max() + breath) * np.minimum(u / 0.12, 1) * np.minimum((1 - u) / 0.35, 1)

    return place(rng, n, rate, meow, rng.uniform(1.2, 1.8), 0.1)


def bird_chirp(rng, n, rate):
    """Fast whistled sweeps, some with a trill."""
    center, depth, trill = rng.uniform(2600, 5500), rng.uniform(0.1, 0.3), rng.uniform(0, 40)

    def chirp(_):
        m = int(rng.uniform(0.05, 0.16) * rate)
        u = np.linspace(0, 1, m)
        contour = rng.choice([-1, 1]) * (u - 0.5) * 2 + 0.4 * np.sin(2 * np.pi * trill * u * m / rate)
        return tone(center * (1 + depth * contour), rate, (1.0, 0.15)) * np.hanning(m).astype(np.float32)

    return place(rng, n, rate, chirp, rng.uniform(0.12, 0.32), 0.45, gain_db=9)


def cricket(rng, n, rate):
    """A high tone in rapid pulses, in groups."""
    carrier, pulse_hz, chirp_hz = rng.uniform(3800, 5400), rng.uniform(28, 60), rng.uniform(1.5, 4.0)
    t = seconds(n, rate)
    pulses = np.maximum(np.sin(2 * np.pi * pulse_hz * t), 0) ** 2
    gate = np.clip(6 * np.sin(2 * np.pi * chirp_hz * t + rng.uniform(0, 6)) + rng.uniform(0, 4), 0, 1)
    return (np.sin(2 * np.pi * carrier * t + 0.3 * wander(rng, n, rate, 20)) * pulses * gate).astype(np.float32)


def siren(rng, n, rate):
    """A tone that glides up and down, climbs, or alternates between two pitches."""
    low, ratio, sweep_hz = rng.uniform(450, 750), rng.uniform(1.5, 2.4), rng.uniform(0.4, 3.5)
    cycle = sweep_hz * seconds(n, rate) + rng.uniform()
    kind = rng.integers(3)
    if kind == 0:
        shape = 0.5 - 0.5 * np.cos(2 * np.pi * cycle)
    elif kind == 1:
        shape = cycle % 1.0
    else:
        ratio, shape = rng.uniform(1.25, 1.5), (cycle % 1.0 > 0.5).astype(np.float32)
    return tone(low * ratio**shape, rate, (1.0, 0.5, 0.35, 0.15, 0.1))


def car_horn(rng, n, rate):
    """A steady chord of two reedy tones, in honks."""
    f0 = rng.uniform(300, 480)
    harmonics = np.exp(-0.28 * np.arange(14)) * rng.uniform(0.6, 1.4, 14)
    t = np.ones(n)
    chord = tone(f0 * t, rate, harmonics) + tone(f0 * rng.choice([1.19, 1.25, 1.26, 1.33]) * t, rate, harmonics)
    gate = place(
        rng, n, rate, lambda _: np.ones(int(rng.uniform(0.15, 0.9) * rate)), rng.uniform(0.5, 1.4), 0.3, gain_db=0
    )
    ramp = max(1, int(0.012 * rate))
    total = np.cumsum(np.concatenate([np.zeros(ramp), np.minimum(gate, 1)]))
    return chord * ((total[ramp:] - total[:-ramp]) / ramp).astype(np.float32)


def engine_idling(rng, n, rate):
    """Low firing pulses of unsteady pace, and a hiss that beats with them."""
    firing = rng.uniform(22, 55) * (1 + 0.05 * wander(rng, n, rate, 5))
    harmonics = rng.uniform(0.3, 1.0, 20) / np.arange(1, 21) ** rng.uniform(0.5, 1.0)
    beat = tone(firing / 2, rate, (1.0,))
    hiss = colored_noise(rng, n, rate, 60, rng.uniform(400, 1200), -3)
    return tone(firing, rate, harmonics) * (1 + 0.35 * beat) + rng.uniform(0.2, 0.5) * hiss * (1 + 0.5 * beat)


def helicopter(rng, n, rate):
    """Low noise chopped by the blades, over a faint turbine."""
    blade_hz = rng.uniform(9, 19)
    cycle = np.cumsum(blade_hz * (1 + 0.03 * wander(rng, n, rate, 3))) / rate
    chop = np.exp(-rng.uniform(3, 6) * (cycle % 1.0)).astype(np.float32)
    thump = colored_noise(rng, n, rate, 40, rng.uniform(300, 800), -3)
    turbine = tone(rng.uniform(700, 1500) * np.ones(n), rate, (1.0, 0.4))
    return thump * (0.1 + chop) + 0.05 * turbine + 0.08 * colored_noise(rng, n, rate, 800, 4000) * (0.3 + chop)


def rain(rng, n, rate):
    """Steady hiss with a grain of countless drops."""
    bed = colored_noise(rng, n, rate, rng.uniform(500, 1500), rng.uniform(6000, 14000), rng.uniform(-2, 1))
    drops = np.zeros(n, np.float32)
    hits = rng.integers(0, n, int(rng.uniform(150, 700) * n / rate))
    drops[hits] = rng.exponential(1.0, len(hits)) * rng.choice([-1, 1], len(hits))
    grain = np.exp(-np.arange(48) / 10) * np.sin(np.arange(48) * 2 * np.pi * rng.uniform(3000, 7000) / rate)
    return 0.25 * bed + rng.uniform(0.4, 1.0) * np.convolve(drops, grain.astype(np.float32), "same")


def thunder(rng, n, rate):
    """A crack, then a long low rumble that rolls."""
    strike_s = rng.uniform(0.0, 0.35) * n / rate
    t = seconds(n, rate) - strike_s
    rumble = colored_noise(rng, n, rate, 25, rng.uniform(90, 220), -3)
    crack = colored_noise(rng, n, rate, 100, rng.uniform(1200, 4000), -3)
    rolling = np.maximum(0.25, 0.7 + 0.6 * wander(rng, n, rate, rng.uniform(5, 12)))
    body = np.where(t > 0, np.exp(-t / rng.uniform(0.7, 1.8)), np.exp(np.minimum(t, 0) / 0.02))
    crackle = np.where(t > 0, np.exp(-t / rng.uniform(0.05, 0.22)), 0)
    return (rumble * body * rolling + rng.uniform(0.4, 1.2) * crack * crackle).astype(np.float32)


def wind(rng, n, rate):
    """Soft bands of noise that swell and sink one by one."""
    gusts = [np.clip(0.55 + 0.5 * wander(rng, n, rate, rng.uniform(1, 3)), 0.05, 1.2) for _ in range(3)]
    centers = rng.uniform(150, 300) * np.array([1.0, 2.0, 3.6])
    bands = [colored_noise(rng, n, rate, 0.8 * c, 1.25 * c, -1) * g for c, g in zip(centers, gusts, strict=True)]
    return bands[0] + 0.6 * bands[1] + rng.uniform(0.1, 0.5) * bands[2]


def water_drops(rng, n, rate):
    """Single plinks whose pitch rises."""
    center = rng.uniform(700, 1700)

    def drop(_):
        m = int(rng.uniform(0.05, 0.11) * rate)
        u = np.linspace(0, 1, m)
        glide = center * rng.uniform(0.75, 1.35) * (1 + rng.uniform(0.4, 1.1) * u)
        return tone(glide, rate, (1.0, 0.08)) * attack_decay(m, rate, 0.002, rng.uniform(0.012, 0.03)).astype(
            np.float32
        )

    return place(rng, n, rate, drop, rng.uniform(0.16, 0.55), 0.5, gain_db=9)


def church_bell(rng, n, rate):
    """Inharmonic partials that ring long, struck slowly."""
    strike, length_s = rng.uniform(180, 520), rng.uniform(1.2, 3.0)
    partials = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.17]) * rng.uniform(0.99, 1.01, 9)
    amplitudes = np.array([0.5, 0.8, 0.9, 0.4, 1.0, 0.45, 0.4, 0.35, 0.25]) * rng.uniform(0.6, 1.3, 9)
    toll = ring(rng, rate, n / rate, strike * partials, length_s / (0.6 + partials), amplitudes)
    return place(rng, n, rate, lambda _: toll, rng.uniform(0.8, 1.8), 0.03)


def clock_tick(rng, n, rate):
    """Two kinds of dry clicks in turn, at an even pace."""
    f = rng.uniform(1800, 4200) * np.array([1.0, 1.63, 2.4])
    lengths = rng.uniform(0.004, 0.012, 3)
    kinds = [ring(rng, rate, 0.06, f * shift, lengths, (1.0, 0.6, 0.4)) for shift in (1.0, rng.uniform(0.8, 0.95))]
    return place(rng, n, rate, lambda index: kinds[index % 2], 1 / rng.uniform(1.8, 5.0), 0.01, gain_db=1)


def door_knock(rng, n, rate):
    """Groups of wooden thuds."""
    body = rng.uniform(90, 180) * np.array([1.0, 2.3, 4.1, 7.2, 11.0])
    decays_s = (0.022, 0.015, 0.01, 0.006, 0.004)
    n_knocks, gap_s = int(rng.integers(2, 6)), rng.uniform(0.16, 0.26)

    def knocks(_):
        out = np.zeros(int((n_knocks * gap_s + 0.2) * rate), np.float32)
        for index in range(n_knocks):
            thud = ring(rng, rate, 0.12, body * rng.uniform(0.97, 1.03, 5), decays_s, (1.0, 0.8, 0.6, 0.5, 0.3))
            m = len(thud)
            thud += 0.5 * colored_noise(rng, m, rate, 150, 1800) * attack_decay(m, rate, 0.001, 0.008)
            add(out, thud * rng.uniform(0.6, 1.0), index * gap_s * rng.uniform(0.93, 1.07) * rate)
        return out

    return place(rng, n, rate, knocks, n_knocks * gap_s + rng.uniform(0.5, 1.0), 0.1)


def footsteps(rng, n, rate):
    """Heel and toe at a walking pace, on a surface of some brightness, with grit under them."""
    surface_hz, heel_hz = rng.uniform(500, 2500), rng.uniform(60, 130)

    def step(_):
        m = int(0.3 * rate)
        envelope = 0.8 * attack_decay(m, rate, 0.004, 0.012)
        toe = int(rng.uniform(0.07, 0.12) * rate)
        envelope[toe:] += rng.uniform(0.3, 0.7) * attack_decay(m - toe, rate, 0.015, 0.04)
        grit = np.where(rng.random(m) < 0.02, rng.exponential(2.0, m), 0.5)
        piece = colored_noise(rng, m, rate, 0.4 * surface_hz, 2.5 * surface_hz, -2) * envelope * grit
        heel = heel_hz * np.array([1.0, 2.2, 4.5])
        add(piece, ring(rng, rate, 0.1, heel, (0.02, 0.012, 0.006), (0.8, 0.5, 0.3)), 0)
        return piece

    return place(rng, n, rate, step, 1 / rng.uniform(1.5, 2.4), 0.07, gain_db=5)


def keyboard_typing(rng, n, rate):
    """Uneven light clicks, each with its release."""
    pitch_hz = rng.uniform(1500, 3500)

    def key(_):
        m = int(0.05 * rate)
        click = colored_noise(rng, m, rate, pitch_hz, 3 * pitch_hz) * attack_decay(m, rate, 0.0005, 0.004).astype(
            np.float32
        )
        add(click, ring(rng, rate, 0.03, (rng.uniform(300, 700),), (0.006,), (0.5,)), 0.0)
        add(click, 0.4 * click[: m // 3], rng.uniform(0.02, 0.03) * rate)
        return click

    return place(rng, n, rate, key, 1 / rng.uniform(6, 13), 0.75, gain_db=10)


def telephone_ring(rng, n, rate):
    """A bell that warbles between two pitches, with pauses."""
    f0, warble_hz, on_s = rng.uniform(650, 1300), rng.uniform(14, 26), rng.uniform(0.35, 0.9)
    t = seconds(n, rate)
    switch = 1 + rng.uniform(0.18, 0.3) * (np.sin(2 * np.pi * warble_hz * t) > 0)
    gate = ((t + rng.uniform(0, 0.3)) % (on_s * rng.uniform(1.25, 1.8)) < on_s).astype(np.float32)
    return tone(f0 * switch, rate, (1.0, 0.2, 0.5, 0.1, 0.25)) * gate


def vacuum_cleaner(rng, n, rate):
    """Steady rush of air over the harmonics of a motor."""
    motor = rng.uniform(180, 380) * (1 + 0.01 * wander(rng, n, rate, 3))
    air = colored_noise(rng, n, rate, rng.uniform(250, 700), rng.uniform(4000, 9000), -1.5)
    return air + tone(motor, rate, rng.uniform(0.2, 0.7, 8) / np.arange(1, 9) ** 0.5)


def glass_breaking(rng, n, rate):
    """A crash, then a spray of tiny bright rings."""
    out = np.zeros(n, np.float32)
    start_s = rng.uniform(0.0, 0.4) * n / rate
    crash = colored_noise(rng, n, rate, 2000, 12000)
    add(out, 0.5 * crash * attack_decay(n, rate, 0.001, rng.uniform(0.02, 0.06)).astype(np.float32), start_s * rate)
    for delay_s in rng.exponential(rng.uniform(0.12, 0.3), int(rng.integers(14, 32))):
        f = rng.uniform(2200, 9500) * np.array([1.0, 1.37, 1.81])
        shard = ring(rng, rate, 0.2, f, rng.uniform(0.01, 0.06, 3), (0.5, 0.3, 0.2))
        add(out, shard * rng.uniform(0.2, 1.0), (start_s + delay_s) * rate)
    return out


SYNTHESIZERS = {
    function.__name__: function
    for function in (
        *(dog_bark, cat_meow, bird_chirp, cricket, siren, car_horn, engine_idling, helicopter, rain, thunder),
        *(wind, water_drops, church_bell, clock_tick, door_knock, footsteps, keyboard_typing, telephone_ring),
        *(vacuum_cleaner, glass_breaking),
    )
}


def synthesize(name, rng, n, rate):
    """One sound of a class, in a room, at unit peak.

    Arguments
    ---------
    name : str
        A key of ``SYNTHESIZERS``.
    rng : numpy.random.Generator
    n : int
        Samples.
    rate : int
        Hz.

    Returns
    -------
    numpy.ndarray, shape (n,), float32
        In [-1, 1].

    Example
    -------
    >>> synthesize("siren", np.random.default_rng(0), 4000, 16000).shape
    (4000,)
    """
    dry = np.asarray(SYNTHESIZERS[name](rng, n, rate), dtype=np.float32)
    wet = dry.copy()
    # A few early reflections: the same sound is never heard in the same place.
    for _ in range(int(rng.integers(0, 5))):
        delay_s, gain = rng.uniform(0.004, 0.06), rng.uniform(0.1, 0.45)
        add(wet, np.float32(gain) * dry, delay_s * rate)
    return wet / max(float(np.abs(wet).max()), 1e-6)
