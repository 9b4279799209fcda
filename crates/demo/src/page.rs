//! The pages, and what is wrong with each of them.

use std::fmt;

/// What was planted, under the names that pgtally gives to findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// One statement with the same parameters, again and again.
    Duplicate,
    /// One read per row of an earlier read.
    NPlusOne,
    /// One write per row.
    NPlusOneWrite,
    /// One statement that takes more than 100 ms.
    SlowStatement,
}

impl Fault {
    /// Name of the kind of finding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::NPlusOne => "n_plus_one",
            Self::NPlusOneWrite => "n_plus_one_write",
            Self::SlowStatement => "slow_statement",
        }
    }
}

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    /// What it is.
    pub fault: Fault,
    /// Table that the repeated or slow statement reads or writes.
    pub table: &'static str,
    /// For an N+1 the `table.column` of the parent read whose values are the keys.
    pub parent_column: Option<&'static str>,
}

/// HTTP method of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Writes.
    Post,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
        })
    }
}

/// One page of the application.
#[derive(Debug)]
pub struct Page {
    /// How it is requested.
    pub method: Method,
    /// Where; a repaired twin has the path of its page and `/fixed`.
    pub path: &'static str,
    /// It answers as its twin, without the faults; or nothing was ever wrong with it.
    pub is_repaired: bool,
    /// What must be found, and nothing else.
    pub planted: &'static [Planted],
    pub(crate) content: Content,
}

/// Which function of `content` makes the page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Breakdown,
    BreakdownFixed,
    Catalogue,
    Create,
    CreateFixed,
    Export,
    ExportFixed,
    Import,
    ImportFixed,
    Profile,
    ProfileFixed,
    Reprice,
    SlowReport,
    SlowReportFixed,
    WorkItems,
    WorkItemsFixed,
}

impl Page {
    /// All pages, each followed by its repaired twin; at the end those of the catalogue, which a cache may answer.
    pub const ALL: &'static [Self] = &[
        Self::faulty(
            Method::Get,
            "/work-items",
            Content::WorkItems,
            &[
                Planted::n_plus_one("users", "work_items.assignee_id"),
                Planted::n_plus_one("teams", "work_items.team_id"),
                Planted::other(Fault::Duplicate, "work_items"),
            ],
        ),
        Self::repaired(Method::Get, "/work-items/fixed", Content::WorkItemsFixed),
        Self::faulty(
            Method::Get,
            "/teams/breakdown",
            Content::Breakdown,
            &[
                Planted::n_plus_one("work_items", "users.id"),
                Planted::n_plus_one("work_items", "users.id"),
                Planted::n_plus_one("comments", "users.id"),
                Planted::n_plus_one("work_items", "users.id"),
            ],
        ),
        Self::repaired(Method::Get, "/teams/breakdown/fixed", Content::BreakdownFixed),
        Self::faulty(
            Method::Get,
            "/export",
            Content::Export,
            &[Planted::n_plus_one("authors", "posts.author_id")],
        ),
        Self::repaired(Method::Get, "/export/fixed", Content::ExportFixed),
        Self::faulty(
            Method::Post,
            "/work-items",
            Content::Create,
            &[Planted::other(Fault::Duplicate, "work_items")],
        ),
        Self::repaired(Method::Post, "/work-items/fixed", Content::CreateFixed),
        Self::faulty(
            Method::Get,
            "/reports/slow",
            Content::SlowReport,
            &[Planted::other(Fault::SlowStatement, "events")],
        ),
        Self::repaired(Method::Get, "/reports/slow/fixed", Content::SlowReportFixed),
        Self::faulty(
            Method::Get,
            "/profile",
            Content::Profile,
            &[Planted::other(Fault::Duplicate, "settings")],
        ),
        Self::repaired(Method::Get, "/profile/fixed", Content::ProfileFixed),
        Self::faulty(
            Method::Post,
            "/contacts/import",
            Content::Import,
            &[Planted::other(Fault::NPlusOneWrite, "contacts")],
        ),
        Self::repaired(Method::Post, "/contacts/import/fixed", Content::ImportFixed),
        Self::repaired(Method::Get, "/catalogue", Content::Catalogue),
        Self::repaired(Method::Post, "/catalogue/reprice", Content::Reprice),
    ];

    /// The route that the page's statements are tagged with: method and path.
    #[must_use]
    pub fn route(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    const fn faulty(
        method: Method,
        path: &'static str,
        content: Content,
        planted: &'static [Planted],
    ) -> Self {
        Self { method, path, is_repaired: false, planted, content }
    }

    const fn repaired(method: Method, path: &'static str, content: Content) -> Self {
        Self { method, path, is_repaired: true, planted: &[], content }
    }
}

impl Planted {
    const fn n_plus_one(table: &'static str, parent_column: &'static str) -> Self {
        Self { fault: Fault::NPlusOne, table, parent_column: Some(parent_column) }
    }

    const fn other(fault: Fault, table: &'static str) -> Self {
        Self { fault, table, parent_column: None }
    }
}
