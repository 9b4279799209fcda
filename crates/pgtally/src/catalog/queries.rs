//! What is asked of `pg_catalog`. Any role that may log in may ask it; every answer has one line per row of
//! `rows.rs` in the cache crate.
//!
//! All names are qualified or found in `pg_catalog` alone, as [`BEGIN`] empties the search path: so are those that
//! `pg_get_viewdef` writes.

/// One snapshot for all questions, and no way to write. `pg_get_viewdef` locks what a view reads, as SELECT does: where
/// somebody is just redefining it, this gives up long before anybody's deadlock detector has to choose a victim. To
/// compile these questions, as their estimated costs suggest, takes up to a second; to answer them some milliseconds.
pub(super) const BEGIN: &str = "SET search_path = ''; SET statement_timeout = '20s'; SET lock_timeout = '200ms'; \
    SET jit = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Whether the server is in recovery. Asked before the search path is emptied.
pub(super) const IS_STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// OID, schema, name, kind, unlogged, row security, rules.
pub(super) const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence = 'u', \
    c.relrowsecurity, EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' \
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1";

/// Parent, child.
pub(super) const CHILDREN: &str = "SELECT i.inhparent, i.inhrelid FROM pg_inherits i \
    JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind IN ('r', 'p', 'f') ORDER BY 1, 2";

/// Table, table whose rows change with its keys.
pub(super) const CASCADES: &str = "SELECT DISTINCT confrelid, conrelid FROM pg_constraint \
    WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) ORDER BY 1, 2";

/// Table, function that a write to it may call. Functions that came with PostgreSQL have no row in `pg_depend`.
pub(super) const CALLS: &str = "WITH called AS (\
        SELECT classid, objid, refobjid AS function FROM pg_depend WHERE refclassid = 'pg_proc'::regclass \
        UNION SELECT d.classid, d.objid, o.oprcode::oid FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid \
            WHERE d.refclassid = 'pg_operator'::regclass) \
    SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' \
    UNION SELECT t.tgrelid, d.function FROM called d JOIN pg_trigger t ON t.oid = d.objid \
        WHERE d.classid = 'pg_trigger'::regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D' \
    UNION SELECT a.adrelid, d.function FROM called d JOIN pg_attrdef a ON a.oid = d.objid \
        WHERE d.classid = 'pg_attrdef'::regclass \
    UNION SELECT c.conrelid, d.function FROM called d JOIN pg_constraint c ON c.oid = d.objid \
        WHERE d.classid = 'pg_constraint'::regclass AND c.conrelid <> 0 \
    UNION SELECT a.attrelid, d.function FROM called d JOIN pg_constraint c ON c.oid = d.objid \
        JOIN pg_attribute a ON a.atttypid = c.contypid \
        WHERE d.classid = 'pg_constraint'::regclass AND c.contypid <> 0 \
    UNION SELECT i.indrelid, d.function FROM called d JOIN pg_index i ON i.indexrelid = d.objid \
        WHERE d.classid = 'pg_class'::regclass \
    ORDER BY 1, 2";

/// Function that runs at every login (PostgreSQL 17).
pub(super) const LOGINS: &str = "SELECT evtfoid FROM pg_event_trigger \
    WHERE evtevent = 'login' AND evtenabled <> 'D' ORDER BY 1";

/// Table, what its policy asks, as a query.
pub(super) const POLICIES: &str = "SELECT polrelid, \
    concat('SELECT ', coalesce(pg_get_expr(polqual, polrelid), 'true'), ', ', \
        coalesce(pg_get_expr(polwithcheck, polrelid), 'true')) \
    FROM pg_policy ORDER BY polrelid, oid";

/// OID, query.
pub(super) const VIEWS: &str = "SELECT c.oid, pg_get_viewdef(c.oid) FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v' AND c.relpersistence <> 't' \
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1";

/// OID, schema, name, volatility (the worst, for an aggregate), built in, language, body of those that have one: what is
/// declared to be harmless may still call what is not.
/// An OID below 16384 was given by initdb.
pub(super) const ROUTINES: &str = "SELECT p.oid, n.nspname, p.proname, \
    CASE WHEN a.aggfnoid IS NULL OR p.oid < 16384 THEN p.provolatile ELSE \
        (SELECT (array_agg(f.provolatile ORDER BY position(f.provolatile::text IN 'isv') DESC))[1] \
        FROM pg_proc f WHERE f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggminvtransfn, \
            a.aggmfinalfn)) END, \
    p.oid < 16384, l.lanname, \
    CASE WHEN p.oid >= 16384 AND p.prokind IN ('f', 'p') AND l.lanname NOT IN ('c', 'internal') \
        AND p.probin IS NULL THEN p.prosrc END \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
    LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid ORDER BY 1";

/// Name, function.
pub(super) const OPERATORS: &str = "SELECT DISTINCT oprname, oprcode::oid FROM pg_operator \
    WHERE oprcode::oid >= 16384 ORDER BY 1, 2";

/// Name of a type, function that is called where values are cast to it.
pub(super) const TYPES: &str = "SELECT t.typname, c.castfunc FROM pg_cast c JOIN pg_type t ON t.oid = c.casttarget \
        WHERE c.castfunc >= 16384 \
    UNION SELECT typname, typinput::oid FROM pg_type WHERE typinput::oid >= 16384 \
    UNION SELECT t.typname, d.refobjid FROM pg_depend d JOIN pg_constraint c ON c.oid = d.objid \
        JOIN pg_type t ON t.oid = c.contypid \
        WHERE d.classid = 'pg_constraint'::regclass AND d.refclassid = 'pg_proc'::regclass AND c.contypid <> 0 \
    ORDER BY 1, 2";

/// OID of functions that can be called with one row.
pub(super) const ROW_FUNCTIONS: &str = "SELECT p.oid FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0] \
    WHERE p.oid >= 16384 AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'p') \
    ORDER BY 1";
