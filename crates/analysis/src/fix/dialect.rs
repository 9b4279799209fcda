//! Which ORM wrote a statement.

/// Object-relational mappers whose remedy has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "products' own names")]
pub(crate) enum Orm {
    ActiveRecord,
    Django,
    Drizzle,
    Ecto,
    EfCore,
    Gorm,
    Hibernate,
    Knex,
    Laravel,
    Prisma,
    Sequelize,
    SqlAlchemy,
    TypeOrm,
}

/// Words in a `framework` or driver tag.
const TAGS: [(&str, Orm); 19] = [
    ("activerecord", Orm::ActiveRecord),
    ("active_record", Orm::ActiveRecord),
    ("rails", Orm::ActiveRecord),
    ("django", Orm::Django),
    ("drizzle", Orm::Drizzle),
    ("ecto", Orm::Ecto),
    ("entityframework", Orm::EfCore),
    ("efcore", Orm::EfCore),
    ("gorm", Orm::Gorm),
    ("hibernate", Orm::Hibernate),
    ("spring", Orm::Hibernate),
    ("knex", Orm::Knex),
    ("laravel", Orm::Laravel),
    ("objection", Orm::Knex),
    ("prisma", Orm::Prisma),
    ("sequelize", Orm::Sequelize),
    ("sqlalchemy", Orm::SqlAlchemy),
    ("typeorm", Orm::TypeOrm),
    ("flask", Orm::SqlAlchemy),
];

impl Orm {
    /// By tag, else by the way the text is written.
    pub(crate) fn recognise(framework: &str, text: &str) -> Option<Self> {
        let tag = framework.to_ascii_lowercase();
        let tagged = TAGS.iter().find(|(word, _)| tag.contains(word)).map(|(_, orm)| *orm);
        tagged.or_else(|| Self::by_dialect(text))
    }

    fn by_dialect(text: &str) -> Option<Self> {
        // A normalizer may drop quotes that make no difference.
        let bare: String = text.chars().filter(|c| *c != '"').collect();
        let select = Select::of(&bare)?;
        let by_alias = || select.items.iter().find_map(|item| aliased_column(item));
        if select.items.iter().all(|it| it.starts_with("public.") && it.matches('.').count() == 2) {
            return Some(Self::Prisma);
        }
        if select.items.iter().any(|item| is_hibernate_alias(item.split('.').next().unwrap_or(""))) {
            return Some(Self::Hibernate);
        }
        if let Some(orm) = by_alias() {
            return Some(orm);
        }
        by_table(&select)
    }
}

/// The parts of a SELECT that give its writer away.
struct Select<'a> {
    items: Vec<&'a str>,
    table: &'a str,
    alias: Option<&'a str>,
    rest: &'a str,
}

impl<'a> Select<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let body = strip_word(text, "select")?;
        let from = find_word(body, "from")?;
        let items = body.get(..from)?.split(',').map(str::trim).collect();
        let rest = body.get(from + 4..)?.trim_start();
        let mut words = rest.split_whitespace();
        let table = words.next()?;
        let alias = match words.next() {
            Some(word) if word.eq_ignore_ascii_case("as") => words.next(),
            Some(word) if !is_clause(word) => Some(word),
            _ => None,
        };
        Some(Self { items, table, alias, rest })
    }
}

fn by_table(select: &Select<'_>) -> Option<Orm> {
    let all_qualified = || {
        select.items.iter().all(|it| it.strip_prefix(select.table).is_some_and(|tail| tail.starts_with('.')))
    };
    match select.alias {
        Some(alias) if is_ecto_alias(alias) => Some(Orm::Ecto),
        Some(alias) if alias.len() == 1 && select.items.iter().any(|it| has_capital_column(it)) => {
            Some(Orm::EfCore)
        }
        Some(alias) if alias.starts_with(char::is_uppercase) => Some(Orm::Sequelize),
        Some(_) => None,
        None if select.items == [format!("{}.*", select.table)] => Some(Orm::ActiveRecord),
        None if select.items == ["*"] && select.rest.contains(&format!("{}.", select.table)) => {
            let is_gorm = find_word(select.rest, "order").is_some() || select.rest.contains("deleted_at");
            let has_limit = find_word(select.rest, "limit").is_some();
            (is_gorm || has_limit).then_some(if is_gorm { Orm::Gorm } else { Orm::Laravel })
        }
        None if select.table.contains('_') && all_qualified() => Some(Orm::Django),
        // Columns bare where they are selected, and with their table where they are compared.
        None if select.items.iter().all(|it| is_name(it)) && has_qualified(select.rest, select.table) => {
            Some(Orm::Drizzle)
        }
        None => None,
    }
}

/// `users.id AS users_id` is SQLAlchemy's, `User.id AS User_id` TypeORM's.
fn aliased_column(item: &str) -> Option<Orm> {
    let mut words = item.split_whitespace();
    let (column, _, label) = (words.next()?, words.next()?, words.next()?);
    let (table, name) = column.split_once('.')?;
    let is_derived = label.strip_prefix(table).and_then(|tail| tail.strip_prefix('_')) == Some(name);
    let is_capital = table.starts_with(char::is_uppercase);
    is_derived.then_some(if is_capital { Orm::TypeOrm } else { Orm::SqlAlchemy })
}

/// `p1_0` (6) or `post0_` (5).
fn is_hibernate_alias(alias: &str) -> bool {
    let head = alias.strip_suffix('0').filter(|head| head.ends_with('_')).unwrap_or(alias);
    let Some(stem) = head.strip_suffix('_') else { return false };
    let letters = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    !letters.is_empty() && letters.len() < stem.len() && letters.chars().all(|c| c.is_ascii_alphabetic())
}

fn is_name(item: &str) -> bool {
    !item.is_empty() && item.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a column of `table` is compared with its name in front.
fn has_qualified(rest: &str, table: &str) -> bool {
    let clause = find_word(rest, "where").and_then(|at| rest.get(at..)).unwrap_or_default();
    find_word(rest, "join").is_none() && clause.contains(&format!(" {table}."))
}

/// `p0`.
fn is_ecto_alias(alias: &str) -> bool {
    let mut chars = alias.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase()) && chars.as_str() == "0"
}

fn has_capital_column(item: &str) -> bool {
    item.split_once('.').is_some_and(|(_, column)| column.starts_with(char::is_uppercase))
}

fn is_clause(word: &str) -> bool {
    ["where", "join", "left", "inner", "order", "limit", "group", "cross", "for"]
        .iter()
        .any(|clause| word.eq_ignore_ascii_case(clause))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| text.get(word.len()..).unwrap_or("").trim_start())
}

/// Byte position of a whole word in any case.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let mut start = 0;
    for part in text.split(' ') {
        if part.eq_ignore_ascii_case(word) {
            return Some(start);
        }
        start += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Orm>) {
        assert_eq!(Orm::recognise("", text), expected, "{text}");
        let unquoted = text.replace('"', "");
        assert_eq!(Orm::recognise("", &unquoted), expected, "{unquoted}");
    }

    #[test]
    fn dialects() {
        check(
            "SELECT \"posts\".* FROM \"posts\" WHERE \"posts\".\"id\" = $1 LIMIT $2",
            Some(Orm::ActiveRecord),
        );
        check(
            "SELECT \"shop_post\".\"id\", \"shop_post\".\"title\" FROM \"shop_post\" WHERE \"shop_post\".\"id\" = $1 LIMIT $2",
            Some(Orm::Django),
        );
        check(
            "SELECT posts.id AS posts_id, posts.title AS posts_title FROM posts WHERE posts.id = $1",
            Some(Orm::SqlAlchemy),
        );
        check("SELECT p1_0.id, p1_0.title FROM post p1_0 WHERE p1_0.id = $1", Some(Orm::Hibernate));
        check("SELECT post0_.id AS id1_0_0_ FROM post post0_ WHERE post0_.id = $1", Some(Orm::Hibernate));
        check(
            "SELECT \"public\".\"Post\".\"id\", \"public\".\"Post\".\"title\" FROM \"public\".\"Post\" WHERE \"public\".\"Post\".\"id\" = $1",
            Some(Orm::Prisma),
        );
        check(
            "SELECT \"id\", \"title\" FROM \"Posts\" AS \"Post\" WHERE \"Post\".\"id\" = $1",
            Some(Orm::Sequelize),
        );
        check(
            "SELECT \"Post\".\"id\" AS \"Post_id\" FROM \"post\" \"Post\" WHERE \"Post\".\"id\" = $1",
            Some(Orm::TypeOrm),
        );
        check("SELECT p0.\"id\", p0.\"title\" FROM \"posts\" AS p0 WHERE (p0.\"id\" = $1)", Some(Orm::Ecto));
        check(
            "SELECT p.\"Id\", p.\"Title\" FROM \"Posts\" AS p WHERE p.\"AuthorId\" = $1",
            Some(Orm::EfCore),
        );
        check(
            "SELECT \"id\", \"post_id\", \"body\" FROM \"comments\" WHERE \"comments\".\"post_id\" = $1",
            Some(Orm::Drizzle),
        );
        check("select * from \"users\" where \"users\".\"id\" = $1 limit $2", Some(Orm::Laravel));
        check(
            "SELECT * FROM \"users\" WHERE \"users\".\"id\" = $1 ORDER BY \"users\".\"id\" LIMIT $2",
            Some(Orm::Gorm),
        );
    }

    #[test]
    fn sql_by_hand_is_nobodys() {
        check("SELECT id, name FROM authors WHERE id = $1", None);
        check("SELECT p.id, p.title FROM posts p WHERE p.id = $1", None);
        check("SELECT * FROM users WHERE id = $1", None);
        check("SELECT count(*) FROM comments WHERE post_id = $1", None);
        check("", None);
    }

    #[test]
    fn tags_come_first() {
        assert_eq!(Orm::recognise("Django:4.2", "SELECT p.id FROM posts p"), Some(Orm::Django));
        assert_eq!(Orm::recognise("knex:3.3.0", "SELECT * FROM posts WHERE id = $1"), Some(Orm::Knex));
        assert_eq!(Orm::recognise("go-pg", "SELECT p.id FROM posts p"), None);
    }
}
