from __future__ import annotations

import pytest

from schemas.secrets import holds_credentials, mask, mask_arguments


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/photos",
        "s3://KEY:wJalrXUtnFEMI/K7MDENG/bPxRfiCY@bucket/photos",
        "simplecache::s3://KEY:a/b+c@bucket",
        "https://host:pass/word@other/w.pth",
        "https://@host/w.pth",
    ],
)
def test_holds_credentials_before_the_at_sign(url: str):
    assert holds_credentials(url) == "holds credentials before the '@'"


@pytest.mark.parametrize(
    "url",
    [
        "https://bucket.s3.amazonaws.com/w.pth?X-Amz-Credential=a&X-Amz-Signature=b",
        "https://host/w.pth?page=2&X-Goog-Signature=b",
        "https://account.blob.core.windows.net/c/list.csv?sv=1&sig=abc",
        "https://host/photos.tar?token=abc",
        "https://host/photos.tar#access_token=abc",
    ],
)
def test_holds_credentials_in_a_signed_query(url: str):
    assert holds_credentials(url) == "holds credentials in its query"


@pytest.mark.parametrize(
    "url",
    [
        "photos@home",
        "/data/token=3/a.jpg",
        "/data/a?token=b",
        "s3://bucket/album@home/photos",
        "s3://bucket/token=3/a.jpg",
        "https://host:8443/file@v2.pth",
        "https://host/a?at=b@c",
        "https://host/a?page=2&author=Zeiler",
        "simplecache::s3://bucket/a@b",
    ],
)
def test_holds_credentials_of_a_plain_place_is_nothing(url: str):
    assert holds_credentials(url) is None


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("s3://me:hunter2@bucket/a", "hunter2"),
        ("s3://KEY:wJal/K7MD+hunter2@bucket/a", "wJal"),
        ("reading s3://KEY:wJal/K7MD+hunter2@bucket/a: no answer", "hunter2"),
        ("https://host/a?X-Amz-Signature=abc123&x=1", "abc123"),
        ("https://host/a?sv=1&sig=abc123", "abc123"),
        ("--token=abc123", "abc123"),
        ("AWS_SECRET_ACCESS_KEY=abc123", "abc123"),
        ('{"api_key": "abc123"}', "abc123"),
        ("password: abc123", "abc123"),
        ("the key AKIAABCDEFGHIJKLMNOP is unknown", "AKIAABCDEFGHIJKLMNOP"),
        ("--webhook-url=https://hooks.example/T0/abc123", "abc123"),
    ],
)
def test_mask_of_a_secret_leaves_nothing_of_it(text: str, secret: str):
    assert secret not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/a",
        "--layers=features.*",
        "runs/a b",
        "--author=Zeiler",
        "top=9",
        "a@b.c",
        "http://head:8265/a@b",
        "s3://bucket/a@b",
    ],
)
def test_mask_of_plain_words_changes_nothing(text: str):
    assert mask(text) == text


def test_mask_of_a_signed_url_keeps_what_is_public():
    assert mask("https://h/a?token=x&page=2") == "https://h/a?token=***&page=2"


def test_mask_arguments_after_a_sensitive_flag_masks_the_next_word():
    words = ["unitscope", "scan", "--token", "abc", "--top", "9", "--api-key", "--out", "runs/a"]

    shown = mask_arguments(words)

    assert shown == (
        *("unitscope", "scan", "--token", "***", "--top", "9", "--api-key", "--out", "runs/a"),
    )
