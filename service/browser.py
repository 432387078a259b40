"""Browser: what an answer forbids a browser to do with it, and which requests a browser sends for another site's page.

No answer is ever readable for a page from elsewhere: there are no CORS headers, and no setting that adds them. This
module does not know what is asked or answered.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = tuple[tuple[bytes, bytes], ...]

_NO_GUESSING: Headers = ((b"x-content-type-options", b"nosniff"),)
_ISOLATED: Headers = (
    *_NO_GUESSING,
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_ALWAYS = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
# swagger-ui starts by a script in its page, sets styles on elements, and has its pictures in its style sheet.
_SWAGGER = "; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_PAGE: Headers = (*_ISOLATED, (b"content-security-policy", _ALWAYS.encode()))
_DOCS: Headers = (*_ISOLATED, (b"content-security-policy", (_ALWAYS + _SWAGGER).encode()))


def from_elsewhere(sent: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether these request headers are a browser's on behalf of another site's page. Programs send none of them.

    `Sec-Fetch-Site` is the browser's own word and stays right behind a proxy; older browsers send `Origin` alone.
    """
    told = dict(sent)
    site = told.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = told.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != told.get(b"host")


def headers(path: str) -> Headers:
    """Pages get a policy; for answers to programs it is enough that nobody takes them for a page."""
    if path.startswith("/dashboard"):
        return _PAGE
    if path.startswith("/docs"):
        return _DOCS
    return _NO_GUESSING
