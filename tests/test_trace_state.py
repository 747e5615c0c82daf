from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from otel_sentry.trace_state import (
    SentryTraceState,
    explicit_randomness,
    format_ot,
    implicit_randomness,
    parse_ot,
    randomness_of,
    sample_rand_of,
    sampled_flag,
    threshold,
    threshold_text,
    with_ot,
)

RANGE = 1 << 56
MILLION = 1_000_000

randomness = st.integers(0, RANGE - 1)
millionths = st.integers(0, MILLION)


@pytest.mark.parametrize(
    ("rate", "th"),
    # Examples of the specification (TraceState: Probability Sampling); 1/3 to six digits.
    [
        (1.0, "0"),
        (0.5, "8"),
        (0.25, "c"),
        (0.75, "4"),
        (0.1, "e6666666666666"),
        (1 / 3, "aaaab042528ae7"),
    ],
)
def test_threshold(rate, th):
    """A rate's threshold is written as the specification has it: hexadecimal, no trailing zeros."""
    assert threshold_text(threshold(rate)) == th
    assert threshold(rate) == int(th.ljust(14, "0"), 16)


def test_no_randomness_reaches_the_threshold_of_rate_zero():
    """Rate 0 keeps nothing, rate 1 everything."""
    assert threshold(0.0) == RANGE > RANGE - 1
    assert threshold(1.0) == 0


@given(randomness, millionths)
@example(0, 0)
@example(0, MILLION)
@example(RANGE - 1, 1)
@example(RANGE - 1, 0)
def test_both_worlds_decide_alike(random_bits, rate):
    """`R >= T` and `sample_rand < rate` are the same decision."""
    assert (random_bits >= threshold(rate / MILLION)) == (
        float(sample_rand_of(random_bits)) < rate / MILLION
    )


@given(millionths, st.integers(-9, 9))
def test_both_worlds_decide_alike_at_the_threshold(rate, distance):
    """The two decisions agree for the randomness right beside every threshold, too."""
    random_bits = min(max(threshold(rate / MILLION) + distance, 0), RANGE - 1)
    assert (random_bits >= threshold(rate / MILLION)) == (
        float(sample_rand_of(random_bits)) < rate / MILLION
    )


@given(st.floats(0, 1), randomness)
def test_any_rate_has_a_threshold(rate, random_bits):
    """A rate with more than six digits counts as the one that the sampling context says."""
    sent = float(f"{round(rate, 6):g}")
    assert threshold(rate) == threshold(sent)
    assert (random_bits >= threshold(rate)) == (float(sample_rand_of(random_bits)) < sent)


@given(randomness)
@example(0)
@example(RANGE - 1)
def test_sample_rand_has_six_digits_below_one(random_bits):
    """`sample_rand` is written as Sentry specifies it, and grows as randomness shrinks."""
    text = sample_rand_of(random_bits)
    assert len(text) == 8
    assert 0.0 <= float(text) < 1.0
    assert float(text) <= float(sample_rand_of(max(0, random_bits - 1)))


def test_sample_rand_round_trip():
    """Every `sample_rand` gives randomness that gives it back, from one end to the other."""
    numbers = [*range(0, MILLION, 37), *range(100), *range(MILLION - 100, MILLION)]
    for number in numbers:
        text = f"0.{number:06d}"
        random_bits = randomness_of(text)
        assert random_bits is not None
        assert 0 <= random_bits < RANGE
        assert sample_rand_of(random_bits) == text


@pytest.mark.parametrize(
    "text", ["", "abc", "nan", "inf", "-inf", "1", "1.0", "1e9", "-0.1", "0,5", "0.5.5", "0x1", "½"]
)
def test_bad_sample_rand(text):
    """What is no share of one gives no randomness."""
    assert randomness_of(text) is None


@given(st.text())
@example("0.99999999999")
@example("-0.0")
def test_any_sample_rand(text):
    """Any text gives randomness in range, or none."""
    random_bits = randomness_of(text)
    assert random_bits is None or 0 <= random_bits < RANGE


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("", {}),
        ("th:c", {"th": "c"}),
        ("th:c;rv:0123456789abcd", {"th": "c", "rv": "0123456789abcd"}),
        ("x:a:b; y:1 ;;z;", {"x": "a:b", "y": "1"}),
    ],
)
def test_parse_ot(value, parsed):
    """OpenTelemetry's entry is read member by member; what is no member is left out."""
    assert parse_ot(value) == parsed


@pytest.mark.parametrize(
    "rv",
    ["", "1", "0123456789abc", "0123456789abcde", "0123456789ABCD", "-000000000000a",
     "+000000000000a",
     "0x00000000000a", "0_0_0_0_0_0_0_", " 00000000000a ", "0123456789abcg", "\u0660" * 14],
)  # fmt: skip
def test_malformed_rv(rv):
    """Randomness counts with exactly 14 lower-case hexadecimal digits; anything else is absent."""
    assert explicit_randomness({"rv": rv}) is None


def test_randomness():
    """Explicit randomness is `rv`, implicit that of the trace id's last seven bytes."""
    assert explicit_randomness({}) is None
    assert explicit_randomness({"rv": "ffffffffffffff"}) == RANGE - 1
    assert implicit_randomness(0xAAAAAAAAAAAAAAAAAA0123456789ABCD) == 0x0123456789ABCD


@pytest.mark.parametrize(
    ("ot", "th", "rv", "expected"),
    [
        ({}, None, None, ""),
        ({}, "8", None, "th:8"),
        ({"th": "c"}, None, None, ""),
        ({"th": "c", "x": "1"}, "8", 10, "th:8;rv:0000000000000a;x:1"),
        ({"rv": "bad", "x": "1"}, None, None, "x:1"),
        ({"x": "1", "y": "2" * 250}, "8", 10, "th:8;rv:0000000000000a;x:1"),
    ],
)
def test_format_ot(ot, th, rv, expected):
    """The entry is written anew: our threshold, the randomness, then others as long as they fit."""
    assert format_ot(ot, th, rv) == expected


def test_with_ot():
    """Our entry comes first; others keep their order, and only the 33rd goes."""
    others = [(f"v{number}", "x") for number in range(32)]
    assert with_ot([("a", "1"), ("ot", "old"), ("b", "2")], "new") == [
        ("ot", "new"),
        ("a", "1"),
        ("b", "2"),
    ]
    assert with_ot([("ot", "old"), ("a", "1")], "") == [("a", "1")]
    assert with_ot(others, "new") == [("ot", "new"), *others[:31]]
    assert with_ot(others, "") == others


ot_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters=",="),
    min_size=1,
    max_size=256,
)


@given(
    ot_values.filter(lambda value: not value.endswith(" ")), st.booleans(), st.none() | randomness
)
def test_what_we_write_is_a_valid_tracestate(value, sampled, rv):
    """Whatever another service wrote into the entry, ours is valid and holds what we decided."""
    text = format_ot(parse_ot(value), "e6666666666666" if sampled else None, rv)
    state = TraceState([("ot", text)] if text else [])
    assert state.get("ot", "") == text
    again = parse_ot(text)
    assert again.get("th") == ("e6666666666666" if sampled else None)
    assert explicit_randomness(again) == rv


def _context(state: TraceState, flags: int) -> SpanContext:
    return SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(flags), trace_state=state)


@pytest.mark.parametrize(
    ("state", "flags", "expected"),
    [
        (TraceState(), 1, True),
        (TraceState(), 0, False),
        (TraceState(), 2, False),
        (SentryTraceState(sampled=None), 0, None),
        (SentryTraceState(sampled=False), 2, False),
        (SentryTraceState(sampled=True), 0, True),
        (SentryTraceState(sampled=None), 3, True),
    ],
)
def test_sampled_flag(state, flags, expected):
    """A decision is that of the flag, else that of the trace; only our state can be undecided."""
    assert sampled_flag(_context(state, flags)) is expected


def test_a_state_is_a_tracestate():
    """Ours holds and writes entries like OpenTelemetry's own and warns of bad ones like it."""
    state = SentryTraceState([("ot", "th:8"), ("a", "1")], sampled=True, sample_rate=0.5)
    assert state.to_header() == "ot=th:8,a=1"
    assert (state.sampled, state.sample_rate, state.sample_rand) == (True, 0.5, None)
    assert (state.name_transaction, state.dynamic_sampling_context) == (None, None)
    logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)
    try:
        assert len(SentryTraceState([("A", "1")], sampled=None)) == 0
    finally:
        logging.getLogger("opentelemetry.trace.span").setLevel(logging.NOTSET)
