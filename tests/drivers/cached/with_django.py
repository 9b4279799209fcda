"""Django with psycopg, binding by the client or (SERVER_SIDE_BINDING=1) by the server."""

import os

import django
from django.conf import settings

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": "127.0.0.1",
            "PORT": os.environ["PORT"], "OPTIONS": {"server_side_binding": os.environ["SERVER_SIDE_BINDING"] == "1"},
        },
    },
    INSTALLED_APPS=[],
    USE_TZ=True,
)
django.setup()

from django.db import connection, models, transaction  # noqa: E402


class Product(models.Model):
    """A product."""

    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    added = models.DateTimeField()
    details = models.JSONField(null=True)

    class Meta:
        """Its table is there already."""

        app_label = "cached"
        db_table = "cached_product"
        managed = False


def tagged(execute, sql, params, many, context):
    """Asks for the cache, and names the page."""
    if sql.startswith("SELECT"):
        sql += " /*pgtally_cache='ttl%%3D60s%%3Btags%%3Dproduct',route='/products'*/"
    return execute(sql, params, many, context)


def reads():
    """Each form until it comes from the cache."""
    for _ in range(5):
        product = Product.objects.get(id=7)
        print(product.id, product.name, product.price, product.added, product.details)
        print(list(Product.objects.filter(id__in=[1, 2, 3]).order_by("id").values_list("name", "price")))
        print(Product.objects.filter(price__gt=10).count(), Product.objects.aggregate(models.Sum("price")))
        print(Product.objects.filter(name__startswith="product 4").exists())


with connection.execute_wrapper(tagged):
    reads()
    Product.objects.filter(id=7).update(name="written")
    reads()
    with transaction.atomic():
        Product.objects.filter(id=7).update(name="product 7")
        print(Product.objects.get(id=7).name)
    reads()
