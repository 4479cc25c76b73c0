"""Pony over PyMySQL: every piece of work is a db_session."""
from pony.orm import Database, Optional, Required, Set, count, db_session, desc, select
from shop import DATABASE, HOST, PASSWORD, PORT, USER, dice, prose, steady, word

db = Database()


class Post(db.Entity):
    title = Required(str, 200)
    body = Required(str, 2000)
    views = Optional(int, default=0)
    comments = Set("Comment")


class Comment(db.Entity):
    post = Required(Post)
    text = Required(str, 2000)


db.bind(provider="mysql", host=HOST, port=PORT, user=USER, passwd=PASSWORD, db=DATABASE, charset="utf8mb4")
db.generate_mapping(create_tables=True)


def work(number):
    with db_session:
        list(select(p for p in Post).order_by(lambda p: desc(p.id))[:10])
        some = word()
        count(p for p in Post if some in p.title)
    with db_session:
        post = Post(title=word(), body=prose())
        for _ in range(3):
            Comment(post=post, text=prose())
    with db_session:
        locked = Post.get_for_update(id=post.id)
        locked.views += 1
        list(locked.comments)
        if dice.random() < 0.3:
            locked.delete()


steady(work)
