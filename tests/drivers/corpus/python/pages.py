"""Runs a library's pages, each on a connection of its own whose startup options name its request.

A page is a function; the order is that of the dictionary. The runner reads the names from standard output.
"""

import os
from urllib.parse import urlsplit

DATABASE_URL = os.environ["DATABASE_URL"]
ADDRESS = urlsplit(DATABASE_URL)


def options(library, page):
    """Startup options that make the session one request."""
    return f"-c pgtally.request=route={library}.{page},id={library}.{page}"


def announce(library, function):
    """Sets the options of the next connections, for all that libpq reads from the environment."""
    page = function.__name__
    os.environ["PGOPTIONS"] = options(library, page)
    print(f"{library}.{page}", flush=True)


def run(library, functions, around):
    """Runs every page inside of what `around(page name)` opens and closes."""
    for function in functions:
        announce(library, function)
        with around(function.__name__) as session:
            function(*([] if session is None else [session]))
