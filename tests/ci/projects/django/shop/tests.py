"""The same list with and without select_related, in two classes so that they can run in parallel."""

from django.test import TestCase

from shop.models import Author, Post


class Lists(TestCase):
    @classmethod
    def setUpTestData(cls):
        authors = Author.objects.bulk_create([Author(name=f"author {n}") for n in range(8)])
        Post.objects.bulk_create([Post(author=author, title="x") for author in authors])

    def test_one_by_one(self):
        self.assertEqual(len([post.author.name for post in Post.objects.order_by("id")]), 8)


class RepairedLists(TestCase):
    @classmethod
    def setUpTestData(cls):
        authors = Author.objects.bulk_create([Author(name=f"author {n}") for n in range(8)])
        Post.objects.bulk_create([Post(author=author, title="x") for author in authors])

    def test_at_once(self):
        posts = Post.objects.select_related("author").order_by("id")
        self.assertEqual(len([post.author.name for post in posts]), 8)
