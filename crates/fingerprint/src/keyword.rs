//! The words that mean something to the walk, found by the hash that the lexer computes anyway.
//!
//! Not a full list of PostgreSQL's keywords: unreserved ones matter only where the walk looks for them. The list of
//! words that an identifier can't be without its quotes stands at the end; only [`crate::normalize()`] reads it.

use crate::hash;

/// How a word is treated beyond what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Ends an operand, as an identifier does: a sign after it is binary. Written in upper case.
    Operand,
    /// Reserved, or reserved in effect: `"word"` is another thing than `word`. Written in upper case.
    Reserved,
    /// Name of a type or function. Written in lower case.
    Type,
    /// An ordinary identifier that some commands use as a keyword. Written in upper case.
    Unreserved,
}

macro_rules! keywords {
    ($($name:ident $text:literal $class:ident,)*) => {
        /// A recognised word.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum Keyword {
            /// Not recognised: an identifier.
            #[default]
            Identifier,
            $($name,)*
        }

        const KEYWORDS: &[Keyword] = &[$(Keyword::$name),*];
        const CLASSES: &[Class] = &[$(Class::$class),*];
        const HASHES: &[u64] = &[$(hash::keyword($text.as_bytes())),*];
        #[cfg(test)]
        const TEXTS: &[&str] = &[$($text),*];
    };
}

keywords! {
    Abort "abort" Unreserved,
    All "all" Reserved,
    Alter "alter" Unreserved,
    Analyse "analyse" Reserved,
    Analyze "analyze" Reserved,
    And "and" Reserved,
    Any "any" Reserved,
    Array "array" Reserved,
    As "as" Reserved,
    Asc "asc" Reserved,
    Asymmetric "asymmetric" Reserved,
    At "at" Unreserved,
    Atomic "atomic" Unreserved,
    Authorization "authorization" Reserved,
    Begin "begin" Unreserved,
    Between "between" Unreserved,
    Binary "binary" Reserved,
    Both "both" Reserved,
    By "by" Unreserved,
    Call "call" Unreserved,
    Case "case" Reserved,
    Cast "cast" Reserved,
    Check "check" Reserved,
    Checkpoint "checkpoint" Unreserved,
    Close "close" Unreserved,
    Cluster "cluster" Unreserved,
    Collate "collate" Reserved,
    Column "column" Reserved,
    Comment "comment" Unreserved,
    Commit "commit" Unreserved,
    Conflict "conflict" Unreserved,
    Constraint "constraint" Reserved,
    Copy "copy" Unreserved,
    Create "create" Reserved,
    Cross "cross" Reserved,
    CurrentDate "current_date" Operand,
    CurrentTime "current_time" Operand,
    CurrentTimestamp "current_timestamp" Operand,
    CurrentUser "current_user" Operand,
    Deallocate "deallocate" Unreserved,
    Declare "declare" Unreserved,
    Default "default" Operand,
    Deferrable "deferrable" Reserved,
    Delete "delete" Unreserved,
    Desc "desc" Reserved,
    Discard "discard" Unreserved,
    Distinct "distinct" Reserved,
    Do "do" Reserved,
    Drop "drop" Unreserved,
    Else "else" Reserved,
    End "end" Operand,
    Except "except" Reserved,
    Execute "execute" Unreserved,
    Exists "exists" Unreserved,
    Explain "explain" Unreserved,
    Extract "extract" Type,
    False "false" Operand,
    Fetch "fetch" Reserved,
    Filter "filter" Unreserved,
    For "for" Reserved,
    Foreign "foreign" Reserved,
    From "from" Reserved,
    Full "full" Reserved,
    Grant "grant" Reserved,
    Group "group" Reserved,
    Having "having" Reserved,
    Ilike "ilike" Reserved,
    Import "import" Unreserved,
    In "in" Reserved,
    Inner "inner" Reserved,
    Insert "insert" Unreserved,
    Intersect "intersect" Reserved,
    Into "into" Reserved,
    Is "is" Reserved,
    Isnull "isnull" Operand,
    Join "join" Reserved,
    Lateral "lateral" Reserved,
    Leading "leading" Reserved,
    Left "left" Reserved,
    Like "like" Reserved,
    Limit "limit" Reserved,
    Listen "listen" Unreserved,
    Load "load" Unreserved,
    Local "local" Unreserved,
    Localtime "localtime" Operand,
    Localtimestamp "localtimestamp" Operand,
    Lock "lock" Unreserved,
    Merge "merge" Unreserved,
    Move "move" Unreserved,
    Natural "natural" Reserved,
    Not "not" Reserved,
    Notify "notify" Unreserved,
    Notnull "notnull" Operand,
    Null "null" Operand,
    Offset "offset" Reserved,
    On "on" Reserved,
    Only "only" Reserved,
    Or "or" Reserved,
    Order "order" Reserved,
    Outer "outer" Reserved,
    Over "over" Unreserved,
    Overlaps "overlaps" Reserved,
    Placing "placing" Reserved,
    Prepare "prepare" Unreserved,
    Prepared "prepared" Unreserved,
    Primary "primary" Reserved,
    Reassign "reassign" Unreserved,
    Recursive "recursive" Unreserved,
    References "references" Reserved,
    Refresh "refresh" Unreserved,
    Reindex "reindex" Unreserved,
    Release "release" Unreserved,
    Reset "reset" Unreserved,
    Returning "returning" Reserved,
    Revoke "revoke" Unreserved,
    Right "right" Reserved,
    Role "role" Unreserved,
    Rollback "rollback" Unreserved,
    Savepoint "savepoint" Unreserved,
    Security "security" Unreserved,
    Select "select" Reserved,
    Session "session" Unreserved,
    SessionUser "session_user" Operand,
    Set "set" Unreserved,
    SetConfig "set_config" Type,
    Show "show" Unreserved,
    Similar "similar" Reserved,
    Some "some" Reserved,
    Start "start" Unreserved,
    Symmetric "symmetric" Reserved,
    System "system" Unreserved,
    Table "table" Reserved,
    Tablesample "tablesample" Reserved,
    Then "then" Reserved,
    To "to" Reserved,
    Trailing "trailing" Reserved,
    Transaction "transaction" Unreserved,
    True "true" Operand,
    Truncate "truncate" Unreserved,
    Union "union" Reserved,
    Unique "unique" Reserved,
    Unlisten "unlisten" Unreserved,
    Update "update" Unreserved,
    User "user" Operand,
    Using "using" Reserved,
    Vacuum "vacuum" Unreserved,
    Values "values" Unreserved,
    Variadic "variadic" Reserved,
    Verbose "verbose" Reserved,
    When "when" Reserved,
    Where "where" Reserved,
    Window "window" Reserved,
    With "with" Reserved,

    TypeBigint "bigint" Type,
    TypeBit "bit" Type,
    TypeBool "bool" Type,
    TypeBoolean "boolean" Type,
    TypeBox "box" Type,
    TypeBpchar "bpchar" Type,
    TypeBytea "bytea" Type,
    // `"char"` with quotes is a type of its own.
    TypeChar "char" Reserved,
    TypeCharacter "character" Type,
    TypeCidr "cidr" Type,
    TypeCircle "circle" Type,
    TypeCitext "citext" Type,
    TypeDate "date" Type,
    TypeDaterange "daterange" Type,
    TypeDec "dec" Type,
    TypeDecimal "decimal" Type,
    TypeDouble "double" Type,
    TypeFloat "float" Type,
    TypeFloat4 "float4" Type,
    TypeFloat8 "float8" Type,
    TypeHstore "hstore" Type,
    TypeInet "inet" Type,
    TypeInt "int" Type,
    TypeInt2 "int2" Type,
    TypeInt4 "int4" Type,
    TypeInt4range "int4range" Type,
    TypeInt8 "int8" Type,
    TypeInt8range "int8range" Type,
    TypeInteger "integer" Type,
    TypeInterval "interval" Type,
    TypeJson "json" Type,
    TypeJsonb "jsonb" Type,
    TypeJsonpath "jsonpath" Type,
    TypeLseg "lseg" Type,
    TypeLtree "ltree" Type,
    TypeMacaddr "macaddr" Type,
    TypeMoney "money" Type,
    TypeNational "national" Type,
    TypeNchar "nchar" Type,
    TypeNumeric "numeric" Type,
    TypeNumrange "numrange" Type,
    TypeOid "oid" Type,
    TypePoint "point" Type,
    TypePolygon "polygon" Type,
    TypeReal "real" Type,
    TypeRegclass "regclass" Type,
    TypeRegtype "regtype" Type,
    TypeSmallint "smallint" Type,
    TypeText "text" Type,
    TypeTime "time" Type,
    TypeTimestamp "timestamp" Type,
    TypeTimestamptz "timestamptz" Type,
    TypeTimetz "timetz" Type,
    TypeTsquery "tsquery" Type,
    TypeTsrange "tsrange" Type,
    TypeTstzrange "tstzrange" Type,
    TypeTsvector "tsvector" Type,
    TypeUuid "uuid" Type,
    TypeVarbit "varbit" Type,
    TypeVarchar "varchar" Type,
    TypeVarying "varying" Type,
    TypeXml "xml" Type,
}

impl Keyword {
    /// Finds the keyword whose [`hash::word`] this is.
    pub(crate) fn find(word_hash: u64) -> Self {
        let mut slot = slot_of(word_hash);
        loop {
            let entry = match SLOTS.get(slot) {
                None | Some(0) => return Self::Identifier,
                Some(entry) => usize::from(*entry) - 1,
            };
            if HASHES.get(entry) == Some(&word_hash) {
                return KEYWORDS.get(entry).copied().unwrap_or_default();
            }
            slot = (slot + 1) % SLOTS.len();
        }
    }

    /// A sign after it belongs to the number that follows.
    pub(crate) fn allows_sign(self) -> bool {
        matches!(self.class(), Some(Class::Reserved | Class::Unreserved))
    }

    /// Quotes around it make another word of it.
    pub(crate) fn is_distinct_when_quoted(self) -> bool {
        matches!(self.class(), Some(Class::Operand | Class::Reserved))
    }

    /// Names a type, so that a string after it is a literal of that type.
    pub(crate) fn is_type(self) -> bool {
        self as u8 >= Self::TypeBigint as u8
    }

    /// Normalized texts show it in upper case.
    pub(crate) fn is_upper(self) -> bool {
        matches!(self.class(), Some(Class::Operand | Class::Reserved | Class::Unreserved)) && !self.is_type()
    }

    /// Parentheses after it group; they aren't the arguments of a function.
    pub(crate) fn groups(self) -> bool {
        self.is_upper()
            && !matches!(self, Self::Exists | Self::Over | Self::Filter | Self::Left | Self::Right)
    }

    /// Normalized texts write parentheses right after it, as after a function's name.
    pub(crate) fn attaches(self) -> bool {
        !self.is_upper() || matches!(self, Self::Cast | Self::Exists | Self::Left | Self::Right)
    }

    fn class(self) -> Option<Class> {
        // Both lists are written by one macro from the same lines.
        (self as usize).checked_sub(1).and_then(|at| CLASSES.get(at)).copied()
    }
}

const SLOT_COUNT: usize = 1024;
const SLOTS: [u8; SLOT_COUNT] = slots();

const fn slot_of(word_hash: u64) -> usize {
    (word_hash >> 20) as usize % SLOT_COUNT
}

/// Open addressing: 0 is free, else the entry's index plus one.
const fn slots() -> [u8; SLOT_COUNT] {
    let mut slots = [0; SLOT_COUNT];
    let mut entry = 0;
    while entry < HASHES.len() {
        let mut slot = slot_of(HASHES[entry]);
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOT_COUNT;
        }
        entry += 1;
        slots[slot] = entry as u8;
    }
    slots
}
const _: () = assert!(HASHES.len() < 255);

/// Whether an identifier must keep its quotes to be read as one at every place (sorted; from `pg_get_keywords()`:
/// all that are not plain unreserved words usable as labels).
pub(crate) fn needs_quotes(word: &str) -> bool {
    QUOTED.binary_search(&word).is_ok()
}

#[rustfmt::skip]
const QUOTED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check",
    "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create", "cross",
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "day", "dec", "decimal", "default", "deferrable", "desc",
    "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch", "filter", "float",
    "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having", "hour",
    "ilike", "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval", "into", "is",
    "isnull", "join", "json", "json_array", "json_arrayagg", "json_exists", "json_object", "json_objectagg",
    "json_query", "json_scalar", "json_serialize", "json_table", "json_value", "lateral", "leading",
    "least", "left", "like", "limit", "localtime", "localtimestamp", "merge_action", "minute", "month",
    "national", "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric",
    "offset", "on", "only", "or", "order", "out", "outer", "over", "overlaps", "overlay", "placing",
    "position", "precision", "primary", "real", "references", "returning", "right", "row", "second",
    "select", "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric",
    "system_user", "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim",
    "true", "union", "unique", "user", "using", "values", "varchar", "variadic", "varying", "verbose",
    "when", "where", "window", "with", "within", "without", "xmlattributes", "xmlconcat", "xmlelement",
    "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
    "year",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_found() {
        for (text, keyword) in TEXTS.iter().zip(KEYWORDS) {
            assert_eq!(Keyword::find(hash::keyword(text.as_bytes())), *keyword, "{text}");
        }
        assert_eq!(Keyword::find(hash::keyword(b"customer_id")), Keyword::Identifier);
        assert!(QUOTED.is_sorted());
        assert!(Keyword::TypeXml.is_type() && !Keyword::With.is_type());
    }
}
