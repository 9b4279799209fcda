"""A Django application, served by Django's own WSGI handler, so that its signals, its connection handling and
ATOMIC_REQUESTS work as in production. The argument names the configuration.
"""

import io
import itertools
import logging
import sys
from urllib.parse import urlsplit

import django
from announce import DATABASE_URL, Announcer, comment, trace_id
from django.conf import settings

MODE = sys.argv[1]
MODES = {
    "idle": {},
    "health": {"CONN_HEALTH_CHECKS": True},
    "session": {"CONN_MAX_AGE": 0},
    "atomic": {"ATOMIC_REQUESTS": True},
    "atomic-health": {"ATOMIC_REQUESTS": True, "CONN_HEALTH_CHECKS": True},
    "server-binding": {"OPTIONS": {"server_side_binding": True}},
    "pool": {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "OPTIONS": {"pool": {"min_size": 2, "max_size": 2}}},
    "trace": {},
    "trace-atomic": {"ATOMIC_REQUESTS": True},
    "trace-server-binding": {"OPTIONS": {"server_side_binding": True}},
}
IS_TAGGED = MODE.startswith("trace")
ADDRESS = urlsplit(DATABASE_URL)
DATABASE = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": ADDRESS.path.lstrip("/"),
    "USER": ADDRESS.username,
    "HOST": ADDRESS.hostname,
    "PORT": ADDRESS.port,
    "CONN_MAX_AGE": None,
    **MODES[MODE],
}
DATABASE.setdefault("OPTIONS", {})["application_name"] = f"django-{MODE}"

settings.configure(
    DATABASES={"default": DATABASE},
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    TIME_ZONE="UTC",
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()
logging.disable(logging.CRITICAL)

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Author(models.Model):
    """Writes posts."""

    name = models.CharField(max_length=60, unique=True)

    class Meta:
        app_label = "blog"


class Post(models.Model):
    """Has one author."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="posts")
    title = models.CharField(max_length=100)
    body = models.TextField(default="")

    class Meta:
        app_label = "blog"


def lazy(request):
    """1 + N: every post loads its author."""
    return JsonResponse({"names": [post.author.name for post in Post.objects.order_by("id")[:12]]})


def joined(request):
    """The same page with a join."""
    return JsonResponse({"names": [post.author.name for post in Post.objects.select_related("author").order_by("id")]})


def prefetched(request):
    """Two statements for any number of authors."""
    authors = Author.objects.prefetch_related("posts").order_by("id")
    return JsonResponse({"posts": [[post.title for post in author.posts.all()] for author in authors]})


def create(request):
    """A transaction with a savepoint; the response reads nothing again."""
    with transaction.atomic():
        post = Post.objects.create(author_id=2, title="new")
        with transaction.atomic():
            post.title = "newer"
            post.save(update_fields=["title"])
    return JsonResponse({"id": post.id})


def error(request):
    """Ends with a server error inside a transaction."""
    with transaction.atomic():
        Author.objects.filter(id=1).update(name="author 1")
        Author.objects.create(name="author 1")
    return JsonResponse({})


def handled_error(request):
    """Fails inside a savepoint and goes on."""
    try:
        with transaction.atomic():
            Author.objects.create(name="author 1")
    except django.db.IntegrityError:
        pass
    return JsonResponse({"authors": Author.objects.count()})


def export(request):
    """1 + N behind a server-side cursor."""
    posts = Post.objects.order_by("id").iterator(chunk_size=5)
    return JsonResponse({"names": [post.author.name for post in posts]})


def bulk(request):
    """Statements that look alike and are no N+1."""
    Author.objects.bulk_create([Author(name=f"bulk {n}") for n in range(3)])
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO blog_author (name) VALUES (%s)", [(f"many {n}",) for n in range(4)])
        cursor.execute("SELECT count(*) FROM blog_author; SELECT max(id) FROM blog_author")
    found = Author.objects.in_bulk([1, 2, 3])
    Author.objects.filter(name__startswith="bulk ").delete()
    Author.objects.filter(name__startswith="many ").delete()
    return JsonResponse({"found": len(found)})


VIEWS = (lazy, joined, prefetched, create, error, handled_error, export, bulk)
urlpatterns = [path(view.__name__, view) for view in VIEWS]
LINKED = {"lazy": "blog_post.author_id", "export": "blog_post.author_id"}
COUNTED = {"lazy": 13, "joined": 1, "prefetched": 2, "create": 2, "error": 2, "handled_error": 2, "export": 14}
HANDLER = WSGIHandler()


def get(page):
    """Serves one HTTP request, from its first signal to its last."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/{page}",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
    }
    response = HANDLER(environ, lambda status, headers: None)
    list(response)
    response.close()
    if response.status_code != (500 if page == "error" else 200):
        raise SystemExit(f"/{page} answered {response.status_code}")


def tagging(number, route):
    """A database wrapper that does what sqlcommenter's middleware does."""
    statements = itertools.count()

    def wrapper(execute, sql, params, many, context):
        text = comment(number, route, next(statements))
        # With parameters, the driver reads a percent sign as the start of a placeholder.
        return execute(sql + (text if params is None else text.replace("%", "%%")), params, many, context)

    return wrapper


def expectation(page, index):
    """What pgtally must say about a page in this configuration."""
    if IS_TAGGED:
        return {"level": ["trace"], "route": f"/{page}"}
    needs_gap = MODE in ("idle", "server-binding", "atomic")
    # A page that is one transaction after a pause is a transaction for sure; a page that also runs something outside
    # may be shown as both, but not lose anything.
    gap = {"level": ["idle", "transaction"], "units": None if page in ("handled_error", "bulk") else 1}
    expected = {
        "idle": gap,
        "health": {"level": ["ping"]},
        "session": {"level": ["session"], "units": None},
        "atomic": {"level": ["transaction"]},
        "atomic-health": {"level": ["ping"]},
        "server-binding": gap,
        "pool": {"level": ["ping"]},
    }[MODE]
    if index == 0:
        # Nothing precedes the first request of a connection but its opening.
        expected = {"level": [*expected["level"], "session", "transaction"], "units": None}
    return {"route": f"django-{MODE}", "needs_gap": needs_gap, **expected}


def main():
    """Runs every page once, the first one twice."""
    announcer = Announcer()
    pages = ["joined", *(view.__name__ for view in VIEWS)]
    for index, page in enumerate(pages):
        if index == 0 and (IS_TAGGED or MODE == "pool"):
            # Opening a connection sends statements that no comment can be on, and the pool does so in the background.
            with announcer.request("warm-up", only_total=True, needs_gap=True):
                get(page)
                if MODE == "pool":
                    connection.pool.wait()
            continue
        number = announcer.number + 1
        expected = expectation(page, index)
        if index > 0 and MODE != "session":
            # What opening a connection adds to its first request is the framework's business.
            expected["counted"] = COUNTED.get(page)
        if IS_TAGGED:
            expected["key"] = f"trace:{trace_id(number)}"
        with announcer.request(page, linked=LINKED.get(page), **expected):
            if IS_TAGGED:
                with connection.execute_wrapper(tagging(number, f"/{page}")):
                    get(page)
            else:
                get(page)


main()
