"""Pages of Django's ORM and of serializers of Django REST framework."""

from contextlib import contextmanager

import django
from django.conf import settings
from pages import ADDRESS, run

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": ADDRESS.path.lstrip("/"),
            "USER": ADDRESS.username,
            "HOST": ADDRESS.hostname,
            "PORT": ADDRESS.port,
        }
    },
    INSTALLED_APPS=["rest_framework", "django_shop"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()

from django.core.paginator import Paginator  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Count  # noqa: E402
from django_shop.models import (  # noqa: E402
    Author, Category, Comment, Customer, Document, Event, Job, Order, Post, Setting, Tag,
)
from rest_framework import serializers  # noqa: E402


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


class PostSerializer(serializers.ModelSerializer):
    author = AuthorSerializer()

    class Meta:
        model = Post
        fields = ["id", "title", "author"]


def posts_lazy():
    return [post.author.name for post in Post.objects.order_by("id")]


def posts_ahead():
    return [post.author.name for post in Post.objects.select_related("author")]


def comments_lazy():
    return [[comment.body for comment in post.comments.all()] for post in Post.objects.order_by("-id")[:15]]


def comments_ahead():
    return [len(post.comments.all()) for post in Post.objects.prefetch_related("comments")]


def counts_lazy():
    return [author.posts.count() for author in Author.objects.all()]


def counts_grouped():
    return [author.total for author in Author.objects.annotate(total=Count("posts"))]


def nested_lazy():
    for author in Author.objects.order_by("name")[:6]:
        for post in author.posts.all():
            list(post.comments.all())


def nested_ahead():
    for author in Author.objects.prefetch_related("posts__comments"):
        for post in author.posts.all():
            list(post.comments.all())


def tags_lazy():
    return [[tag.name for tag in post.tags.all()] for post in Post.objects.filter(views=0)]


def tags_ahead():
    return [len(post.tags.all()) for post in Post.objects.prefetch_related("tags")]


def orders_lazy():
    return [order.customer.name for order in Order.objects.all()]


def orders_ahead():
    return [order.customer.name for order in Order.objects.prefetch_related("customer")]


def last_lazy():
    return [author.posts.order_by("-published_at").first() for author in Author.objects.all()]


def deferred():
    return [post.title for post in Post.objects.only("id").order_by("id")]


def serializer_lazy():
    return PostSerializer(Post.objects.order_by("id")[:10], many=True).data


def serializer_ahead():
    return PostSerializer(Post.objects.select_related("author")[:10], many=True).data


def tree_up():
    category = Category.objects.get(id=9)
    while category.parent is not None:
        category = category.parent


def names_from_api():
    return [Author.objects.get(name=f"author {number}").bio for number in range(1, 13)]


def few_lookups():
    return [Author.objects.get(id=number) for number in (3, 8, 5)]


def setting_again():
    return [Setting.objects.get(name="setting 2").value for _ in range(4)]


def paginate():
    page = Paginator(Post.objects.filter(views=0).order_by("id"), 10).page(1)
    return list(page), page.paginator.num_pages


def get_after_create():
    post = Post.objects.create(author_id=2, title="new")
    post.refresh_from_db()


def bulk_singly():
    with transaction.atomic():
        for number in range(15):
            Comment.objects.create(post_id=1 + number, body="new")


def bulk_at_once():
    Comment.objects.bulk_create([Comment(post_id=1 + number, body="new") for number in range(15)])


def update_singly():
    for post in Post.objects.order_by("id")[:12]:
        post.views += 1
        post.save()


def update_at_once():
    posts = list(Post.objects.order_by("id")[:12])
    for post in posts:
        post.views += 1
    Post.objects.bulk_update(posts, ["views"])


def delete_singly():
    for comment in Comment.objects.order_by("-id")[:12]:
        comment.delete()


def delete_at_once():
    Comment.objects.filter(body="new").delete()


def export_all():
    return [event.kind for event in Event.objects.all()]


def export_cursor():
    return sum(1 for _ in Event.objects.iterator(chunk_size=300))


def export_pages():
    last = 0
    for _ in range(12):
        page = list(Event.objects.filter(id__gt=last).order_by("id")[:200])
        last = page[-1].id


def offset_pages():
    return [list(Event.objects.order_by("id")[start : start + 100]) for start in range(0, 1200, 100)]


def documents_wide():
    return [[it.title for it in Document.objects.filter(author_id=author)] for author in (1, 2, 3, 4)]


def months():
    for month in range(1, 12):
        list(Post.objects.filter(published_at__gte=f"2026-{month:02}-01T00:00Z", published_at__lt=f"2026-{month + 1:02}-01T00:00Z"))


def chunks():
    ids = list(Event.objects.order_by("id").values_list("id", flat=True)[:600])
    for start in range(0, 600, 50):
        Event.objects.in_bulk(ids[start : start + 50])


def dashboard():
    Post.objects.count()
    Author.objects.order_by("-id").first()
    list(Tag.objects.all())
    Order.objects.filter(placed_at__year=2026).exists()
    Event.objects.filter(kind="click").count()


def savepoints():
    with transaction.atomic():
        for number in (1, 2, 3):
            with transaction.atomic():
                Post.objects.filter(id=number).update(views=9)


def queue():
    for _ in range(12):
        with transaction.atomic():
            job = Job.objects.select_for_update(skip_locked=True).filter(state="waiting").order_by("id").first()
            Job.objects.filter(id=job.id).update(state="done")


def upsert_few():
    for name in ("tag 1", "tag 2", "tag 3"):
        Tag.objects.get_or_create(name=name)


@contextmanager
def session(page):
    """A connection for one page."""
    yield
    connection.close()


run(
    "django",
    [
        posts_lazy, posts_ahead, comments_lazy, comments_ahead, counts_lazy, counts_grouped, nested_lazy, nested_ahead,
        tags_lazy, tags_ahead, orders_lazy, orders_ahead, last_lazy, deferred, serializer_lazy, serializer_ahead,
        tree_up, names_from_api, few_lookups, setting_again, paginate, get_after_create, bulk_singly, bulk_at_once,
        update_singly, update_at_once, delete_singly, delete_at_once, export_all, export_cursor, export_pages,
        offset_pages, documents_wide, months, chunks, dashboard, savepoints, queue, upsert_few,
    ],
    session,
)
