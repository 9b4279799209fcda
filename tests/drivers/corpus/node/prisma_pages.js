// Pages of Prisma, with its own query compiler and node-postgres as its driver.
"use strict";

const { PrismaPg } = require("@prisma/adapter-pg");
const { PrismaClient } = require(process.env.PRISMA_CLIENT);
const { count, fail, run, url } = require("./pages");

const open = () =>
  new PrismaClient({ adapter: new PrismaPg({ connectionString: url, options: process.env.PGOPTIONS, max: 1 }) });

const pages = {
  async posts_lazy(db) {
    for (const post of await db.post.findMany({ orderBy: { id: "asc" } })) await db.author.findUnique({ where: { id: post.authorId } });
  },
  async posts_ahead(db) {
    await db.post.findMany({ include: { author: true } });
  },
  async comments_lazy(db) {
    for (const post of await db.post.findMany({ take: 15 })) await db.comment.findMany({ where: { postId: post.id } });
  },
  async comments_ahead(db) {
    await db.post.findMany({ include: { comments: true } });
  },
  async counts_lazy(db) {
    for (const author of await db.author.findMany()) await db.post.count({ where: { authorId: author.id } });
  },
  async counts_grouped(db) {
    await db.author.findMany({ include: { _count: { select: { posts: true } } } });
  },
  async nested_lazy(db) {
    for (const author of await db.author.findMany({ orderBy: { name: "asc" }, take: 6 }))
      for (const post of await db.author.findUnique({ where: { id: author.id } }).posts())
        await db.comment.findMany({ where: { postId: post.id } });
  },
  async orders_lazy(db) {
    for (const order of await db.order.findMany()) await db.customer.findUniqueOrThrow({ where: { id: order.customerId } });
  },
  async last_lazy(db) {
    for (const author of await db.author.findMany())
      await db.post.findFirst({ where: { authorId: author.id }, orderBy: { id: "desc" } });
  },
  async names_from_api(db) {
    for (const number of count(12)) await db.author.findUnique({ where: { name: `author ${number}` } });
  },
  async few_lookups(db) {
    for (const number of [3, 8, 5]) await db.author.findUnique({ where: { id: number } });
  },
  async setting_again(db) {
    for (const _ of count(4)) await db.setting.findUnique({ where: { name: "setting 2" } });
  },
  async paginate(db) {
    const where = { views: 0 };
    await db.$transaction([db.post.count({ where }), db.post.findMany({ where, orderBy: { id: "asc" }, take: 10 })]);
  },
  async get_after_create(db) {
    const post = await db.post.create({ data: { authorId: 2, title: "new" } });
    await db.post.findUnique({ where: { id: post.id } });
  },
  async bulk_singly(db) {
    for (const number of count(15)) await db.comment.create({ data: { postId: number, body: "new" } });
  },
  async bulk_at_once(db) {
    await db.comment.createMany({ data: count(15).map((number) => ({ postId: number, body: "new" })) });
  },
  async update_singly(db) {
    for (const post of await db.post.findMany({ orderBy: { id: "asc" }, take: 12 }))
      await db.post.update({ where: { id: post.id }, data: { views: { increment: 1 } } });
  },
  async update_at_once(db) {
    await db.post.updateMany({ where: { views: 1 }, data: { views: 2 } });
  },
  async delete_singly(db) {
    for (const comment of await db.comment.findMany({ orderBy: { id: "desc" }, take: 12 }))
      await db.comment.delete({ where: { id: comment.id } });
  },
  async export_all(db) {
    await db.event.findMany();
  },
  async export_pages(db) {
    let last = 0;
    for (const _ of count(12)) {
      const page = await db.event.findMany({ where: { id: { gt: last } }, orderBy: { id: "asc" }, take: 200 });
      last = page.at(-1).id;
    }
  },
  async offset_pages(db) {
    for (const page of count(11)) await db.event.findMany({ orderBy: { id: "asc" }, take: 100, skip: page * 100 });
  },
  async together(db) {
    const posts = await db.post.findMany();
    await Promise.all(posts.map((post) => db.author.findUnique({ where: { id: post.authorId } })));
  },
  async upsert_few(db) {
    for (const name of ["author 1", "author 2", "author 3"])
      await db.author.upsert({ where: { name }, update: {}, create: { name } });
  },
};

run("prisma", pages, open, (db) => db.$disconnect()).catch(fail);
