// Pages of Sequelize.
"use strict";

const { DataTypes, Sequelize, col, fn } = require("sequelize");
const { count, fail, run, url } = require("./pages");

const plain = { timestamps: false, freezeTableName: true };

function open() {
  const db = new Sequelize(url, { logging: false, pool: { max: 1 }, dialectOptions: { options: process.env.PGOPTIONS } });
  const Author = db.define("authors", { name: DataTypes.STRING(60) }, plain);
  const Post = db.define("posts", { title: DataTypes.STRING(100), views: DataTypes.INTEGER }, plain);
  const Comment = db.define("comments", { body: DataTypes.TEXT }, plain);
  const Tag = db.define("tags", { name: DataTypes.STRING(30) }, plain);
  const uuid = { type: DataTypes.UUID, primaryKey: true };
  const Customer = db.define("customers", { id: uuid, name: DataTypes.STRING(60) }, plain);
  const Order = db.define("orders", { id: uuid }, plain);
  const Setting = db.define("settings", { name: { type: DataTypes.STRING, primaryKey: true }, value: DataTypes.TEXT }, plain);
  const Event = db.define("events", { kind: DataTypes.STRING(10) }, plain);
  Post.belongsTo(Author, { as: "author", foreignKey: "author_id" });
  Author.hasMany(Post, { as: "posts", foreignKey: "author_id" });
  Post.hasMany(Comment, { as: "comments", foreignKey: "post_id" });
  Post.belongsToMany(Tag, { as: "tags", through: "post_tags", foreignKey: "post_id", otherKey: "tag_id", timestamps: false });
  Tag.belongsToMany(Post, { as: "posts", through: "post_tags", foreignKey: "tag_id", otherKey: "post_id", timestamps: false });
  Order.belongsTo(Customer, { as: "customer", foreignKey: "customer_id" });
  return { db, Author, Post, Comment, Tag, Order, Setting, Event };
}

const pages = {
  async posts_lazy({ Post }) {
    for (const post of await Post.findAll({ order: ["id"] })) await post.getAuthor();
  },
  async posts_ahead({ Post }) {
    await Post.findAll({ include: "author" });
  },
  async comments_lazy({ Post }) {
    for (const post of await Post.findAll({ limit: 15 })) await post.getComments();
  },
  async comments_ahead({ Post }) {
    await Post.findAll({ include: [{ association: "comments", separate: true }] });
  },
  async counts_lazy({ Author }) {
    for (const author of await Author.findAll()) await author.countPosts();
  },
  async counts_grouped({ Post }) {
    await Post.findAll({ attributes: ["author_id", [fn("COUNT", col("id")), "total"]], group: ["author_id"], raw: true });
  },
  async nested_lazy({ Author }) {
    for (const author of await Author.findAll({ order: ["name"], limit: 6 }))
      for (const post of await author.getPosts()) await post.getComments();
  },
  async tags_lazy({ Post }) {
    for (const post of await Post.findAll()) await post.getTags();
  },
  async tags_ahead({ Post }) {
    await Post.findAll({ include: "tags" });
  },
  async orders_lazy({ Order }) {
    for (const order of await Order.findAll()) await order.getCustomer();
  },
  async names_from_api({ Author }) {
    for (const number of count(12)) await Author.findOne({ where: { name: `author ${number}` } });
  },
  async few_lookups({ Author }) {
    for (const number of [3, 8, 5]) await Author.findByPk(number);
  },
  async setting_again({ Setting }) {
    for (const _ of count(4)) await Setting.findByPk("setting 2");
  },
  async paginate({ Post }) {
    await Post.findAndCountAll({ where: { views: 0 }, order: ["id"], limit: 10 });
  },
  async get_after_create({ Post }) {
    const post = await Post.create({ author_id: 2, title: "new", views: 0 });
    await post.reload();
  },
  async bulk_singly({ db, Comment }) {
    await db.transaction(async (transaction) => {
      for (const number of count(15)) await Comment.create({ post_id: number, body: "new" }, { transaction });
    });
  },
  async bulk_at_once({ Comment }) {
    await Comment.bulkCreate(count(15).map((number) => ({ post_id: number, body: "new" })));
  },
  async update_singly({ Post }) {
    for (const post of await Post.findAll({ order: ["id"], limit: 12 })) await post.update({ views: post.views + 1 });
  },
  async update_at_once({ Post }) {
    await Post.increment("views", { where: { views: 1 } });
  },
  async delete_singly({ Comment }) {
    for (const comment of await Comment.findAll({ order: [["id", "DESC"]], limit: 12 })) await comment.destroy();
  },
  async export_all({ Event }) {
    await Event.findAll();
  },
  async offset_pages({ Event }) {
    for (const page of count(11)) await Event.findAll({ order: ["id"], limit: 100, offset: page * 100 });
  },
  async upsert_few({ Tag }) {
    for (const name of ["tag 1", "tag 2", "tag 3"]) await Tag.findOrCreate({ where: { name } });
  },
};

run("sequelize", pages, open, ({ db }) => db.close()).catch(fail);
