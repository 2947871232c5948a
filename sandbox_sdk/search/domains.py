"""Domains of a search: their one form, what they cover, and how engines are asked for them."""

from sandbox_sdk.egress.rules import parse_host

from .provider import Query


def check_domain(given: str) -> str:
    """A domain in lower case and ASCII.

    Raises:
        ValueError: it is none.
    """
    return parse_host(given)[0]


def covers(domain: str, host: str) -> bool:
    """Whether a host is the domain or below it, label by label."""
    return host == domain or host.endswith(f".{domain}")


def with_sites(query: Query, max_chars: int, max_words: int) -> str:
    """The text with `site:` for its domains, as far as the engine's limits leave room.

    What does not fit is left out: the domains are enforced on the results in any case.
    """
    allowed = " OR ".join(f"site:{each}" for each in query.allowed_domains)
    parts = [allowed, *(f"-site:{each}" for each in query.blocked_domains)]
    text = query.text
    for part in parts:
        longer = f"{text} {part}".rstrip()
        if len(longer) <= max_chars and len(longer.split()) <= max_words:
            text = longer
    return text
