//! How well two column names fit as a reference: does `posts.author_id` look like a key of `authors.id`?
//!
//! Values prove a link; names break ties between columns whose small integers happen to coincide. Nothing here is
//! proof by itself.

/// A column by name, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) table: Option<&'a str>,
    pub(crate) column: &'a str,
}

/// How well names fit, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Affinity {
    /// Both are ids, of different things: `items.id` for `teams.id`.
    Contradiction,
    /// The names say nothing: `created_by` for `users.id`.
    Neutral,
    /// An id and a reference to something: `posts.author_id` for `users.id`; or the same rows read again by id.
    Plausible,
    /// The reference names the table: `posts.author_id` for `authors.id`.
    Strong,
}

/// How well `parent` (a result column) fits as the source of keys for `child` (the column they are compared with).
pub(crate) fn affinity(child: Named<'_>, parent: Named<'_>) -> Affinity {
    match (Meaning::of(child.column), Meaning::of(parent.column)) {
        (Meaning::Id, Meaning::Reference(stem)) => match (child.table, parent.table) {
            (Some(child), Some(parent)) if child == parent && is_upwards(&stem) => Affinity::Strong,
            (child, _) => reference(child, &stem),
        },
        (Meaning::Reference(stem), Meaning::Id) => match (child.table, parent.table) {
            // A tree: `SELECT … FROM nodes WHERE parent_id = $1` after `SELECT id FROM nodes`.
            (Some(child), Some(parent)) if child == parent && is_upwards(&stem) => Affinity::Strong,
            (_, parent) => reference(parent, &stem),
        },
        (Meaning::Id, Meaning::Id) => match (child.table, parent.table) {
            (Some(child), Some(parent)) if child == parent => Affinity::Plausible,
            (Some(_), Some(_)) => Affinity::Contradiction,
            _ => Affinity::Neutral,
        },
        (Meaning::Reference(a), Meaning::Reference(b)) => both_references(&a, &b),
        (Meaning::Id, Meaning::Other(name)) if names_table(child.table, &name) => Affinity::Strong,
        (Meaning::Other(a), Meaning::Other(b)) if a == b => Affinity::Strong,
        (Meaning::Other(a), Meaning::Other(b)) if a.ends_with(&b) || b.ends_with(&a) => Affinity::Plausible,
        _ => Affinity::Neutral,
    }
}

/// Whether a reference of this name usually points to a row of its own table.
fn is_upwards(stem: &str) -> bool {
    ["ancestor", "boss", "manager", "parent", "replyto", "root", "supervisor"]
        .iter()
        .any(|it| stem.starts_with(it))
}

fn reference(table: Option<&str>, stem: &str) -> Affinity {
    if names_table(table, stem) { Affinity::Strong } else { Affinity::Plausible }
}

fn both_references(a: &str, b: &str) -> Affinity {
    if a == b {
        Affinity::Strong
    } else if a.ends_with(b) || b.ends_with(a) {
        Affinity::Plausible
    } else {
        Affinity::Contradiction
    }
}

/// Whether the column is its table's own key: `id`, or named after the table (`user_id` of `users`).
pub(crate) fn is_own_key(table: &str, column: &str) -> bool {
    match Meaning::of(column) {
        Meaning::Id => true,
        Meaning::Reference(stem) => is_plural(&fold(table), &stem),
        Meaning::Other(_) => false,
    }
}

/// What a column name means. Names are compared in lower case and without underscores, so that `authorId`,
/// `author_id` and `AuthorID` are one.
enum Meaning {
    Id,
    /// To the thing named here.
    Reference(String),
    Other(String),
}

impl Meaning {
    fn of(column: &str) -> Self {
        let folded = fold(column);
        if matches!(folded.as_str(), "id" | "uuid" | "guid" | "pk" | "oid" | "key") {
            return Self::Id;
        }
        let has_boundary = |suffix: &str| {
            let cut = column.len().saturating_sub(suffix.len());
            let (head, tail) = (column.get(..cut).unwrap_or(""), column.get(cut..).unwrap_or(""));
            // `paid` is no reference to `pa`: the suffix begins after an underscore or with a capital.
            tail.eq_ignore_ascii_case(suffix) && (head.ends_with('_') || tail.starts_with(char::is_uppercase))
        };
        for suffix in ["id", "uuid", "guid", "pk", "fk"] {
            if has_boundary(suffix) {
                return Self::Reference(folded.strip_suffix(suffix).unwrap_or(&folded).to_owned());
            }
        }
        Self::Other(folded)
    }
}

/// Whether `stem` (singular) is what the table is named after; Django's and others' `app_` prefixes are ignored.
fn names_table(table: Option<&str>, stem: &str) -> bool {
    let Some(table) = table.map(fold).filter(|_| !stem.is_empty()) else { return false };
    let ies = stem.strip_suffix('y').map(|root| format!("{root}ies"));
    table.ends_with(stem)
        || table.strip_suffix('s').is_some_and(|it| it.ends_with(stem))
        || table.strip_suffix("es").is_some_and(|it| it.ends_with(stem))
        || ies.is_some_and(|plural| table.ends_with(&plural))
}

/// Whether `table` is `stem` or its plural, with nothing before it: `order_items` is not named after items.
fn is_plural(table: &str, stem: &str) -> bool {
    let tail = table.strip_prefix(stem);
    let ies = stem.strip_suffix('y').and_then(|root| table.strip_prefix(root));
    matches!(tail, Some("" | "s" | "es")) || ies == Some("ies")
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Named<'_> {
        match text.split_once('.') {
            Some((table, column)) => Named { table: Some(table), column },
            None => Named { table: None, column: text },
        }
    }

    #[track_caller]
    fn check(child: &str, parent: &str, expected: Affinity) {
        assert_eq!(affinity(named(child), named(parent)), expected, "{child} <- {parent}");
    }

    #[test]
    fn references_fit_ids() {
        check("authors.id", "posts.author_id", Affinity::Strong);
        check("Author.id", "Post.authorId", Affinity::Strong);
        check("shop_category.id", "shop_product.category_id", Affinity::Strong);
        check("categories.id", "products.category_id", Affinity::Strong);
        check("authors.id", "posts.author", Affinity::Strong);
        check("users.id", "posts.author_id", Affinity::Plausible);
        check("users.id", "author_id", Affinity::Plausible);
        check("comments.post_id", "posts.id", Affinity::Strong);
        check("posts.author_id", "users.id", Affinity::Plausible);
        check("nodes.parent_id", "nodes.id", Affinity::Strong);
        check("nodes.id", "nodes.parent_id", Affinity::Strong);
        check("posts.author_id", "posts.id", Affinity::Plausible);
        check("users.id", "users.id", Affinity::Plausible);
        check("likes.post_id", "comments.post_id", Affinity::Strong);
        check("users.email", "invites.email", Affinity::Strong);
    }

    #[test]
    fn keys_of_a_table_are_told_from_its_references() {
        for (table, column, expected) in [
            ("users", "id", true),
            ("users", "user_id", true),
            ("categories", "category_id", true),
            ("order_items", "item_id", false),
            ("order_items", "order_id", false),
            ("posts", "slug", false),
        ] {
            assert_eq!(is_own_key(table, column), expected, "{table}.{column}");
        }
    }

    #[test]
    fn ids_of_different_things_do_not() {
        check("teams.id", "items.id", Affinity::Contradiction);
        check("members.team_id", "items.assignee_id", Affinity::Contradiction);
        check("users.id", "posts.created_by", Affinity::Neutral);
        check("users.id", "posts.paid", Affinity::Neutral);
        check("users.id", "id", Affinity::Neutral);
        check("users.id", "posts.position", Affinity::Neutral);
    }
}
