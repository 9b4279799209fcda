// Sequelize over node-postgres, with and without comments. The argument names the configuration.
"use strict";

const { DataTypes, Sequelize } = require("sequelize");
const { Announcer, DATABASE_URL, comment, traceId } = require("./announce");

const MODE = process.argv[2];
const IS_TAGGED = MODE === "trace";
const sequelize = new Sequelize(DATABASE_URL, {
  logging: false,
  pool: { max: 1, min: 1, idle: 60000 },
  dialectOptions: { application_name: `sequelize-${MODE}` },
});
const plain = { timestamps: false, freezeTableName: true };
const Author = sequelize.define("blog_author", { name: DataTypes.STRING(60) }, plain);
const Post = sequelize.define("blog_post", { title: DataTypes.STRING(100), body: DataTypes.TEXT }, plain);
Post.belongsTo(Author, { as: "author", foreignKey: "author_id" });
Author.hasMany(Post, { as: "posts", foreignKey: "author_id" });

let suffix = "";
// As sequelize's sqlcommenter library does it: at the one place through which every statement goes.
const Query = sequelize.dialect.Query;
const run = Query.prototype.run;
Query.prototype.run = function (sql, ...rest) {
  const text = sql.endsWith(";") ? sql.slice(0, -1) : sql;
  return run.call(this, suffix ? `${text} ${suffix}` : sql, ...rest);
};

// 1 + N: every post loads its author.
async function lazy() {
  for (const post of await Post.findAll({ order: ["id"], limit: 12 })) await post.getAuthor();
}

// The same page with a join.
async function joined() {
  await Post.findAll({ order: ["id"], limit: 12, include: "author" });
}

// Two statements for any number of authors.
async function separate() {
  await Author.findAll({ order: ["id"], limit: 7, include: [{ association: "posts", separate: true }] });
}

// A transaction.
async function create() {
  await sequelize.transaction(async (transaction) => {
    const post = await Post.create({ author_id: 2, title: "new" }, { transaction });
    await post.update({ title: "newer" }, { transaction });
  });
}

// A unique name that is taken; the transaction rolls back.
async function error() {
  const broken = sequelize.transaction((transaction) => Author.create({ name: "author 1" }, { transaction }));
  await broken.catch(() => {});
}

// Values bound instead of written into the text.
async function bound() {
  for (const author of await Author.findAll({ order: ["id"], limit: 7 })) {
    await sequelize.query("SELECT count(*) FROM blog_post WHERE author_id = $1", { bind: [author.id] });
  }
}

const COUNTED = new Map([[lazy, 13], [joined, 1], [separate, 2], [create, 2], [error, 1], [bound, 8]]);
const LINKED = { lazy: "blog_post.author_id", bound: "blog_author.id" };

function expectation(page, number) {
  const linked = LINKED[page.name];
  if (IS_TAGGED) return { linked, level: ["trace"], route: `/${page.name}`, key: `trace:${traceId(number)}` };
  return { linked, level: ["idle", "transaction"], route: `sequelize-${MODE}`, needs_gap: true };
}

async function main() {
  const announcer = await new Announcer().open();
  await announcer.request("warm-up", { only_total: true, needs_gap: true }, joined);
  for (const [page, counted] of COUNTED) {
    const number = announcer.number + 1;
    if (IS_TAGGED) suffix = comment(number, `/${page.name}`);
    await announcer.request(page.name, { counted, ...expectation(page, number) }, page);
  }
  await sequelize.close();
  await announcer.close();
}

main();
