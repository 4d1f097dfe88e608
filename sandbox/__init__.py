"""Stand-ins of the three platforms as real HTTP servers, for `perennial demo` and the tests.

They import nothing of the app: what they expect of it, they work out themselves from their own books.
"""
