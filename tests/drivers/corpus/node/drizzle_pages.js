// Pages of Drizzle over node-postgres.
"use strict";

const { count: rows, asc, desc, eq, gt, inArray, relations, sql } = require("drizzle-orm");
const { drizzle } = require("drizzle-orm/node-postgres");
const { integer, pgTable, serial, text, uuid } = require("drizzle-orm/pg-core");
const { Pool } = require("pg");
const { count, fail, run, url } = require("./pages");

const authors = pgTable("authors", { id: serial("id").primaryKey(), name: text("name") });
const posts = pgTable("posts", {
  id: serial("id").primaryKey(), authorId: integer("author_id"), title: text("title"), views: integer("views"),
});
const comments = pgTable("comments", { id: serial("id").primaryKey(), postId: integer("post_id"), body: text("body") });
const customers = pgTable("customers", { id: uuid("id").primaryKey(), name: text("name") });
const orders = pgTable("orders", { id: uuid("id").primaryKey(), customerId: uuid("customer_id") });
const settings = pgTable("settings", { name: text("name").primaryKey(), value: text("value") });
const events = pgTable("events", { id: serial("id").primaryKey(), kind: text("kind") });
const postsRelations = relations(posts, ({ one, many }) => ({
  author: one(authors, { fields: [posts.authorId], references: [authors.id] }),
  comments: many(comments),
}));
const commentsRelations = relations(comments, ({ one }) => ({
  post: one(posts, { fields: [comments.postId], references: [posts.id] }),
}));

function open() {
  const pool = new Pool({ connectionString: url, options: process.env.PGOPTIONS, max: 1 });
  const schema = { authors, posts, comments, postsRelations, commentsRelations };
  return Object.assign(drizzle(pool, { schema }), { end: () => pool.end() });
}

const pages = {
  async posts_lazy(db) {
    for (const post of await db.select().from(posts).orderBy(asc(posts.id)))
      await db.select().from(authors).where(eq(authors.id, post.authorId));
  },
  async posts_ahead(db) {
    await db.select().from(posts).leftJoin(authors, eq(posts.authorId, authors.id));
  },
  async comments_lazy(db) {
    for (const post of await db.query.posts.findMany({ limit: 15 }))
      await db.query.comments.findMany({ where: eq(comments.postId, post.id) });
  },
  async comments_ahead(db) {
    await db.query.posts.findMany({ with: { author: true, comments: true } });
  },
  async counts_lazy(db) {
    for (const author of await db.select({ id: authors.id }).from(authors)) await db.$count(posts, eq(posts.authorId, author.id));
  },
  async counts_grouped(db) {
    await db.select({ author: posts.authorId, total: rows() }).from(posts).groupBy(posts.authorId);
  },
  async nested_lazy(db) {
    for (const author of await db.select().from(authors).orderBy(asc(authors.name)).limit(6))
      for (const post of await db.select().from(posts).where(eq(posts.authorId, author.id)))
        await db.select().from(comments).where(eq(comments.postId, post.id));
  },
  async orders_lazy(db) {
    for (const order of await db.select().from(orders)) await db.select().from(customers).where(eq(customers.id, order.customerId));
  },
  async last_lazy(db) {
    for (const author of await db.select().from(authors))
      await db.select().from(posts).where(eq(posts.authorId, author.id)).orderBy(desc(posts.id)).limit(1);
  },
  async names_from_api(db) {
    for (const number of count(12)) await db.query.authors.findFirst({ where: eq(authors.name, `author ${number}`) });
  },
  async few_lookups(db) {
    for (const number of [3, 8, 5]) await db.select().from(authors).where(eq(authors.id, number));
  },
  async setting_again(db) {
    for (const _ of count(4)) await db.select().from(settings).where(eq(settings.name, "setting 2"));
  },
  async paginate(db) {
    await db.$count(posts, eq(posts.views, 0));
    await db.select().from(posts).where(eq(posts.views, 0)).orderBy(asc(posts.id)).limit(10).offset(0);
  },
  async get_after_create(db) {
    const [post] = await db.insert(posts).values({ authorId: 2, title: "new", views: 0 }).returning({ id: posts.id });
    await db.select().from(posts).where(eq(posts.id, post.id));
  },
  async bulk_singly(db) {
    await db.transaction(async (tx) => {
      for (const number of count(15)) await tx.insert(comments).values({ postId: number, body: "new" });
    });
  },
  async bulk_at_once(db) {
    await db.insert(comments).values(count(15).map((number) => ({ postId: number, body: "new" })));
  },
  async update_singly(db) {
    for (const post of await db.select().from(posts).orderBy(asc(posts.id)).limit(12))
      await db.update(posts).set({ views: post.views + 1 }).where(eq(posts.id, post.id));
  },
  async update_at_once(db) {
    await db.update(posts).set({ views: sql`${posts.views} + 1` }).where(gt(posts.id, 0));
  },
  async export_all(db) {
    await db.select().from(events);
  },
  async export_pages(db) {
    let last = 0;
    for (const _ of count(12)) {
      const page = await db.select().from(events).where(gt(events.id, last)).orderBy(asc(events.id)).limit(200);
      last = page.at(-1).id;
    }
  },
  async chunks(db) {
    const ids = (await db.select({ id: events.id }).from(events).orderBy(asc(events.id)).limit(600)).map((row) => row.id);
    for (const part of count(12)) await db.select().from(events).where(inArray(events.id, ids.slice(50 * part - 50, 50 * part)));
  },
};

run("drizzle", pages, open, (db) => db.end()).catch(fail);
