"""The shop's tables for Django."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=60, unique=True)
    bio = models.TextField(default="")

    class Meta:
        db_table = "authors"


class Tag(models.Model):
    name = models.CharField(max_length=30)

    class Meta:
        db_table = "tags"


class Post(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="posts")
    title = models.CharField(max_length=100)
    views = models.IntegerField(default=0)
    published_at = models.DateTimeField(auto_now_add=True)
    tags = models.ManyToManyField(Tag, through="PostTag")

    class Meta:
        db_table = "posts"


class PostTag(models.Model):
    pk = models.CompositePrimaryKey("post_id", "tag_id")
    post = models.ForeignKey(Post, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)

    class Meta:
        db_table = "post_tags"


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    body = models.TextField()

    class Meta:
        db_table = "comments"


class Customer(models.Model):
    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=60)

    class Meta:
        db_table = "customers"


class Order(models.Model):
    id = models.UUIDField(primary_key=True)
    customer = models.ForeignKey(Customer, models.CASCADE)
    placed_at = models.DateTimeField()

    class Meta:
        db_table = "orders"


class Setting(models.Model):
    name = models.CharField(max_length=40, primary_key=True)
    value = models.TextField()

    class Meta:
        db_table = "settings"


class Document(models.Model):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=100)
    content = models.TextField()

    class Meta:
        db_table = "documents"


class Category(models.Model):
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    name = models.CharField(max_length=40)

    class Meta:
        db_table = "categories"


class Event(models.Model):
    kind = models.CharField(max_length=10)
    happened_at = models.DateTimeField()

    class Meta:
        db_table = "events"


class Job(models.Model):
    state = models.CharField(max_length=10)
    payload = models.JSONField()

    class Meta:
        db_table = "jobs"
