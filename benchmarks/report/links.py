"""Commits become links to a forge that shows them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from ...errors import ConfigError
from ...measure.checkout import checkout, git
from ..records import Record

SHA = "{sha}"
NAME = re.compile(r"[0-9a-f]{7,64}")
# forges whose pages of commits are known: host, and what stands between repository and name
FORGES = {
    "github.com": "commit", "gitlab.com": "-/commit", "codeberg.org": "commit",
    "bitbucket.org": "commits",
}  # fmt: skip
REMOTE = re.compile(
    r"(?:(?:https|ssh|git)://(?:[^@/]+@)?([^/:]+)(?::\d+)?/|(?:[^@/]+@)([^/:]+):)"
    r"((?:[\w.-]+/)+[\w.-]+?)(?:\.git)?/?"
)


@dataclass(frozen=True)
class Links:
    """Links have a template with {sha} in it; without one there are none."""

    template: str | None = None

    def url(self, record: Record) -> str | None:
        """Return the address of a record's commit; None where its name is no hash."""
        if not self.template or not NAME.fullmatch(record.commit or ""):
            return None
        return self.template.replace(SHA, str(record.commit))


def template_of(remote: str) -> str | None:
    """Return the template of a git remote of a known forge, without its user and password."""
    found = REMOTE.fullmatch(remote.strip())
    host = (found[1] or found[2]).lower() if found else ""
    if not found or host not in FORGES:
        return None
    return f"https://{host}/{found[3]}/{FORGES[host]}/{SHA}"


def own_template() -> str | None:
    """Return the template of this source tree's `origin`; None where that is no known forge."""
    root = checkout()
    if root is None:
        return None
    try:
        return template_of(git(root, "remote", "get-url", "origin"))
    except (OSError, subprocess.CalledProcessError):
        return None


def checked(template: str) -> str:
    """Return a template. Raises ConfigError where it is none."""
    if not re.fullmatch(r"https?://[^\s\"'<>]+", template) or SHA not in template:
        raise ConfigError(f"expected http(s)://... with {SHA} in it, got {template!r}")
    return template
