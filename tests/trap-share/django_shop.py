"""Django's ORM over PyMySQL, with requests in transactions (ATOMIC_REQUESTS) and savepoints in them."""
import pymysql

pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()

import os

import django
from django.apps import AppConfig
from django.conf import settings
from shop import DATABASE, HOST, PASSWORD, PORT, USER, dice, prose, steady, word


class Shop(AppConfig):
    name, label, path = "__main__", "shop", os.path.dirname(__file__)


settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": DATABASE,
            "USER": USER,
            "PASSWORD": PASSWORD,
            "HOST": HOST,
            "PORT": PORT,
            "CONN_MAX_AGE": None,
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "__main__.Shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    SECRET_KEY="x",
)
django.setup()

from django.contrib.auth.models import Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Count, F, Q


class Post(models.Model):
    author = models.ForeignKey(User, models.CASCADE)
    title = models.CharField(max_length=200)
    body = models.TextField()
    views = models.IntegerField(default=0)
    meta = models.JSONField(default=dict)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "shop"


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    text = models.TextField()

    class Meta:
        app_label = "shop"


call_command("migrate", verbosity=0)
with connection.schema_editor() as editor:
    editor.create_model(Post)
    editor.create_model(Comment)
user = User.objects.create_user("ann", "ann@example.org", "x")
Group.objects.create(name="editors")


def work(number):
    # A page that is read.
    session = SessionStore()
    session["user"] = user.pk
    session.save()
    SessionStore(session.session_key).load()
    User.objects.get(pk=user.pk)
    list(Post.objects.select_related("author").annotate(n=Count("comment")).order_by("-created")[:10])
    Post.objects.filter(Q(title__icontains=word()) | Q(body__startswith="It")).count()
    # A form that is sent.
    with transaction.atomic():
        post = Post.objects.create(author=user, title=word(), body=prose(), meta={"n": number})
        Comment.objects.bulk_create([Comment(post=post, text=prose()) for _ in range(3)])
        try:
            with transaction.atomic():
                Group.objects.create(name="editors")
        except IntegrityError:
            pass
    # Work on it.
    with transaction.atomic():
        locked = Post.objects.select_for_update().get(pk=post.pk)
        locked.views += 1
        locked.save()
    Post.objects.filter(pk=post.pk).update(views=F("views") + 1)
    list(Comment.objects.filter(post=post).values_list("text", flat=True))
    Group.objects.get_or_create(name=f"group {number % 20}")
    if dice.random() < 0.3:
        post.delete()
    session.delete()


steady(work)
