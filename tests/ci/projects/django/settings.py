"""Settings of a small project whose database is where the environment says."""

from urllib.parse import urlsplit
import os

_url = urlsplit(os.environ["DATABASE_URL"])
SECRET_KEY = "for tests only"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TEST_RUNNER = "pgtally_django.PgtallyRunner"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port,
        "USER": _url.username,
        "NAME": _url.path.lstrip("/"),
    }
}
