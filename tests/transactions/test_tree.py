from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_sentry.transactions.tree import Tree, branches, grow, nearest
from tests.transactions.test_event import make_span


def ids(spans):
    """Return the ids of spans."""
    return [span.context.span_id for span in spans]


def test_the_root_keeps_spans_whose_parent_is_missing():
    """Spans whose parent was dropped stay in their transaction."""
    trees, waiting = grow([make_span(1), make_span(3, parent=2)], 1, ())

    assert [(tree.root.context.span_id, ids(tree.children)) for tree in trees] == [(1, [3])]
    assert waiting == []


def test_what_was_below_a_dropped_span_belongs_to_the_root():
    """Where spans were dropped, one whose parent is neither here nor to come has the root."""
    spans = [make_span(1), make_span(2, 1), make_span(3, 2), make_span(5, 4), make_span(7, 6)]

    (tree,), _ = grow(spans, 1, {6}, is_cut=True)

    found = {span.context.span_id: nearest(span, tree.absent) for span in tree.children}
    assert found == {2: 1, 3: 2, 5: 1, 7: 6}


def test_branches_are_trees_of_their_own():
    """What is below a root that is left out is a tree for each branch."""
    tree = Tree(make_span(2, 1), [make_span(3, 2), make_span(4, 3), make_span(5, 2)])

    found = branches(tree, lambda span: span.context.span_id in {2, 5})

    assert [(it.root.context.span_id, ids(it.children)) for it in found] == [(3, [4])]
    assert nearest(found[0].root, found[0].absent) == 1


def test_a_circle_of_absent_spans_ends():
    """Absent spans that name each other as parent have no end to be found, and stop nothing."""
    assert nearest(make_span(1, 2), {2: 3, 3: 2}) in {2, 3}


def test_late_spans_are_grouped_by_their_topmost():
    """Each late tree is a continuation of its own."""
    spans = [make_span(3, 2), make_span(2, 1), make_span(5, 4), make_span(4, 1)]

    trees, waiting = grow(spans, 1, ())

    assert {t.root.context.span_id: ids(t.children) for t in trees} == {2: [3], 4: [5]}
    assert waiting == []


def test_spans_wait_for_an_open_parent():
    """What is below a span that is still open waits for it."""
    trees, waiting = grow([make_span(3, 2), make_span(5, 4)], 1, {2})

    assert [tree.root.context.span_id for tree in trees] == [5]
    assert ids(waiting) == [3]


def test_a_cycle_of_parents_ends():
    """Spans that name each other as parent are still sent."""
    trees, waiting = grow([make_span(2, 3), make_span(3, 2)], 1, ())

    assert sorted(span_id for t in trees for span_id in [*ids([t.root]), *ids(t.children)]) == [
        2,
        3,
    ]
    assert waiting == []


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30)), st.sets(st.integers(1, 30)))
def test_every_span_is_in_one_place(parents, still_open):
    """Every finished span is in exactly one tree or waits; nothing is lost, nothing is twice."""
    spans = [make_span(number, parent or None) for number, parent in parents.items()]

    trees, waiting = grow(spans, 1, still_open - set(parents))

    placed = [s for tree in trees for s in ids([tree.root, *tree.children])] + ids(waiting)
    assert sorted(placed) == sorted(parents)
