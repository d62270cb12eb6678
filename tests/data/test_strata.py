"""Strata are classes, ranges of a value, or the rarest label of a row."""

import numpy as np

from pipeline.data.splitting.strata import strata_of


def test_classes_are_their_own_strata() -> None:
    found = strata_of(np.array([2, 0, 1]), "classification")
    assert found is not None
    assert found.tolist() == [2, 0, 1]


def test_values_are_cut_into_five_ranges_of_as_many_rows_and_few_values_into_none() -> None:
    found = strata_of(np.random.default_rng(0).lognormal(size=1_000).astype(np.float32), "regression")
    assert found is not None
    assert np.bincount(found).tolist() == [200] * 5
    assert strata_of(np.arange(49.0), "regression") is None


def test_a_value_of_most_rows_is_one_range() -> None:
    found = strata_of(np.array([0.0] * 90 + [1.0] * 10), "regression")
    assert found is not None
    assert len(set(found[:90].tolist())) == 1
    assert found[0] != found[90]


def test_several_values_are_cut_along_what_they_share_even_where_one_falls_as_the_other_rises() -> None:
    common = np.random.default_rng(0).normal(size=500)
    found = strata_of(np.column_stack((common, -1_000 * common)), "regression")
    assert found is not None
    order = found[np.argsort(common)]
    assert (np.diff(order) >= 0).all() or (np.diff(order) <= 0).all()
    assert np.bincount(found).tolist() == [100] * 5


def test_a_row_with_labels_belongs_to_its_rarest_one_and_rows_without_to_none() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]], dtype=np.float32)
    found = strata_of(labels, "multilabel")
    assert found is not None
    assert found.tolist() == [1, 0, 2, 2, 3]
