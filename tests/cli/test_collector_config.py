from __future__ import annotations

import re

import pytest
import yaml

from otel_sentry.cli import main
from otel_sentry.cli._re2 import ESCAPE, Replacement, translate
from otel_sentry.scrubbing._keys import Keys


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"a\d{2,5}", Replacement(r"a\d{2,5}", "X")),
        (r"(?<=key:)a(?=;)", Replacement("(key:)a(;)", "${1}X${2}")),
        (r"(?<!\d)a(?!b)", Replacement(r"(^|[^\d])a", "${1}X")),
        (r"(?<![a-c])a", Replacement("(^|[^a-c])a", "${1}X")),
        (r"(?<!\w)a", Replacement(rf"({ESCAPE}|^|[^\p{{L}}\p{{N}}_])a", "${1}X")),
        (r"(?<!ab)c", Replacement("c", "X")),
        (r"(?<=a)b|(?<=c)d(?=e)", Replacement("(a)b|(c)d(e)", "${1}${2}X${3}")),
        (r"(?=a|(?:b|c\Z))d", Replacement(r"(a|(?:b|c\z))d", "X${1}")),
        (r"[^(]{0,20000}b{2,5000}", Replacement("[^(]*b+", "X")),
        (r"\w[\w-]", Replacement(r"[\p{L}\p{N}_][\p{L}\p{N}_-]", "X")),
    ],
)
def test_translation(pattern, expected):
    """What Python looks at, RE2 matches and the replacement puts back; nothing else changes."""
    assert translate(pattern, "X") == expected


def rendered(capsys, monkeypatch, **environment: str) -> dict:
    for name in ("OTEL_SENTRY_SCRUB_KEYS", "OTEL_SENTRY_KEEP_KEYS", "SENTRY_SEND_DEFAULT_PII"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["collector-config"]) == 0
    return yaml.safe_load(capsys.readouterr().out.replace("$$", "$"))["processors"]


def blocks(processors: dict, key: str) -> bool:
    """Return whether the redaction processor removes what stands under the key."""
    redaction = processors["redaction/scrub"]
    return any(re.search(p, key) for p in redaction["blocked_key_patterns"]) and not any(
        re.search(p, key) for p in redaction["ignored_key_patterns"]
    )


def test_it_follows_the_environment(capsys, monkeypatch):
    """More keys, keys to keep and personal data are the same as those of the SDK."""
    plain = rendered(capsys, monkeypatch)
    assert not blocks(plain, "my.tenant.name")
    assert blocks(plain, "client.address")
    assert blocks(plain, "session.id")
    changed = rendered(
        capsys,
        monkeypatch,
        OTEL_SENTRY_SCRUB_KEYS="tenant_name",
        OTEL_SENTRY_KEEP_KEYS="session.id",
        SENTRY_SEND_DEFAULT_PII="true",
    )
    assert blocks(changed, "my.tenant.name")
    assert not blocks(changed, "client.address")
    assert not blocks(changed, "session.id")
    assert blocks(changed, "session.identity")


@pytest.mark.parametrize(
    ("keys", "blocked", "left"),
    [
        ("пароль", {"пароль", "user.Пароль"}, {"http.route", "country"}),
        ("---", set(), {"http.route", "country", ""}),
        ("tür,---", {"tür", "x.Tür"}, {"country", "tr", "tor"}),
        ("a.b+c", {"a.b+c", "A-B_C"}, {"country", "abd"}),
        ("tenantName", {"tenant_name", "tenantName"}, {"tenant"}),
    ],
)
def test_keys_of_any_letters(capsys, monkeypatch, keys, blocked, left):
    """A key of one's own blocks what it blocks in the SDK, in any letters, and no more."""
    rules = Keys(keys.split(","))
    processors = rendered(capsys, monkeypatch, OTEL_SENTRY_SCRUB_KEYS=keys)
    for key in blocked | left:
        assert blocks(processors, key) == (key in blocked) == bool(rules.rule_of(key)), key


def test_keys_to_keep_of_any_letters(capsys, monkeypatch):
    """A key to keep of which nothing is left is none."""
    plain = rendered(capsys, monkeypatch)
    assert rendered(capsys, monkeypatch, OTEL_SENTRY_KEEP_KEYS="---") == plain


def test_it_reads_the_env_file(capsys, monkeypatch, tmp_path):
    """Keys of OTEL_SENTRY_ENV_FILE are in the rules, too; those of the environment win."""
    path = tmp_path / ".env"
    path.write_text("OTEL_SENTRY_SCRUB_KEYS=tenant\nOTEL_SENTRY_KEEP_KEYS=session.id\n")
    processors = rendered(
        capsys, monkeypatch, OTEL_SENTRY_ENV_FILE=str(path), OTEL_SENTRY_KEEP_KEYS="x"
    )
    assert blocks(processors, "tenant")
    assert blocks(processors, "session.id")


def test_it_reads_without_a_collector(capsys, monkeypatch):
    """Each OTTL statement stands in its context, and a dollar sign is doubled."""
    groups = rendered(capsys, monkeypatch)["transform/scrub"]["trace_statements"]
    assert [group["context"] for group in groups] == ["resource", "scope", "span", "spanevent"]
    for group in groups:
        for statement in group["statements"]:
            assert re.match(
                r"(set|stringify_all|replace_pattern|replace_all_patterns)\(", statement
            )
