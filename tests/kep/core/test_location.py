"""One type for every kind of address."""

from pathlib import Path

import pytest

from kep.core.location import Location


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("data/a.csv", "local", "data/a.csv"),
        ("/data/12:30.csv", "local", "/data/12:30.csv"),
        ("gs://bucket/data/*.csv", "gs", "bucket/data/*.csv"),
        ("bq://project SELECT 1", "bq", "project SELECT 1"),
        ("sklearn:digits", "sklearn", "digits"),
        ("", "local", ""),
    ],
)
def test_an_address_has_a_scheme_and_a_path(text, scheme, path):
    location = Location(text)
    assert (location.scheme, location.path, str(location)) == (scheme, path, text)
    assert (location.is_local, location.is_cloud) == (scheme == "local", scheme == "gs")


def test_an_address_on_cloud_storage_has_a_bucket_and_a_name():
    assert (Location("gs://b/c/d").bucket, Location("gs://b/c/d").object_name) == ("b", "c/d")
    assert (Location("gs://b").bucket, Location("gs://b").object_name) == ("b", "")
    assert Location.in_cloud("b/c") == Location("gs://b/c")


def test_only_a_path_becomes_absolute():
    assert Location("a.csv").absolute(Path("/data")) == Location("/data/a.csv")
    assert Location("/a:b.csv").absolute(Path("/data")) == Location("/a:b.csv")
    assert Location("a:b.csv").absolute(Path("/data")) == Location("/data/a:b.csv")
    assert Location("gs://b/a.csv").absolute(Path("/data")) == Location("gs://b/a.csv")


def test_an_address_is_joined_with_a_name():
    assert Location("gs://b/c/") / "d.json" == Location("gs://b/c/d.json")
    assert Location("data") / "d.json" == Location("data/d.json")
