// Sequelize over mysql2.
const { Sequelize, DataTypes, Op } = require("sequelize");
const { connection, dice, prose, word, steady } = require("./shop.js");

(async () => {
  const db = new Sequelize(connection.database, connection.user, connection.password, {
    host: connection.host, port: connection.port, dialect: "mysql", logging: false, pool: { max: 2 },
  });
  const Post = db.define("Post", { title: DataTypes.STRING, body: DataTypes.TEXT, views: { type: DataTypes.INTEGER, defaultValue: 0 }, meta: DataTypes.JSON });
  const Comment = db.define("Comment", { text: DataTypes.TEXT });
  Post.hasMany(Comment, { onDelete: "CASCADE" });
  Comment.belongsTo(Post);
  await db.sync();
  await steady(async (number) => {
    await Post.findAll({ include: Comment, order: [["id", "DESC"]], limit: 10 });
    await Post.count({ where: { [Op.or]: [{ title: { [Op.like]: `%${word()}%` } }, { body: { [Op.startsWith]: "It" } }] } });
    const post = await db.transaction(async (transaction) => {
      const post = await Post.create({ title: word(), body: prose(), meta: { n: number } }, { transaction });
      await Comment.bulkCreate([1, 2, 3].map(() => ({ text: prose(), PostId: post.id })), { transaction });
      return post;
    });
    await db.transaction(async (transaction) => {
      const locked = await Post.findByPk(post.id, { transaction, lock: transaction.LOCK.UPDATE });
      await locked.increment("views", { transaction });
    });
    await Post.update({ body: prose() }, { where: { id: post.id } });
    await Comment.findOrCreate({ where: { text: word(), PostId: post.id } });
    if (dice() < 0.3) await post.destroy();
  });
})();
