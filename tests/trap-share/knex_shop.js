// Knex over mysql2.
const { connection, dice, prose, word, steady } = require("./shop.js");
const db = require("knex")({ client: "mysql2", connection, pool: { min: 1, max: 2 } });

(async () => {
  await db.schema.createTable("post", (t) => { t.increments(); t.string("title"); t.text("body"); t.integer("views").defaultTo(0); t.timestamps(true, true); });
  await db.schema.createTable("comment", (t) => { t.increments(); t.text("text"); t.integer("post_id").unsigned().references("post.id").onDelete("CASCADE"); });
  await steady(async () => {
    await db("post").leftJoin("comment", "comment.post_id", "post.id").select("post.*").count("comment.id as n").groupBy("post.id").orderBy("post.id", "desc").limit(10);
    await db("post").where("title", "like", `%${word()}%`).count();
    const id = await db.transaction(async (trx) => {
      const [id] = await trx("post").insert({ title: word(), body: prose() });
      await trx("comment").insert([1, 2, 3].map(() => ({ text: prose(), post_id: id })));
      await trx.transaction(async (inner) => inner("comment").insert({ text: prose(), post_id: id }));
      return id;
    });
    await db.transaction(async (trx) => {
      await trx("post").where({ id }).forUpdate().first();
      await trx("post").where({ id }).increment("views", 1);
    });
    await db("post").where({ id }).update({ body: prose() });
    await db("comment").where({ post_id: id });
    if (dice() < 0.3) await db("post").where({ id }).del();
  });
})();
