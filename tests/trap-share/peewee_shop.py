"""Peewee over PyMySQL, statements of their own and transactions."""
from peewee import CharField, ForeignKeyField, IntegerField, Model, MySQLDatabase, TextField, fn
from shop import DATABASE, HOST, PASSWORD, PORT, USER, dice, prose, steady, word

database = MySQLDatabase(DATABASE, host=HOST, port=PORT, user=USER, password=PASSWORD, charset="utf8mb4")


class Base(Model):
    class Meta:
        database = database


class Post(Base):
    title = CharField(200)
    body = TextField()
    views = IntegerField(default=0)


class Comment(Base):
    post = ForeignKeyField(Post, backref="comments", on_delete="CASCADE")
    text = TextField()


database.create_tables([Post, Comment])


def work(number):
    list(Post.select(Post, fn.COUNT(Comment.id)).left_outer_join(Comment).group_by(Post).order_by(Post.id.desc()).limit(10))
    Post.select().where(Post.title.contains(word())).count()
    with database.atomic():
        post = Post.create(title=word(), body=prose())
        with database.atomic():
            Comment.insert_many([{"post": post, "text": prose()} for _ in range(3)]).execute()
    Post.update(views=Post.views + 1).where(Post.id == post.id).execute()
    Post.get_by_id(post.id)
    list(post.comments)
    with database.atomic():
        Post.select().where(Post.id == post.id).for_update().get()
        Post.update(body=prose()).where(Post.id == post.id).execute()
    if dice.random() < 0.3:
        post.delete_instance(recursive=True)


steady(work)
