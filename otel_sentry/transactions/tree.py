"""Group the spans taken from one segment into trees; each becomes one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from opentelemetry.sdk.trace import ReadableSpan


class Tree(NamedTuple):
    """A root and all that is below it, in order of start."""

    root: ReadableSpan
    children: list[ReadableSpan]


def grow(
    spans: Iterable[ReadableSpan], root_id: int, still_open: Collection[int]
) -> tuple[list[Tree], list[ReadableSpan]]:
    """
    Return the trees that are complete, and the spans that wait for a parent still open.

    The segment's root keeps all its spans, also those whose parent is missing (dropped over the
    limit): they are its tree. Without the root among them the spans are late: each whose parent is
    neither here nor open becomes the root of a continuation.
    """
    by_id = {span.context.span_id: span for span in spans}
    root = by_id.get(root_id)
    if root is not None:
        children = [span for span in by_id.values() if span is not root]
        children.sort(key=_start)
        return [Tree(root, children)], []
    tops: dict[int, list[ReadableSpan]] = {}
    for span in by_id.values():
        tops.setdefault(_top(span, by_id), []).append(span)
    trees, waiting = [], []
    for top_id, members in tops.items():
        top = by_id[top_id]
        if top.parent is not None and top.parent.span_id in still_open:
            waiting += members
        else:
            children = [span for span in members if span is not top]
            trees.append(Tree(top, sorted(children, key=_start)))
    return trees, waiting


def _top(span: ReadableSpan, by_id: dict[int, ReadableSpan]) -> int:
    """Return the id of the span's topmost ancestor among ``by_id``."""
    seen: set[int] = set()
    while span.parent is not None and span.parent.span_id in by_id:
        if span.parent.span_id in seen:
            break
        seen.add(span.parent.span_id)
        span = by_id[span.parent.span_id]
    span_id: int = span.context.span_id
    return span_id


def _start(span: ReadableSpan) -> int:
    return span.start_time or 0
