// Pages of Knex, and of Objection on it.
"use strict";

const knex = require("knex");
const { Model } = require("objection");
const { count, fail, run, url } = require("./pages");

class Author extends Model {
  static tableName = "authors";
}

class Comment extends Model {
  static tableName = "comments";
}

class Post extends Model {
  static tableName = "posts";

  static relationMappings = {
    author: {
      relation: Model.BelongsToOneRelation, modelClass: Author, join: { from: "posts.author_id", to: "authors.id" },
    },
    comments: {
      relation: Model.HasManyRelation, modelClass: Comment, join: { from: "posts.id", to: "comments.post_id" },
    },
  };
}

const open = () =>
  knex({ client: "pg", connection: { connectionString: url, options: process.env.PGOPTIONS }, pool: { min: 0, max: 1 } });

const builder = {
  async posts_lazy(db) {
    for (const post of await db("posts").orderBy("id")) await db("authors").where({ id: post.author_id }).first();
  },
  async posts_ahead(db) {
    await db("posts").join("authors", "authors.id", "posts.author_id").select("posts.*", "authors.name");
  },
  async comments_lazy(db) {
    for (const post of await db("posts").limit(15)) await db("comments").where("post_id", post.id);
  },
  async comments_ahead(db) {
    const posts = await db("posts").select("id");
    await db("comments").whereIn("post_id", posts.map((post) => post.id));
  },
  async counts_lazy(db) {
    for (const author of await db("authors").select("id")) await db("posts").where({ author_id: author.id }).count();
  },
  async orders_lazy(db) {
    for (const order of await db("orders")) await db("customers").where({ id: order.customer_id }).first();
  },
  async last_lazy(db) {
    for (const author of await db("authors"))
      await db("posts").where({ author_id: author.id }).orderBy("published_at", "desc").first();
  },
  async names_from_api(db) {
    for (const number of count(12)) await db("authors").where({ name: `author ${number}` }).first();
  },
  async few_lookups(db) {
    for (const number of [3, 8, 5]) await db("authors").where("id", number).first();
  },
  async setting_again(db) {
    for (const _ of count(4)) await db("settings").where({ name: "setting 2" }).first("value");
  },
  async paginate(db) {
    const query = db("posts").where("views", 0);
    await query.clone().count();
    await query.clone().orderBy("id").limit(10).offset(0);
  },
  async get_after_create(db) {
    const [{ id }] = await db("posts").insert({ author_id: 2, title: "new" }).returning("id");
    await db("posts").where({ id }).first();
  },
  async bulk_singly(db) {
    await db.transaction(async (trx) => {
      for (const number of count(15)) await trx("comments").insert({ post_id: number, body: "new" });
    });
  },
  async bulk_at_once(db) {
    await db.batchInsert("comments", count(15).map((number) => ({ post_id: number, body: "new" })), 5);
  },
  async update_singly(db) {
    for (const post of await db("posts").orderBy("id").limit(12)) await db("posts").where({ id: post.id }).increment("views", 1);
  },
  async delete_singly(db) {
    for (const comment of await db("comments").orderBy("id", "desc").limit(12)) await db("comments").where("id", comment.id).del();
  },
  async export_all(db) {
    await db("events");
  },
  async offset_pages(db) {
    for (const page of count(11)) await db("events").orderBy("id").limit(100).offset(page * 100);
  },
  async queue(db) {
    for (const _ of count(12))
      await db.transaction(async (trx) => {
        const job = await trx("jobs").where({ state: "waiting" }).orderBy("id").forUpdate().skipLocked().first();
        await trx("jobs").where({ id: job.id }).update({ state: "done" });
      });
  },
};

const models = {
  async posts_lazy(db) {
    for (const post of await Post.query(db).orderBy("id")) await post.$relatedQuery("author", db);
  },
  async posts_ahead(db) {
    await Post.query(db).withGraphFetched("[author, comments]");
  },
  async comments_lazy(db) {
    for (const post of await Post.query(db).limit(15)) await post.$fetchGraph("comments", { transaction: db });
  },
  async few_lookups(db) {
    for (const number of [3, 8, 5]) await Author.query(db).findById(number);
  },
  async paginate(db) {
    await Post.query(db).where("views", 0).orderBy("id").page(0, 10);
  },
  async get_after_create(db) {
    await Post.query(db).insertAndFetch({ author_id: 2, title: "new" });
  },
  async bulk_singly(db) {
    for (const number of count(15)) await Comment.query(db).insert({ post_id: number, body: "new" });
  },
  async bulk_at_once(db) {
    await Comment.query(db).insert(count(15).map((number) => ({ post_id: number, body: "new" })));
  },
};

async function main() {
  const close = (db) => db.destroy();
  await run("knex", builder, open, close);
  await run("objection", models, open, close);
}

main().catch(fail);
