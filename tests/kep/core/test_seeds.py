"""One seed in the run file, an own one for every purpose."""

import numpy as np

from kep.core.seeds import derive, identity


def test_a_seed_is_the_same_on_every_machine():
    # Written down once: another value would change every run that was ever made.
    assert derive(0, "trial", 7) == 1517413665
    assert derive(3) == 876035484


def test_every_purpose_number_and_run_has_its_own_seed():
    purposes = [("trial", n) for n in range(500)] + [("retrain", n) for n in range(500)]
    seeds = {derive(seed, *purpose) for seed in range(4) for purpose in purposes}
    assert len(seeds) == 4000


def test_seeds_fit_every_library_and_use_the_whole_range():
    seeds = np.array([derive(0, n) for n in range(2000)])
    assert seeds.min() >= 0
    assert seeds.max() < 2**31
    assert abs(seeds.mean() / 2**30 - 1) < 0.05


def test_an_identity_follows_from_all_parts_and_their_borders():
    assert identity(1, "a", "b") == identity(1, "a", "b")
    assert len(identity(1)) == 32
    assert len({identity(1, "a", "b"), identity(1, "ab", ""), identity(1, "a/b"), identity(2, "a", "b")}) == 4
