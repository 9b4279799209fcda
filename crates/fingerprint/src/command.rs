//! What a statement does, as its first words say.

use crate::keyword::Keyword;

/// Label of a statement in metrics. A closed set of nine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// COPY in either direction.
    Copy,
    /// Definitions, grants, TRUNCATE, ALTER SYSTEM.
    Ddl,
    /// DELETE.
    Delete,
    /// INSERT.
    Insert,
    /// MERGE.
    Merge,
    /// Everything else, settings and cursor fetches among it.
    #[default]
    Other,
    /// Reads: SELECT, VALUES, TABLE, DECLARE, pings.
    Select,
    /// Transaction control, savepoints included.
    Tx,
    /// UPDATE.
    Update,
}

impl Kind {
    /// All kinds, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Copy,
        Self::Ddl,
        Self::Delete,
        Self::Insert,
        Self::Merge,
        Self::Other,
        Self::Select,
        Self::Tx,
        Self::Update,
    ];

    /// Name as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Ddl => "ddl",
            Self::Delete => "delete",
            Self::Insert => "insert",
            Self::Merge => "merge",
            Self::Other => "other",
            Self::Select => "select",
            Self::Tx => "tx",
            Self::Update => "update",
        }
    }
}

/// What a statement does, as its first words say.
///
/// Parentheses before a query and `WITH` are looked through: `WITH x AS (DELETE …) SELECT …` is a `Select`, and the
/// parse tree tells of its writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Command {
    /// `ALTER SYSTEM`
    AlterSystem,
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `CALL`
    Call,
    /// `CLOSE` of one cursor or of all.
    CloseCursor,
    /// `COMMIT`, `END`, `COMMIT PREPARED`
    Commit,
    /// `COPY`
    Copy,
    /// `CREATE`, `ALTER`, `DROP`, `GRANT`, `REVOKE`, `COMMENT` and kin.
    Ddl,
    /// `DEALLOCATE` of one statement.
    Deallocate,
    /// `DEALLOCATE ALL`
    DeallocateAll,
    /// `DECLARE` of a cursor.
    Declare,
    /// `DELETE`
    Delete,
    /// `DISCARD` of something.
    Discard,
    /// `DISCARD ALL`
    DiscardAll,
    /// `DO`
    Do,
    /// No statement.
    Empty,
    /// `EXECUTE` of a prepared statement.
    Execute,
    /// `EXPLAIN`, whether it analyzes or not.
    Explain,
    /// `FETCH` from a cursor.
    Fetch,
    /// `INSERT`
    Insert,
    /// `LISTEN`
    Listen,
    /// `LOCK`
    Lock,
    /// `ANALYZE`, `VACUUM`, `REINDEX`, `CLUSTER`, `CHECKPOINT`, `REFRESH`, `LOAD`
    Maintenance,
    /// `MERGE`
    Merge,
    /// `MOVE` of a cursor.
    Move,
    /// `NOTIFY`
    Notify,
    /// None of these.
    #[default]
    Other,
    /// `SELECT` of nothing but one constant, as pools send it to see whether a connection lives.
    Ping,
    /// `PREPARE` of a statement.
    Prepare,
    /// `PREPARE TRANSACTION`
    PrepareTransaction,
    /// `RELEASE` of a savepoint.
    Release,
    /// `RESET` of one setting.
    Reset,
    /// `RESET ALL`
    ResetAll,
    /// `ROLLBACK`, `ABORT`, `ROLLBACK PREPARED`
    Rollback,
    /// `ROLLBACK TO` a savepoint.
    RollbackTo,
    /// `SAVEPOINT`
    Savepoint,
    /// `SELECT`, `TABLE`
    Select,
    /// `SET`, and a `SELECT set_config('pgtally.request', …)` that does nothing else.
    Set,
    /// `SHOW`
    Show,
    /// `TRUNCATE`
    Truncate,
    /// `UNLISTEN`
    Unlisten,
    /// `UPDATE`
    Update,
    /// `VALUES` as a statement.
    Values,
}

impl Command {
    /// Label in metrics.
    pub fn kind(self) -> Kind {
        match self {
            Self::Copy => Kind::Copy,
            Self::AlterSystem | Self::Ddl | Self::Truncate => Kind::Ddl,
            Self::Delete => Kind::Delete,
            Self::Insert => Kind::Insert,
            Self::Merge => Kind::Merge,
            Self::Declare | Self::Ping | Self::Select | Self::Values => Kind::Select,
            Self::Begin
            | Self::Commit
            | Self::PrepareTransaction
            | Self::Release
            | Self::Rollback
            | Self::RollbackTo
            | Self::Savepoint => Kind::Tx,
            Self::Update => Kind::Update,
            _ => Kind::Other,
        }
    }

    /// Whether it counts as a query of its request.
    pub fn is_counted(self) -> bool {
        !matches!(
            self,
            Self::CloseCursor
                | Self::Deallocate
                | Self::DeallocateAll
                | Self::Discard
                | Self::DiscardAll
                | Self::Empty
                | Self::Fetch
                | Self::Listen
                | Self::Move
                | Self::Ping
                | Self::Reset
                | Self::ResetAll
                | Self::Set
                | Self::Show
                | Self::Unlisten
        ) && self.kind() != Kind::Tx
    }

    /// What the first word says.
    pub(crate) fn first(word: Keyword) -> Self {
        use Keyword as K;
        match word {
            K::Begin | K::Start => Self::Begin,
            K::Call => Self::Call,
            K::Close => Self::CloseCursor,
            K::Commit | K::End => Self::Commit,
            K::Copy => Self::Copy,
            K::Alter
            | K::Comment
            | K::Create
            | K::Drop
            | K::Grant
            | K::Import
            | K::Reassign
            | K::Revoke
            | K::Security => Self::Ddl,
            K::Deallocate => Self::Deallocate,
            K::Declare => Self::Declare,
            K::Discard => Self::Discard,
            K::Do => Self::Do,
            K::Execute => Self::Execute,
            K::Explain => Self::Explain,
            K::Fetch => Self::Fetch,
            K::Listen => Self::Listen,
            K::Lock => Self::Lock,
            K::Analyse
            | K::Analyze
            | K::Checkpoint
            | K::Cluster
            | K::Load
            | K::Refresh
            | K::Reindex
            | K::Vacuum => Self::Maintenance,
            K::Move => Self::Move,
            K::Notify => Self::Notify,
            K::Prepare => Self::Prepare,
            K::Release => Self::Release,
            K::Reset => Self::Reset,
            K::Abort | K::Rollback => Self::Rollback,
            K::Savepoint => Self::Savepoint,
            K::Set => Self::Set,
            K::Show => Self::Show,
            K::Truncate => Self::Truncate,
            K::Unlisten => Self::Unlisten,
            _ => Self::main_verb(word).unwrap_or(Self::Other),
        }
    }

    /// What the second word adds.
    pub(crate) fn second(self, word: Keyword) -> Self {
        match (self, word) {
            (Self::Ddl, Keyword::System) => Self::AlterSystem,
            (Self::Deallocate, Keyword::All) => Self::DeallocateAll,
            (Self::Discard, Keyword::All) => Self::DiscardAll,
            (Self::Prepare, Keyword::Transaction) => Self::PrepareTransaction,
            (Self::Reset, Keyword::All) => Self::ResetAll,
            _ => self,
        }
    }

    /// The verb of a query, as it follows `WITH` too.
    pub(crate) fn main_verb(word: Keyword) -> Option<Self> {
        Some(match word {
            Keyword::Delete => Self::Delete,
            Keyword::Insert => Self::Insert,
            Keyword::Merge => Self::Merge,
            Keyword::Select | Keyword::Table => Self::Select,
            Keyword::Update => Self::Update,
            Keyword::Values => Self::Values,
            _ => return None,
        })
    }
}
