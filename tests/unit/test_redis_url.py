"""What a URL of Redis says, and that nothing in it is left unread."""

from __future__ import annotations

import pytest

from rtcrelay.config.redis_url import RedisUrl, printable_url, read_redis_url, url_has_password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://10.0.0.9", RedisUrl("server", hosts=(("10.0.0.9", 6379),))),
        (
            "rediss://relay:a%3Ab@redis.example:6380/2?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisUrl(
                "server",
                hosts=(("redis.example", 6380),),
                database=2,
                tls=True,
                tls_options={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
                username="relay",
                password="a:b",
            ),
        ),
        ("redis://[::1]:6379", RedisUrl("server", hosts=(("::1", 6379),))),
        ("unix:///run/redis.sock?db=3", RedisUrl("socket", socket="/run/redis.sock", database=3)),
        ("unix://:hush@/run/redis.sock", RedisUrl("socket", socket="/run/redis.sock", password="hush")),
        (
            "redis+sentinel://u:p@a,b:26380/mymaster/1",
            RedisUrl(
                "sentinel",
                hosts=(("a", 26379), ("b", 26380)),
                group="mymaster",
                database=1,
                username="u",
                password="p",
            ),
        ),
        (
            "rediss+cluster://a:1,b:2?password=p",
            RedisUrl("cluster", hosts=(("a", 1), ("b", 2)), tls=True, password="p"),
        ),
    ],
)
def test_a_url_is_read(url: str, expected: RedisUrl) -> None:
    assert read_redis_url(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://[::1", "is not a URL, expected"),
        ("http://a", "is no URL of redis://, rediss://, unix://"),
        ("redis://", "has no host and port"),
        ("redis://a:x", "has no host and port"),
        ("redis://a:0", "has no host and port"),
        ("redis://a,b", "names several hosts"),
        ("redis://a/one", "names database 'one', expected a number"),
        ("redis://a?socket_timeout=9", "has 'socket_timeout' behind its question mark, expected username, password or"),
        ("redis://a?ssl_ca_certs=f", "has 'ssl_ca_certs' behind its question mark"),
        ("rediss://a?ssl_check_hostname=perhaps", "says ssl_check_hostname=perhaps, expected true or false"),
        ("rediss://a?ssl_cert_reqs=perhaps", "says ssl_cert_reqs=perhaps, expected none, optional or required"),
        ("redis+sentinel://a", "has no group"),
        ("redis+cluster://a/1", "names database 1, and a cluster has only database 0"),
        ("unix://", "has no socket"),
        ("unix://host/redis.sock", "has no socket"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read_redis_url(url)


def test_a_password_is_found_wherever_it_stands_and_never_shown() -> None:
    for url in ("redis://:p@a", "redis+sentinel://u:p@a,b/m", "redis://a?password=p", "redis://a?pass%77ord=p"):
        assert url_has_password(url)
        assert "p" not in printable_url(url).replace("://", "")
        assert "'p'" not in repr(read_redis_url(url))
    assert not url_has_password("redis://user@a")
    assert printable_url("redis://user:secret@host:6379/0") == "redis://host:6379/0"
    assert printable_url("redis://[::1") == "(not a URL)"
