"""Files from the Hugging Face Hub are fetched into its cache, and verified.

huggingface_hub downloads to a temporary name, checks the size and retries; it does not check the
hash. Here every file is hashed against the Hub's etag (the sha256 of large files, the git object
id of small ones), the cached ones too, and a bad copy is fetched again once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HubError
from ..names import split_source
from ..text import printable
from .files import sha256_of

_PUBLIC_HUB = "https://huggingface.co"
_TRY_LATER = (408, 429)  # and all of 500 and above
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_ID = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "ON", "YES", "TRUE")
_log = logging.getLogger("r2n_kernels.weights")


class FileAbsent(HubError):
    """The repository is there, the file is not."""


class HubUnreachable(HubError):
    """The Hub does not answer, and the cache has no copy."""


@dataclass(frozen=True)
class HubRepo:
    """It is `org/repo` at a branch, tag or commit (None: main), and a cache (None: the Hub's)."""

    name: str
    revision: str | None = None
    cache_dir: str | None = None

    @classmethod
    def parse(cls, text: str, cache_dir: str | None = None) -> HubRepo:
        """Read `hf-hub:org/repo` or `hf-hub:org/repo@revision`. Raises HubError."""
        _, text = split_source(text)
        name, at, revision = text.partition("@")
        if name.count("/") != 1 or not all(name.split("/")) or (at and not revision):
            raise HubError(
                f"expected 'hf-hub:org/repo' or 'hf-hub:org/repo@revision', got '{text}'"
            )
        return cls(name, revision or None, cache_dir)

    @property
    def url(self) -> str:
        return f"{_endpoint() or _PUBLIC_HUB}/{self.name}"

    def __str__(self) -> str:
        return f"hf-hub:{self.name}" + (f"@{self.revision}" if self.revision else "")


def fetch(repo: HubRepo, filename: str) -> tuple[Path, str]:
    """Download `filename`, or take it from the cache, verify it, and return its path and sha256.

    HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN are respected. A Hub that does
    not answer is given up after HF_HUB_ETAG_TIMEOUT, a stalled body after six times
    HF_HUB_DOWNLOAD_TIMEOUT (10 s each by default).

    Raises HubError; FileAbsent when the repository has no such file; HubUnreachable when the Hub
    does not answer and the cache has no copy.
    """
    metadata, unreachable = (None, None) if _offline() else _head(repo, filename)
    path = _download(repo, filename, local_only=metadata is None, unreachable=unreachable)
    etag = metadata.etag if metadata else _etag_of_cached(path)
    size = metadata.size if metadata else None
    sha256, fault = _verify(path, etag, size)
    if fault and metadata:
        _log.warning("%s: %s %s; fetching it again", repo, filename, fault)
        path = _download(repo, filename, force=True)
        sha256, fault = _verify(path, etag, size)
    if fault:
        cure = (
            "fetched twice: the server or a proxy alters it; download it by hand and pass its path"
            if metadata
            else "run once with the Hub in reach, which fetches it again, or delete that file"
        )
        raise HubError(f"{repo}: {filename} {fault}; the bad copy is {path}; {cure}")
    return path, sha256


def _head(repo: HubRepo, filename: str) -> tuple[Any, BaseException | None]:
    """Ask for the Hub's metadata of a file; (None, cause) when the Hub does not answer."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(repo.name, filename, revision=repo.revision, endpoint=_endpoint())
        return get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT), None
    except _hub_failures() as cause:
        if _is_unreachable(cause):
            return None, cause
        raise _explain(cause, repo, filename) from cause


def _download(
    repo: HubRepo,
    filename: str,
    *,
    local_only: bool = False,
    force: bool = False,
    unreachable: BaseException | None = None,
) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(
            repo.name,
            filename,
            revision=repo.revision,
            endpoint=_endpoint(),
            cache_dir=repo.cache_dir or _cache_dir(),
            local_files_only=local_only,
            force_download=force,
        )
    except _hub_failures() as cause:
        if local_only:
            why = "offline mode is on" if unreachable is None else _reason(unreachable)
            raise HubUnreachable(
                f"{repo}: {filename} is not in the cache and the Hub cannot be reached "
                f"({why}). Connect, or download it by hand from {repo.url} and pass its path"
            ) from (unreachable or cause)
        raise _explain(cause, repo, filename) from cause
    if unreachable is not None:
        _log.warning("%s: the Hub cannot be reached, using the cached %s", repo, filename)
    return Path(path)


# huggingface_hub reads these once, at its import; a caller may set them later.
def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _cache_dir() -> str | None:
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return os.path.expanduser(cache)
    if home := os.environ.get("HF_HOME"):
        return os.path.join(os.path.expanduser(home), "hub")
    return None


def _offline() -> bool:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in _TRUE


def _verify(path: Path, etag: str | None, size: int | None) -> tuple[str, str | None]:
    """Return a file's sha256, and what is wrong. An etag of another form proves nothing."""
    sha256, found_size = sha256_of(path), path.stat().st_size
    if size is not None and found_size != size:
        return sha256, f"has {found_size} bytes, expected {size}"
    if etag and _SHA256.fullmatch(etag) and sha256 != etag:
        return sha256, f"has sha256 {sha256}, expected {etag}"
    if etag and _GIT_ID.fullmatch(etag):  # of small files
        data = b"blob %d\0" % found_size + path.read_bytes()
        if (found := hashlib.sha1(data, usedforsecurity=False).hexdigest()) != etag:
            return sha256, f"has git id {found}, expected {etag}"
    return sha256, None


def _etag_of_cached(path: Path) -> str | None:
    """Read off the cache's link from a snapshot to `blobs/<etag>`; None where it had to copy."""
    # One level only: the blob itself may link on, into a store that names files otherwise.
    if not path.is_symlink():
        return None
    target = Path(os.readlink(path))
    return target.name if target.parent.name == "blobs" else None


def _hub_failures() -> tuple[type[BaseException], ...]:
    """Return everything that huggingface_hub raises when it cannot deliver.

    Its HTTP library changed between versions; the bases of its HTTP error name the right one.
    """
    from huggingface_hub import errors

    xet = getattr(errors, "XetDownloadError", OSError)
    http = errors.HfHubHTTPError.__bases__
    return (OSError, ValueError, RuntimeError, errors.EntryNotFoundError, xet, *http)


def _is_unreachable(cause: BaseException) -> bool:
    """Tell whether there is no answer, or one to come back later; the cache may still serve."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code if cause.response is not None else 0
        return status >= 500 or status in _TRY_LATER
    return not isinstance(cause, HFValidationError)


def _explain(cause: BaseException, repo: HubRepo, filename: str) -> HubError:
    """Return the HubError for a failure to deliver `filename`; raise it from its cause."""
    from huggingface_hub import errors

    at, url = f"{repo}: {filename}", repo.url
    by_hand = f"download it by hand from {url} and pass its path"
    if isinstance(cause, errors.LocalEntryNotFoundError):  # before its base, EntryNotFoundError
        return HubUnreachable(f"{at} cannot be fetched ({_reason(cause)}); {by_hand}")
    if isinstance(cause, errors.EntryNotFoundError):
        return FileAbsent(f"{at} is not in the repository at revision {repo.revision or 'main'}")
    if isinstance(cause, errors.RevisionNotFoundError):
        return HubError(f"{at}: the repository has no revision '{repo.revision or 'main'}'")
    if isinstance(cause, errors.GatedRepoError):
        return HubError(f"{at}: access is gated: accept the terms at {url} and set HF_TOKEN")
    if isinstance(cause, errors.RepositoryNotFoundError):
        return HubError(
            f"{at}: no repository {url} (404), or it is private (401) and needs HF_TOKEN; check "
            "the spelling"
        )
    if isinstance(cause, errors.HfHubHTTPError) and cause.response is not None:
        return HubError(f"{at}: {url} answered {cause.response.status_code}; {by_hand}")
    return HubError(f"{at}: the download failed ({_reason(cause)}); try again, or {by_hand}")


def _reason(cause: BaseException) -> str:
    """Return the first line of an exception, fit for a terminal, or its type."""
    return printable(str(cause).strip().partition("\n")[0]) or type(cause).__name__
