"""SQLAlchemy's ORM over PyMySQL: a session for each piece of work, from its pool."""
from shop import DATABASE, HOST, PASSWORD, PORT, USER, dice, prose, steady, word
from sqlalchemy import ForeignKey, String, Text, create_engine, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    views: Mapped[int] = mapped_column(default=0)
    author: Mapped[Author] = relationship()
    comments: Mapped[list["Comment"]] = relationship(cascade="all, delete-orphan")


class Comment(Base):
    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"))
    text: Mapped[str] = mapped_column(Text)


engine = create_engine(
    f"mysql+pymysql://{USER}:{PASSWORD}@{HOST}:{PORT}/{DATABASE}?charset=utf8mb4", pool_size=2, pool_pre_ping=True
)
Base.metadata.create_all(engine)
with Session(engine) as session, session.begin():
    session.add(Author(id=1, name="ann"))


def work(number):
    with Session(engine) as session:
        posts = select(Post).options(selectinload(Post.comments)).order_by(Post.id.desc()).limit(10)
        session.scalars(posts).all()
        session.scalar(select(func.count()).select_from(Post).where(Post.title.contains(word())))
    with Session(engine, expire_on_commit=False) as session, session.begin():
        post = Post(author_id=1, title=word(), body=prose(), comments=[Comment(text=prose()) for _ in range(3)])
        session.add(post)
        session.flush()
        with session.begin_nested():
            session.add(Comment(post_id=post.id, text=prose()))
    with Session(engine, expire_on_commit=False) as session, session.begin():
        locked = session.scalars(select(Post).where(Post.id == post.id).with_for_update()).one()
        locked.views += 1
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.execute(update(Post).where(Post.title == word()).values(views=Post.views + 1))
        if dice.random() < 0.3:
            session.delete(session.get(Post, post.id))


steady(work)
