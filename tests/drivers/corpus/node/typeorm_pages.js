// Pages of TypeORM.
"use strict";

require("reflect-metadata");
const { DataSource, EntitySchema, MoreThan } = require("typeorm");
const { count, fail, run, url } = require("./pages");

const id = { type: Number, primary: true, generated: true };
const join = (name) => ({ joinColumn: { name } });
const Author = new EntitySchema({
  name: "Author", tableName: "authors", columns: { id, name: { type: String } },
  relations: { posts: { type: "one-to-many", target: "Post", inverseSide: "author" } },
});
const Post = new EntitySchema({
  name: "Post", tableName: "posts",
  columns: { id, authorId: { type: Number, name: "author_id" }, title: { type: String }, views: { type: Number, default: 0 } },
  relations: {
    author: { type: "many-to-one", target: "Author", inverseSide: "posts", ...join("author_id") },
    comments: { type: "one-to-many", target: "Comment", inverseSide: "post", lazy: true },
    tags: {
      type: "many-to-many", target: "Tag", lazy: true,
      joinTable: { name: "post_tags", joinColumn: { name: "post_id" }, inverseJoinColumn: { name: "tag_id" } },
    },
  },
});
const Comment = new EntitySchema({
  name: "Comment", tableName: "comments",
  columns: { id, postId: { type: Number, name: "post_id" }, body: { type: String } },
  relations: { post: { type: "many-to-one", target: "Post", inverseSide: "comments", ...join("post_id") } },
});
const Tag = new EntitySchema({ name: "Tag", tableName: "tags", columns: { id, name: { type: String } } });
const uuid = { type: "uuid", primary: true };
const Customer = new EntitySchema({ name: "Customer", tableName: "customers", columns: { id: uuid, name: { type: String } } });
const Order = new EntitySchema({
  name: "Order", tableName: "orders", columns: { id: uuid },
  relations: { customer: { type: "many-to-one", target: "Customer", lazy: true, ...join("customer_id") } },
});
const Setting = new EntitySchema({
  name: "Setting", tableName: "settings", columns: { name: { type: String, primary: true }, value: { type: String } },
});
const Event = new EntitySchema({ name: "Event", tableName: "events", columns: { id, kind: { type: String } } });

const open = () =>
  new DataSource({
    type: "postgres", url, entities: [Author, Post, Comment, Tag, Customer, Order, Setting, Event],
    installExtensions: false, poolSize: 1, extra: { options: process.env.PGOPTIONS },
  }).initialize();

const pages = {
  async posts_lazy(db) {
    for (const post of await db.getRepository(Post).find({ order: { id: "ASC" } }))
      await db.getRepository(Author).findOneBy({ id: post.authorId });
  },
  async posts_ahead(db) {
    await db.getRepository(Post).find({ relations: { author: true } });
  },
  async comments_lazy(db) {
    for (const post of await db.getRepository(Post).find({ take: 15 })) await post.comments;
  },
  async comments_ahead(db) {
    await db.getRepository(Post).find({ relations: { comments: true }, relationLoadStrategy: "query" });
  },
  async counts_lazy(db) {
    for (const author of await db.getRepository(Author).find()) await db.getRepository(Post).countBy({ authorId: author.id });
  },
  async tags_lazy(db) {
    for (const post of await db.getRepository(Post).find()) await post.tags;
  },
  async orders_lazy(db) {
    for (const order of await db.getRepository(Order).find()) await order.customer;
  },
  async names_from_api(db) {
    for (const number of count(12)) await db.getRepository(Author).findOneBy({ name: `author ${number}` });
  },
  async few_lookups(db) {
    for (const number of [3, 8, 5]) await db.getRepository(Author).findOneBy({ id: number });
  },
  async setting_again(db) {
    for (const _ of count(4)) await db.getRepository(Setting).findOneBy({ name: "setting 2" });
  },
  async paginate(db) {
    await db.getRepository(Post).findAndCount({ where: { views: 0 }, order: { id: "ASC" }, take: 10 });
  },
  async get_after_create(db) {
    const post = await db.getRepository(Post).save({ authorId: 2, title: "new" });
    await db.getRepository(Post).findOneBy({ id: post.id });
  },
  async bulk_singly(db) {
    for (const number of count(15)) await db.getRepository(Comment).insert({ postId: number, body: "new" });
  },
  async bulk_at_once(db) {
    await db.getRepository(Comment).save(count(15).map((number) => ({ postId: number, body: "new" })));
  },
  async update_singly(db) {
    for (const post of await db.getRepository(Post).find({ order: { id: "ASC" }, take: 12 })) {
      post.views += 1;
      await db.getRepository(Post).save(post);
    }
  },
  async update_at_once(db) {
    await db.getRepository(Post).increment({ views: 1 }, "views", 1);
  },
  async delete_singly(db) {
    for (const comment of await db.getRepository(Comment).find({ order: { id: "DESC" }, take: 12 }))
      await db.getRepository(Comment).remove(comment);
  },
  async export_all(db) {
    await db.getRepository(Event).find();
  },
  async export_pages(db) {
    let last = 0;
    for (const _ of count(12)) {
      const page = await db.getRepository(Event).find({ where: { id: MoreThan(last) }, order: { id: "ASC" }, take: 200 });
      last = page.at(-1).id;
    }
  },
};

run("typeorm", pages, open, (db) => db.destroy()).catch(fail);
