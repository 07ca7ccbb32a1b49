from __future__ import annotations

import pytest

from schemas.secrets import holds_credentials


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
