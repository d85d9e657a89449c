from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.report import links
from r2n_kernels.benchmarks.report.links import Links, checked, own_template, template_of
from r2n_kernels.errors import ConfigError


@pytest.mark.parametrize(
    ("remote", "template"),
    [
        ("git@github.com:me/project.git", "https://github.com/me/project/commit/{sha}"),
        ("https://me:secret@github.com/me/project", "https://github.com/me/project/commit/{sha}"),
        ("ssh://git@gitlab.com:22/a/b/c.git", "https://gitlab.com/a/b/c/-/commit/{sha}"),
        ("https://codeberg.org/me/a.b.git/", "https://codeberg.org/me/a.b/commit/{sha}"),
        ("https://forge.example/me/project.git", None),
        ("/srv/git/project.git", None),
        ("https://github.com/", None),
        ("", None),
    ],
)
def test_of_a_remote(remote, template):
    assert template_of(remote) == template


def test_of_a_record(record):
    assert Links("https://a/{sha}").url(record) == "https://a/" + "0" * 40
    assert Links().url(record) is None
    for name in (None, "HEAD", "0" * 40 + "\n", '"><script>'):
        assert Links("https://a/{sha}").url(dataclasses.replace(record, commit=name)) is None


@pytest.mark.parametrize("text", ["https://a/b", "javascript:{sha}", "https://a/{sha} b", "{sha}"])
def test_a_template_is_checked(text):
    with pytest.raises(ConfigError, match=r"expected http\(s\)://... with {sha} in it"):
        checked(text)


def test_outside_of_a_checkout(monkeypatch):
    monkeypatch.setattr(links, "checkout", lambda: None)
    assert own_template() is None
