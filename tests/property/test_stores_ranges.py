"""Joining ranges and taking them apart again loses and invents nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xzarr_backend.stores import ByteRange, MemoryStore, Request
from xzarr_backend.stores.base import merge_requests, merge_spans, names_below, slice_buffer, split_answers

spans = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)).map(lambda s: (s[0], s[0] + s[1])), max_size=20)
ranges = st.none() | st.builds(ByteRange, st.integers(-300, 300), st.none() | st.integers(0, 300))
requests = st.lists(st.builds(Request, st.sampled_from("abcd"), ranges), max_size=30)


@given(spans, st.integers(0, 50), st.integers(1, 200))
def test_merged_spans_cover_every_span_once(given_spans: list[tuple[int, int]], gap: int, limit: int) -> None:
    """Each span lies in exactly one read; reads made of several spans stay below the limit, their gaps too."""
    merged = merge_spans(given_spans, gap, limit)
    assert sorted(place for _, _, places in merged for place in places) == list(range(len(given_spans)))
    for start, stop, places in merged:
        assert start == min(given_spans[place][0] for place in places)
        assert stop == max(given_spans[place][1] for place in places)
        assert len(places) == 1 or stop - start <= limit


@given(requests, st.integers(0, 50), st.integers(1, 200))
def test_merged_requests_give_the_same_answers(wanted: list[Request], gap: int, limit: int) -> None:
    """The pieces of the answers to fewer requests equal the answers to all requests."""
    store = MemoryStore({"a": bytes(range(256)), "b": b"short", "c": b""})
    merged, pieces = merge_requests(wanted, gap, limit)
    found = split_answers([store.get(*request) for request in merged], pieces)
    alone = [store.get(*request) for request in wanted]
    assert [f if f is None else bytes(f) for f in found] == [a if a is None else bytes(a) for a in alone]
    assert len(merged) <= len(wanted)


@given(st.binary(max_size=20), st.builds(ByteRange, st.integers(-30, 30), st.none() | st.integers(0, 30)))
def test_slicing_equals_python(data: bytes, wanted: ByteRange) -> None:
    """A range is what slicing with clamped bounds gives."""
    start = max(len(data) + wanted.start, 0) if wanted.start < 0 else wanted.start
    expected = data[start:] if wanted.length is None else data[start : start + wanted.length]
    assert bytes(slice_buffer(data, wanted)) == expected


@given(st.sets(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)))
def test_names_below_are_the_next_parts(keys: set[str]) -> None:
    """Every key contributes its next part below the prefix, marked when more follows."""
    for prefix in ("", "a/", "a/b/"):
        below = [key[len(prefix) :].split("/") for key in keys if key.startswith(prefix)]
        assert names_below(keys, prefix) == sorted({p[0] + ("/" if len(p) > 1 else "") for p in below})
