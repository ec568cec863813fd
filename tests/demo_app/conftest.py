"""The page in a real browser, for the tests that ask for it."""

from ..support.browser import address, browser, visit  # noqa: F401
