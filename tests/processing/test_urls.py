"""URLs are shown without their secrets, and go to public addresses only."""

from __future__ import annotations

import ipaddress
import time

import pytest

from hf_zsar.processing import public_addresses
from hf_zsar.processing.public_addresses import is_public
from hf_zsar.processing.urls import redacted
from hf_zsar.processing.video_reading import VideoReadError, open_video


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("https://me:s3cret@host/a.mp4", "https://***@host/a.mp4"),
        ("https://s3cret@host:8080/a.mp4", "https://***@host:8080/a.mp4"),
        ("https://host/a.mp4?X-Amz-Signature=s3cret&page=2", "https://host/a.mp4?X-Amz-Signature=***&page=***"),
        ("https://host/a.mp4?s3cret", "https://host/a.mp4?***"),
        ("https://host/a.mp4#token=s3cret", "https://host/a.mp4#***"),
        ("https://me:p/s3cret@host/a.mp4", "https://***@host/a.mp4"),
        ("https://me:p#s3cret@host/a.mp4?x=s3cret", "https://***@host/a.mp4?x=***"),
        ("https://me:p@s3cret@host/a.mp4", "https://***@host/a.mp4"),
        ("https://host/@user/a.mp4", "https://host/@user/a.mp4"),
        ("s3://key:s3cret@bucket/a.mp4", "s3://***@bucket/a.mp4"),
        ("RTSP://me:s3cret@[fe80::1]:554/a", "RTSP://***@[fe80::1]:554/a"),
        (" http://me:s3cret@host/a.mp4", " http://***@host/a.mp4"),
        ("see https://me:s3cret@host/?t=s3cret there", "see https://***@host/?t=*** there"),
        ("clips/a.mp4?page=2", "clips/a.mp4?page=2"),
        ("me@host", "me@host"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert redacted(url) == shown
    assert redacted(shown) == shown, "what is shown already stays"


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@[::1/a.mp4",  # no closing bracket
        f"https://me:{SECRET}@host:port/a.mp4",
        f"https://me:x/{SECRET}@127.0.0.1/a.mp4",  # the password is read as a port
        f"https://me:{SECRET}@/a.mp4",
        f"ftp://me:{SECRET}@host/a.mp4",
        f"http://me:{SECRET}@127.0.0.1/a.mp4?x={SECRET}",
        f"http://ho st/a.mp4?x={SECRET}\n",
        f"http://127.0.0.1:9/ä b.mp4?{SECRET}",
        {"path": f"https://me:{SECRET}@host/a.mp4?{SECRET}"},
        {"path": f"https://me:{SECRET}@host/a.mp4?{SECRET}", "bytes": b"no video"},
        f" http://me:{SECRET}@host/a.mp4",
    ],
    ids=str,
)
def test_no_error_and_no_cause_of_it_holds_a_secret(url):
    with pytest.raises(VideoReadError) as caught:
        open_video(url, timeout=2.0)
    error = caught.value
    while error is not None:
        assert SECRET not in f"{error!s}{error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "192.0.3.1",
    "198.20.0.1",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001::1",
    "2001:4860:4860::8888",  # beside 2001::/23
    "2001:200::1",
    "2620:4f:8001::1",
    "::ffff:93.184.216.34",
    "64:ff9b::93.184.216.34",
]
NOT_PUBLIC = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.9",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::93.184.216.34",  # IPv4-compatible
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:93.184.216.34",  # mapped; IPv4-translated
    "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::93.184.216.34",  # local NAT64
    "100::1", "100:0:0:1::1",  # discard, dummy
    "2001::1", "2001:0:5db8:d822::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1",
    "2001:20::1", "2001:30::1", "2001:db8::1", "2002:5db8:d822::1", "2002:7f00:1::", "2620:4f:8000::1", "3ffe::1",
    "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1",
    "ff02::1", "ff0e::1", "ffff::1", "", "host", "1.2.3", "0x7f.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses(address):
    assert not is_public(address)


def test_the_ends_of_every_special_range_are_refused():
    for text in (*public_addresses.SPECIAL_IPV4, *public_addresses.SPECIAL_IPV6):
        network = ipaddress.ip_network(text)
        for address in (network[0], network[-1], network[network.num_addresses // 2]):
            assert not is_public(str(address)), address
    for text in public_addresses.SPECIAL_IPV4:  # and stay so in both forms that wrap them
        first = ipaddress.ip_network(text)[0]
        assert not is_public(f"::ffff:{first}")
        assert not is_public(f"64:ff9b::{first}")


def test_python_does_not_know_better():
    """What Python calls not global is never public here, save the two forms that are judged by what is in them."""
    for address in PUBLIC:
        if not address.startswith(("::ffff", "64:ff9b")):
            assert ipaddress.ip_address(address).is_global


@pytest.mark.parametrize(
    "text", ["a" * 300_000, "a." * 150_000 + "://", "a" * 300_000 + "://me:secret@host/?key=secret"]
)
def test_a_long_text_is_redacted_at_once(text):
    """Were each letter tried as the first of a scheme to the end of its word, this would take minutes."""
    start = time.process_time()
    assert "secret" not in redacted(f" {text}")
    assert time.process_time() - start < 2
