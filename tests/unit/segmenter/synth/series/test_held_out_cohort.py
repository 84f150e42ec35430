"""Who is held out: families apart from everybody trained on; cases balanced, and made by their number alone."""

from collections import Counter

import numpy as np
import pytest

from segmenter.synth.cohort import (
    APART,
    HELD_OUT_FAMILIES,
    MEMBER_SPREAD,
    family_shape,
    held_out_families,
    training_shape,
)
from segmenter.synth.series.held_out_cohort import Cohort, Stratum, record_cohort
from segmenter.synth.series.options import Crop

ROUND = 2 * HELD_OUT_FAMILIES


def test_nobody_trained_on_comes_near_a_held_out_family():
    rng = np.random.default_rng(0)
    shapes = np.array([training_shape(rng) for _ in range(300)])
    gap = np.linalg.norm(shapes[:, None] - held_out_families()[None], axis=-1)
    assert gap.min() > APART


def test_the_members_of_a_family_are_alike_and_nearer_to_it_than_anybody_trained_on():
    rng = np.random.default_rng(1)
    for family in range(HELD_OUT_FAMILIES):
        members = np.array([family_shape(rng, family) for _ in range(20)])
        gap = np.linalg.norm(members - held_out_families()[family], axis=1)
        assert gap.max() < APART
        assert members.std(axis=0).mean() == pytest.approx(MEMBER_SPREAD, rel=0.4)


def test_a_round_has_each_family_as_woman_and_man_and_every_stratum_alike():
    cohort = Cohort()
    options = [cohort.options(n) for n in range(ROUND)]
    assert Counter((o.family, o.sex) for o in options) == Counter({(f, s): 1 for f in range(24) for s in "FM"})
    strata = Counter((cohort.stratum(n), o.sex) for n, o in enumerate(options))
    assert strata == Counter({(stratum, sex): 3 for stratum in Stratum for sex in "FM"})


def test_the_next_round_shows_each_family_in_another_stratum():
    cohort = Cohort()
    for number in range(ROUND):
        assert cohort.options(number).family == cohort.options(number + ROUND).family
        assert cohort.stratum(number) != cohort.stratum(number + ROUND)


def test_a_case_is_made_by_seed_and_number_alone():
    assert Cohort(seed=3).options(17) == Cohort(seed=3).options(17)
    assert len({Cohort(seed).options(n).seed for seed in (1, 2) for n in range(100)}) == 200
    assert Cohort(size=256).options(5).size == 256


def test_every_stratum_is_what_it_says_and_the_others_are_not():
    cohort = Cohort()
    found = [(cohort.stratum(n), cohort.options(n)) for n in range(2 * ROUND)]
    for stratum, options in found:
        assert (3.0 <= options.slice_step_mm <= 5.0) == (stratum is Stratum.THICK)
        assert (options.noise_hu >= 30) == (stratum is Stratum.LOW_DOSE)
        assert (options.bone is not None) == (stratum is Stratum.OSTEOPOROTIC)
        assert (options.crop is Crop.HEAD) == (stratum is Stratum.HEAD_CUT)
        assert (options.crop is Crop.SHAFT) == (stratum is Stratum.SHAFT_CUT)
        assert (options.hip is not None) == (stratum is Stratum.ONE_SIDE)
        assert (options.metal is not None) == (stratum is Stratum.METAL)
        assert 175 < options.slices * options.slice_step_mm < 185
        assert options.field_mm == (200 if options.hip else 410)


def test_a_folder_holds_one_cohort(tmp_path):
    record_cohort(Cohort(1, 256), 2, tmp_path)
    record_cohort(Cohort(1, 256), 5, tmp_path)
    with pytest.raises(ValueError, match=r"holds the cohort .*256.*, not .*512"):
        record_cohort(Cohort(1, 512), 2, tmp_path)


def test_a_folder_with_more_cases_than_asked_for_is_refused(tmp_path):
    (tmp_path / "case-1-0003").mkdir()
    record_cohort(Cohort(), 3, tmp_path)
    with pytest.raises(ValueError, match="case-1-0003, which is beyond the 2 cases"):
        record_cohort(Cohort(), 2, tmp_path)
