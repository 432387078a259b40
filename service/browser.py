"""Browser: what an answer forbids a browser to do with it, by its path. It does not know what is answered.

No answer is ever readable for a page from elsewhere: there are no CORS headers, and no setting that adds them.
"""

from __future__ import annotations

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


def headers(path: str) -> Headers:
    """Pages get a policy; for answers to programs it is enough that nobody takes them for a page."""
    if path.startswith("/dashboard"):
        return _PAGE
    if path.startswith("/docs"):
        return _DOCS
    return _NO_GUESSING
