"""Pictures of one color are named by their places."""

import numpy as np

from pipeline.data.checks.pictures import pictures
from tests.data.checks.subjects import coins, make_subject, only


def test_pictures_whose_pixels_are_all_equal_are_named() -> None:
    images = np.random.default_rng(0).random((600, 3, 4, 4))
    assert only(pictures(make_subject(images, coins()))).verdict == "PASS"
    images[[599, 3, 8, 40]] = 0.5
    warning = only(pictures(make_subject(images, coins())))
    assert warning.verdict == "WARN"
    assert warning.text == "4 of 600 pictures are of one color all over: line 5, line 10, line 42 and 1 more"
    assert warning.rows == (3, 8, 40, 599)
