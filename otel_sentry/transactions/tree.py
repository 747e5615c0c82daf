"""Group the spans taken from one segment into trees; each becomes one transaction."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from opentelemetry.sdk.trace import ReadableSpan


_NOBODY = 0  # the id of no span


class Tree(NamedTuple):
    """A root and all that is below it, in order of start."""

    root: ReadableSpan
    children: list[ReadableSpan]

    absent: Mapping[int, int] = MappingProxyType({})
    """By the ids of spans that are not sent: whom what is below them belongs to."""


def grow(
    spans: Iterable[ReadableSpan],
    root_id: int,
    still_open: Collection[int],
    *,
    absent: Mapping[int, int] = MappingProxyType({}),
    is_cut: bool = False,
) -> tuple[list[Tree], list[ReadableSpan]]:
    """
    Return the trees that are complete, and the spans that wait for a parent still open.

    The segment's root keeps all its spans, also those whose parent was dropped over the limit: they
    belong to the root then, as what is around a dropped span ends after it, and was dropped, too.
    Without the root among them the spans are late: each whose parent is neither here nor open
    becomes the root of a continuation.

    Args:
        spans: Those that were taken from one segment.
        root_id: The segment's root.
        still_open: Ids of spans that have not ended.
        absent: By the ids of spans that are left out: their parents' ids.
        is_cut: Whether spans were dropped.
    """
    by_id = {span.context.span_id: span for span in spans}
    root = by_id.get(root_id)
    if root is not None:
        children = [span for span in by_id.values() if span is not root]
        children.sort(key=_start)
        if is_cut:
            parents = {nearest(span, absent) for span in children}
            missing = parents - by_id.keys() - set(still_open)
            absent = {**absent, **dict.fromkeys(missing, root_id)}
        return [Tree(root, children, absent)], []
    tops: dict[int, list[ReadableSpan]] = {}
    for span in by_id.values():
        tops.setdefault(_top(span, by_id, absent), []).append(span)
    trees, waiting = [], []
    for top_id, members in tops.items():
        top = by_id[top_id]
        if nearest(top, absent) in still_open:
            waiting += members
        else:
            children = [span for span in members if span is not top]
            trees.append(Tree(top, sorted(children, key=_start), absent))
    return trees, waiting


def branches(tree: Tree, is_left_out: Callable[[ReadableSpan], bool]) -> list[Tree]:
    """Return what is left of a tree, whose root is left out: a tree of each branch."""
    absent, kept = dict(tree.absent), []
    for span in (tree.root, *tree.children):
        if is_left_out(span):
            absent[span.context.span_id] = parent_id(span)
        else:
            kept.append(span)
    return grow(kept, _NOBODY, (), absent=absent)[0]


def nearest(span: ReadableSpan, absent: Mapping[int, int]) -> int:
    """Return the id of the span's nearest ancestor that is not absent; 0: it has none."""
    parent = span.parent
    if parent is None:
        return _NOBODY
    span_id: int = parent.span_id
    for _ in absent:  # no longer, should they go in a circle
        if span_id not in absent:
            break
        span_id = absent[span_id]
    return span_id


def parent_id(span: ReadableSpan) -> int:
    """Return the id of the span's parent; 0: it has none."""
    parent = span.parent
    return _NOBODY if parent is None else parent.span_id


def _top(span: ReadableSpan, by_id: dict[int, ReadableSpan], absent: Mapping[int, int]) -> int:
    """Return the id of the span's topmost ancestor among ``by_id``."""
    seen: set[int] = set()
    while (above := nearest(span, absent)) in by_id and above not in seen:
        seen.add(above)
        span = by_id[above]
    span_id: int = span.context.span_id
    return span_id


def _start(span: ReadableSpan) -> float:
    start = span.start_time
    return start if isinstance(start, (int, float)) else 0
