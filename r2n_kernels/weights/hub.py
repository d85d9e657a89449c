"""Files from the Hugging Face Hub: fetched into its cache, and verified.

huggingface_hub downloads to a temporary name, checks the size and retries; it does not check the
hash. Here every file is hashed against the Hub's etag (the sha256 of large files, the git object
id of small ones), the cached ones too, and a bad copy is fetched again once.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HubError
from ..names import split_source
from .files import sha256_of
from .hub_errors import PUBLIC_HUB, HubUnreachable, explain, hub_failures, is_unreachable, reason
from .hub_hash import etag_of_cached, hash_fault

_TRUE = ("1", "ON", "YES", "TRUE")
_log = logging.getLogger("r2n_kernels.weights")


@dataclass(frozen=True)
class HubRepo:
    """`org/repo` at a branch, tag or commit (None: main), kept in a cache (None: the Hub's)."""

    name: str
    revision: str | None = None
    cache_dir: str | None = None

    @classmethod
    def parse(cls, text: str, cache_dir: str | None = None) -> HubRepo:
        """From `hf-hub:org/repo` or `hf-hub:org/repo@revision`. Raises HubError."""
        _, text = split_source(text)
        name, at, revision = text.partition("@")
        if name.count("/") != 1 or not all(name.split("/")) or (at and not revision):
            raise HubError(
                f"expected 'hf-hub:org/repo' or 'hf-hub:org/repo@revision', got '{text}'"
            )
        return cls(name, revision or None, cache_dir)

    def __str__(self) -> str:
        return f"hf-hub:{self.name}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class HubFile:
    """A verified file in the cache, and the sha256 of its bytes."""

    path: Path
    sha256: str


def fetch(repo: HubRepo, filename: str) -> HubFile:
    """Download `filename`, or take it from the cache, and verify it.

    HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN are respected. A Hub that does
    not answer is given up after HF_HUB_ETAG_TIMEOUT, a stalled body after six times
    HF_HUB_DOWNLOAD_TIMEOUT (10 s each by default).

    Raises HubError; FileAbsent when the repository has no such file; HubUnreachable when the Hub
    does not answer and the cache has no copy.
    """
    metadata, unreachable = (None, None) if _offline() else _head(repo, filename)
    path = _download(repo, filename, local_only=metadata is None, unreachable=unreachable)
    etag = metadata.etag if metadata else etag_of_cached(path)
    size = metadata.size if metadata else None
    sha256 = sha256_of(path)
    fault = hash_fault(path, sha256, etag, size)
    if fault and metadata:
        _log.warning("%s: %s %s; fetching it again", repo, filename, fault)
        path = _download(repo, filename, force=True)
        sha256 = sha256_of(path)
        fault = hash_fault(path, sha256, etag, size)
    if fault:
        cure = (
            "fetched twice: the server or a proxy alters it; download it by hand and pass its path"
            if metadata
            else "run once with the Hub in reach, which fetches it again, or delete that file"
        )
        raise HubError(f"{repo}: {filename} {fault}; the bad copy is {path}; {cure}")
    return HubFile(path, sha256)


def _head(repo: HubRepo, filename: str) -> tuple[Any, BaseException | None]:
    """The Hub's metadata of a file; (None, cause) when the Hub does not answer."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(repo.name, filename, revision=repo.revision, endpoint=_endpoint())
        return get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT), None
    except hub_failures() as cause:
        if is_unreachable(cause):
            return None, cause
        raise explain(cause, repo, filename, _endpoint()) from cause


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
    except hub_failures() as cause:
        if local_only:
            why = "offline mode is on" if unreachable is None else reason(unreachable)
            raise HubUnreachable(
                f"{repo}: {filename} is not in the cache and the Hub cannot be reached "
                f"({why}). Connect, or download it by hand from "
                f"{_endpoint() or PUBLIC_HUB}/{repo.name} and pass its path"
            ) from (unreachable or cause)
        raise explain(cause, repo, filename, _endpoint()) from cause
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
