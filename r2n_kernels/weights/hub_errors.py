"""The Hub's failures, in words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import HubError
from ..text import printable

if TYPE_CHECKING:
    from .hub import HubRepo

PUBLIC_HUB = "https://huggingface.co"
_TRY_LATER = (408, 429)  # and all of 500 and above


class FileAbsent(HubError):
    """The repository is there, the file is not."""


class HubUnreachable(HubError):
    """The Hub does not answer, and the cache has no copy."""


def hub_failures() -> tuple[type[BaseException], ...]:
    """Everything that huggingface_hub raises when it cannot deliver.

    Its HTTP library changed between versions; the bases of its HTTP error name the right one.
    """
    from huggingface_hub import errors

    xet = getattr(errors, "XetDownloadError", OSError)
    http = errors.HfHubHTTPError.__bases__
    return (OSError, ValueError, RuntimeError, errors.EntryNotFoundError, xet, *http)


def is_unreachable(cause: BaseException) -> bool:
    """No answer, or one that says to come back later; the cache may still serve."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if isinstance(cause, HFValidationError):
        return False
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code if cause.response is not None else 0
        return status >= 500 or status in _TRY_LATER
    return True


def explain(cause: BaseException, repo: HubRepo, filename: str, endpoint: str | None) -> HubError:
    """The HubError for a failure to deliver `filename`; raise it from its cause."""
    from huggingface_hub import errors

    at = f"{repo}: {filename}"
    url = f"{endpoint or PUBLIC_HUB}/{repo.name}"
    by_hand = f"download it by hand from {url} and pass its path"
    if isinstance(cause, errors.LocalEntryNotFoundError):  # before its base, EntryNotFoundError
        return HubUnreachable(f"{at} cannot be fetched ({reason(cause)}); {by_hand}")
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
    return HubError(f"{at}: the download failed ({reason(cause)}); try again, or {by_hand}")


def reason(cause: BaseException) -> str:
    """The first line of an exception, fit for a terminal, or its type."""
    return printable(str(cause).strip().partition("\n")[0]) or type(cause).__name__
