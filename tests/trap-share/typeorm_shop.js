// TypeORM over mysql2.
require("reflect-metadata");
const { DataSource, EntitySchema, Like } = require("typeorm");
const { connection, dice, prose, word, steady } = require("./shop.js");

const Post = new EntitySchema({
  name: "post",
  columns: {
    id: { type: Number, primary: true, generated: true },
    title: { type: String }, body: { type: "text" }, views: { type: Number, default: 0 }, meta: { type: "json", nullable: true },
    created: { type: "datetime", createDate: true },
  },
  relations: { comments: { type: "one-to-many", target: "comment", inverseSide: "post", cascade: true } },
});
const Comment = new EntitySchema({
  name: "comment",
  columns: { id: { type: Number, primary: true, generated: true }, text: { type: "text" } },
  relations: { post: { type: "many-to-one", target: "post", inverseSide: "comments", onDelete: "CASCADE" } },
});

(async () => {
  const db = await new DataSource({
    type: "mysql", host: connection.host, port: connection.port, username: connection.user, password: connection.password,
    database: connection.database, entities: [Post, Comment], synchronize: true, extra: { connectionLimit: 2 },
  }).initialize();
  const posts = db.getRepository("post");
  await steady(async (number) => {
    await posts.find({ relations: { comments: true }, order: { id: "DESC" }, take: 10 });
    await posts.count({ where: { title: Like(`%${word()}%`) } });
    const post = await posts.save({ title: word(), body: prose(), meta: { n: number }, comments: [1, 2, 3].map(() => ({ text: prose() })) });
    await db.transaction(async (manager) => {
      await manager.findOne("post", { where: { id: post.id }, lock: { mode: "pessimistic_write" } });
      await manager.increment("post", { id: post.id }, "views", 1);
    });
    await posts.update(post.id, { body: prose() });
    await posts.createQueryBuilder("p").leftJoinAndSelect("p.comments", "c").where("c.text = :text", { text: word() }).getMany();
    if (dice() < 0.3) await posts.delete(post.id);
  });
})();
