//! Every bound of the analysis, with its reason. What lies beyond is counted, never guessed.

/// Statements recorded per request and session. A page with more is chatty anyway; the rest is counted.
pub const RECORDS_MAX: usize = 2_000;
/// Statements recorded of a unit of the level `session` while its worker is busy. Nothing tells its requests apart, so
/// more of them prove no more; the rest is counted.
pub const BUSY_RECORDS_MAX: usize = 200;
/// Bytes of a client's chunk that waits for its answer to be looked at with it.
pub const DEFERRED_BYTES_MAX: usize = 1024;
/// Statements of sessions in turns within [`BUSY_WINDOW_NS`] that make a worker busy: 5,000 a second. A session alone
/// never does: there is nothing to spare it for.
pub const BUSY_STATEMENTS: u32 = 500;
/// Nanoseconds over which a worker's statements are counted to tell whether it is busy.
pub const BUSY_WINDOW_NS: u64 = 100_000_000;
/// Key parameters recorded per statement. Composite keys have two or three.
pub const KEYS_MAX: usize = 4;
/// Bytes of sampled row values per request.
pub const SAMPLE_BYTES_MAX: usize = 16 * 1024;
/// Sampled columns per row: enough for the keys of a wide join.
pub const SAMPLE_COLUMNS_MAX: usize = 8;
/// Sampled rows per shape: N+1 is proven long before.
pub const SAMPLE_ROWS_MAX: usize = 256;
/// Bytes of the longest text cell that counts as key-like.
pub const KEY_TEXT_BYTES_MAX: usize = 64;
/// Cells kept of results of one row, per part: 16 KiB. What lies beyond can prove no dependency.
pub const CELLS_MAX: usize = 4_096;
/// Shapes of one part whose results of one row are named: loops have few statements.
pub const ROW_COLUMNS_MAX: usize = 32;
/// Pauses inside transactions kept per part: the longest.
pub const PAUSES_MAX: usize = 4;
/// Nanoseconds from which a pause inside a transaction is noted.
pub const PAUSE_NS: u64 = 250_000_000;
/// Shapes of which a wide column is kept, per part.
pub const WIDE_COLUMNS_MAX: usize = 8;
/// Bytes of a row from which its columns are measured: below, no column is worth leaving out.
pub const WIDE_ROW_BYTES: u32 = 1_024;
/// Columns of a result whose labels are kept, for naming a wide one.
pub const LABELS_MAX: usize = 64;
/// Databases counted by name; the rest is `other`.
pub const DATABASES_MAX: usize = 16;
/// SQLSTATE classes counted per database: PostgreSQL has some 45.
pub const ERROR_CLASSES_MAX: usize = 64;
/// Shapes in one generation of a worker's table; two generations are kept.
pub const SHAPES_MAX: usize = 8_192;
/// Slots of a worker's memo of analysed texts.
pub const TEXTS_MAX: usize = 8_192;
/// Slots of a worker's memo of parsed tags.
pub const TAG_SETS_MAX: usize = 256;
/// Open cursors followed per session.
pub const CURSORS_MAX: usize = 16;
/// Statements named by PREPARE that are followed per session; an EXECUTE of another is a shape of its own.
pub const DEFINITIONS_MAX: usize = 256;
/// Names of one exchange's DEALLOCATEs that are followed; what is missed takes room until its name is used again.
pub const DEALLOCATED_MAX: usize = 256;
/// Shapes sampled per request part.
pub const SAMPLES_MAX: usize = 16;
/// Bytes of an id or route; longer ones are cut.
pub const NAME_BYTES_MAX: usize = 256;
/// Statements of one `Query` text that are looked at; the rest is counted without a shape.
pub const STATEMENTS_PER_TEXT_MAX: usize = 256;
/// Unanswered messages from which only the first statement of a text is looked at: a long pipeline of long texts
/// would hold many times its own size.
pub const CROWDED_PENDING: usize = 512;
/// Bytes kept of the value of a setting that attribution reads.
pub const SETTING_BYTES_MAX: usize = 1_024;
/// Statements of the longest text kept in the memo.
pub const MEMO_STATEMENTS_MAX: usize = 16;
/// Savepoints of one transaction whose settings are kept.
pub const SAVEPOINTS_MAX: usize = 16;
/// Gaps inside units after which the idle gap follows their median.
pub const GAPS_MIN: u8 = 16;
/// Nanoseconds a statement without a tag inherits the request of the one before it.
pub const INHERIT_NS: u64 = 5_000_000;
/// Nanoseconds without a statement after which a part is handed over.
pub const PART_IDLE_NS: u64 = 500_000_000;
/// Nanoseconds after which a part is handed over although statements go on.
pub const PART_AGE_NS: u64 = 30_000_000_000;
/// Parts kept per request: a trace that spreads over more sessions is counted on.
pub const PARTS_MAX: usize = 256;
/// Table columns whose names are remembered over all databases.
pub const CATALOG_COLUMNS_MAX: usize = 20_000;
/// Tables whose names are remembered over all databases.
pub const CATALOG_TABLES_MAX: usize = 5_000;
/// Findings kept: more than anybody works through.
pub const FINDINGS_MAX: usize = 1_000;
/// Routes whose baseline is kept in production: as many as have a label, twice.
pub const BASELINE_ROUTES_MAX: usize = 200;
/// Statements of one route's baseline in production.
pub const BASELINE_STATEMENTS_MAX: usize = 200;
/// Statements of one route whose parent is remembered.
pub const BASELINE_PARENTS_MAX: usize = 32;
/// Bytes of a statement's text in a baseline: enough to recognise it.
pub const BASELINE_TEXT_BYTES_MAX: usize = 1_024;
/// Statements that a regression names.
pub const BASELINE_CHANGES_MAX: usize = 10;
/// Request keys remembered per finding, so that a request that is looked at again counts once.
pub const FINDING_KEYS_MAX: usize = 8;
/// Entries of the timeline kept of a finding's worst request.
pub const TIMELINE_MAX: usize = 200;
/// Routes of which growth is remembered.
pub const GROWTH_ROUTES_MAX: usize = 256;
/// Pairs of parent and child remembered per route.
pub const GROWTH_PAIRS_MAX: usize = 32;
/// Requests after which half of what a pair knows fades.
pub const GROWTH_REQUESTS_MAX: u32 = 512;
/// Different sizes of a parent's result that are told apart: three already show growth.
pub const GROWTH_SIZES_MAX: usize = 8;
/// Shapes of which durations are remembered.
pub const LATENCIES_MAX: usize = 4_096;
/// Executions from which a percentile says something.
pub const LATENCY_SAMPLES_MIN: u32 = 50;
/// Executions after which half of them fade.
pub const LATENCY_SAMPLES_MAX: u32 = 4_096;
/// Detections taken from one request: one with more is broken in one way, not in a hundred.
pub const DETECTIONS_MAX: usize = 100;
/// New shapes of one worker that wait to be announced; more come only when the aggregator stands still.
pub const NEW_SHAPES_MAX: usize = 4_096;
/// Buckets of a worker's templates of texts with literals.
pub const TEMPLATE_BUCKETS: usize = 2_048;
/// Templates in a bucket: statements that begin with the same bytes.
pub const TEMPLATES_PER_BUCKET: usize = 4;
/// Statements of one worker that wait for those who listen to the live tap. A tick of a tenth of a second at 20,000
/// statements per second makes half of it.
pub const TAPPED_MAX: usize = 4_096;
