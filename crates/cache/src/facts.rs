//! What a statement reads and writes, as plain data between those who find out and those who keep answers.
//!
//! A [`StatementFacts`] is made per statement shape (and per meaning of its names) by the shell, from the parse tree and
//! the catalog. This crate never guesses: what is not known is said so, as [`ReadSet::anything`],
//! [`WriteSet::everything`] or a [`BypassReason`], and each of these only costs hits.

use std::fmt;

/// Tables of one statement or transaction; more of them count as every table.
pub const TABLES_MAX: usize = 256;
/// Tags of one statement or transaction; more of them count as a change of the catalog, which makes all answers old.
pub const TAGS_MAX: usize = 64;

/// OID of a relation (`pg_class.oid`), of the database that the statement runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// Tables that an answer depends on, closed over views, partitions and inheritance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    tables: Vec<TableId>,
    is_anything: bool,
    security: Option<Box<[Box<str>]>>,
}

impl ReadSet {
    /// Any table of the database: every write makes the answer old.
    #[must_use]
    pub const fn anything() -> Self {
        Self { tables: Vec::new(), is_anything: true, security: None }
    }

    /// These tables and no others.
    #[must_use]
    pub fn of(tables: impl IntoIterator<Item = TableId>) -> Self {
        let mut tables: Vec<TableId> = tables.into_iter().collect();
        tables.sort_unstable();
        tables.dedup();
        if tables.len() > TABLES_MAX {
            Self::anything()
        } else {
            Self { tables, is_anything: false, security: None }
        }
    }

    /// The same tables, of which row security shows what these settings (in small letters) and the user say.
    #[must_use]
    pub fn secured_by(self, settings: impl IntoIterator<Item = Box<str>>) -> Self {
        Self { security: Some(settings.into_iter().collect()), ..self }
    }

    /// Settings by which row security chooses the rows; `None` where there is none.
    #[must_use]
    pub fn security(&self) -> Option<&[Box<str>]> {
        self.security.as_deref()
    }

    /// Whether an answer may be kept under the values of the settings `vary`: row security needs some to be declared,
    /// and all that it asks for among them.
    #[must_use]
    pub fn is_covered_by(&self, vary: &[Box<str>]) -> bool {
        let is_covered = |asked: &[Box<str>]| !vary.is_empty() && asked.iter().all(|it| vary.contains(it));
        self.security().is_none_or(is_covered)
    }

    /// The tables in order, each once; meaningless where [`ReadSet::is_anything`].
    #[must_use]
    pub fn tables(&self) -> &[TableId] {
        &self.tables
    }

    /// Whether it may be any table.
    #[must_use]
    pub const fn is_anything(&self) -> bool {
        self.is_anything
    }
}

/// What a statement or transaction may change, closed over partitions, cascades, triggers and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    tables: Vec<TableId>,
    tags: Vec<Box<str>>,
    is_everything: bool,
    is_catalog: bool,
    may_define: bool,
}

impl WriteSet {
    /// Nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::reaching(false, false, false)
    }

    const fn reaching(is_everything: bool, is_catalog: bool, may_define: bool) -> Self {
        Self { tables: Vec::new(), tags: Vec::new(), is_everything, is_catalog, may_define }
    }

    /// Any table of the database.
    #[must_use]
    pub const fn everything() -> Self {
        Self::reaching(true, false, false)
    }

    /// What text does that nobody has read (dynamic SQL, functions in other languages): any table's rows, and perhaps
    /// definitions. Answers that depend on tables are old; definitions are read again.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::reaching(true, false, true)
    }

    /// Definitions, grants or roles: what any text means, in all databases of the server, and any table's rows.
    #[must_use]
    pub const fn catalog() -> Self {
        Self::reaching(true, true, true)
    }

    /// These tables.
    #[must_use]
    pub fn of(tables: impl IntoIterator<Item = TableId>) -> Self {
        let mut set = Self::nothing();
        set.tables.extend(tables);
        set.tidy();
        set
    }

    /// Adds a tag whose entries become old.
    pub fn add_tag(&mut self, tag: &str) {
        if !self.tags.iter().any(|known| **known == *tag) {
            self.tags.push(tag.into());
            self.tidy();
        }
    }

    /// The server has told which tables the transaction has locked for writing, and that it has defined nothing: what
    /// is locked is written, and where nobody knew, nothing else is.
    pub fn narrow_to(&mut self, locked: impl IntoIterator<Item = TableId>) {
        self.is_everything = self.is_catalog;
        self.may_define = self.is_catalog;
        self.tables.extend(locked);
        self.tidy();
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.is_everything |= other.is_everything;
        self.is_catalog |= other.is_catalog;
        self.may_define |= other.may_define;
        if !other.tables.is_empty() {
            self.tables.extend_from_slice(&other.tables);
        }
        for tag in &other.tags {
            self.add_tag(tag);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.tables.len() > 1 {
            self.tables.sort_unstable();
            self.tables.dedup();
        }
        self.is_everything |= self.tables.len() > TABLES_MAX;
        if self.tags.len() > TAGS_MAX {
            (self.is_catalog, self.is_everything) = (true, true);
        }
        if self.is_everything {
            self.tables = Vec::new();
        }
        if self.is_catalog {
            self.tags = Vec::new();
        }
    }

    /// Whether nothing at all is changed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// Whether it may be any table; then [`WriteSet::tables`] is empty.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Whether definitions, grants or roles may change.
    #[must_use]
    pub const fn is_catalog(&self) -> bool {
        self.is_catalog
    }

    /// Whether definitions may have changed in a way that nobody can tell.
    #[must_use]
    pub const fn may_define(&self) -> bool {
        self.may_define
    }

    /// The tables in order, each once.
    #[must_use]
    pub fn tables(&self) -> &[TableId] {
        &self.tables
    }

    /// The tags, each once.
    #[must_use]
    pub fn tags(&self) -> &[Box<str>] {
        &self.tags
    }
}

/// What is known of one statement before it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementFacts {
    /// What its answer depends on, where it is a read whose answer may be kept.
    pub read: Result<ReadSet, BypassReason>,
    /// What it changes, once its transaction commits.
    pub writes: WriteSet,
    /// It may end the transaction it runs in (`COMMIT`, `END`, `COMMIT PREPARED`, `CALL`, `DO`, a utility that
    /// commits by itself): what the transaction wrote may be visible before the next `ReadyForQuery`.
    pub can_commit: bool,
    /// It may end the transaction it runs in without committing it (`ROLLBACK`, `PREPARE TRANSACTION`): what comes
    /// behind it in the same message or pipeline commits by itself.
    pub can_roll_back: bool,
    /// It may change settings, the role, the search path or temporary tables of its session.
    pub can_change_session: bool,
}

impl StatementFacts {
    /// Of a statement nobody knows: it may do anything.
    #[must_use]
    pub const fn unknown(reason: BypassReason) -> Self {
        Self {
            read: Err(reason),
            writes: WriteSet::catalog(),
            can_commit: true,
            can_roll_back: true,
            can_change_session: true,
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a read that was to be cached went to PostgreSQL. A closed set: it is a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BypassReason { $($(#[doc = $doc])+ $variant,)+ }

        impl BypassReason {
            /// All reasons, in the order of their names.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Metric label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// The session waits for answers, or a message came in pieces.
    Busy = "busy",
    /// Nothing is known of tables and functions: there is no connection of pgtally's own, or it has failed.
    CatalogUnknown = "catalog_unknown",
    /// The session's encoding lets bytes of a character look like quotes.
    ClientEncoding = "client_encoding",
    /// What the session's settings are could not be found out.
    Environment = "environment",
    /// A foreign table: who writes to it is not seen.
    ForeignTable = "foreign_table",
    /// A function that is volatile, unknown, or reads what nobody told.
    Function = "function",
    /// The statement or a rule says so.
    Hint = "hint",
    /// In a transaction block.
    InTransaction = "in_transaction",
    /// The server heard nothing from the session for so long that something must be sent.
    KeepAlive = "keep_alive",
    /// The key would be longer than keys may be.
    KeyTooLong = "key_too_long",
    /// `FOR UPDATE` and kin.
    Locking = "locking",
    /// A table that a login trigger writes: not all logins are seen, and none before it has happened.
    LoginTrigger = "login_trigger",
    /// The group defines a named statement, which the server has to know.
    NamedParse = "named_parse",
    /// The tree is not known: too long, or no PostgreSQL.
    NotParsed = "not_parsed",
    /// No plain read: it writes, defines, or is a utility.
    NotRead = "not_read",
    /// A portal with a name, or fetched in pieces.
    Portal = "portal",
    /// Answers of this shape were hardly ever asked for again.
    Refused = "refused",
    /// Row security: rows depend on who asks, and no rule declares on what (`vary`).
    RowSecurity = "row_security",
    /// A sequence.
    Sequence = "sequence",
    /// More than one statement in one message.
    SeveralStatements = "several_statements",
    /// The server is a standby: it may show less than the primary.
    Standby = "standby",
    /// Catalogs and statistics.
    SystemCatalog = "system_catalog",
    /// `TABLESAMPLE`.
    TableSample = "table_sample",
    /// A temporary table, or a session that has some.
    Temporary = "temporary",
    /// A prepared statement whose definition was not seen, or may have changed since, as settings may have.
    UnknownStatement = "unknown_statement",
    /// A table that the catalog does not have.
    UnknownTable = "unknown_table",
    /// An unlogged table: its rows vanish with a crash.
    Unlogged = "unlogged",
    /// Another process of an upgrade may still write.
    Upgrade = "upgrade",
}

impl fmt::Display for BypassReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_to_everything_and_not_without_bound() {
        let mut set = WriteSet::of([TableId(3), TableId(1), TableId(3)]);
        assert_eq!(set.tables(), [TableId(1), TableId(3)]);
        for n in 0..TABLES_MAX as u32 * 2 {
            set.merge(&WriteSet::of([TableId(n)]));
        }
        assert!(set.is_everything() && set.tables().is_empty());
        let mut set = WriteSet::nothing();
        assert!(set.is_nothing());
        for n in 0..=TAGS_MAX {
            set.add_tag(&n.to_string());
            set.add_tag(&n.to_string());
        }
        assert!(set.is_catalog() && set.tags().is_empty());
        assert!(ReadSet::of((0..1_000).map(TableId)).is_anything());
    }

    #[test]
    fn locks_take_the_place_of_what_nobody_knew() {
        let narrowed = |mut set: WriteSet| {
            set.add_tag("x");
            set.narrow_to([TableId(2), TableId(1)]);
            set
        };
        let known = narrowed(WriteSet::of([TableId(3)]));
        assert_eq!(known.tables(), [TableId(1), TableId(2), TableId(3)]);
        let unknown = narrowed(WriteSet::unknown());
        assert!(unknown.tables() == [TableId(1), TableId(2)] && !unknown.may_define());
        assert_eq!(unknown.tags(), [Box::from("x")]);
        assert!(narrowed(WriteSet::catalog()).is_everything());
    }

    #[test]
    fn reasons_have_names_of_their_own_in_order() {
        let names: Vec<_> = BypassReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.is_sorted());
    }
}
