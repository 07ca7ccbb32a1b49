from __future__ import annotations

import pytest

from pipeline.store.masking import mask, mask_arguments


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
