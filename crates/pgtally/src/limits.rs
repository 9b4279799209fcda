//! Every bound of the shell, with its reason. What lies beyond is dropped and counted, or refused in words.

use std::time::Duration;

/// Bytes of one read, and so of the most a direction may hold back for a slow peer. 16 KiB is as fast on big
/// results; 64 KiB is one per thread, not per session, and saves reads on COPY.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;
/// Chunks one direction may move before the other sessions of the thread get their turn.
pub(crate) const CHUNKS_PER_POLL_MAX: usize = 16;
/// Bytes of the client's that may be moved before the runtime looks whether the server has answered: an error that
/// ends what the client is doing should not wait for megabytes that are sent in vain. One look per so many bytes costs
/// next to nothing; a statement is shorter, and never causes one.
pub(crate) const TO_UPSTREAM_BYTES_PER_POLL: usize = SCRATCH_BYTES;
/// Time a new process has, in an upgrade, to say that it serves.
pub(crate) const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of forwarded chunks that may wait to be observed; longer chunks do not wait.
pub(crate) const BACKLOG_BYTES_MAX: usize = 32 * 1024;
/// Forwarded chunks that may wait to be observed.
pub(crate) const BACKLOG_CHUNKS_MAX: usize = 256;
/// Connections that have not said yet what they want. Well-behaved ones say it within a round trip; this leaves the
/// larger part of the 16,384 descriptors of a small installation to sessions.
pub(crate) const HALF_OPEN_MAX: usize = 4_096;
/// Time in which a client that is sent away can take our last words.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// CancelRequests on their way at the same time, from everybody. Each is a connection to every upstream.
pub(crate) const CANCELS_MAX: u32 = 1_024;
/// CancelRequests on their way at the same time from one address: whole fleets of applications may have one.
pub(crate) const CANCELS_PER_SOURCE_MAX: u32 = 128;
/// CancelRequests on their way to upstreams that could not be reached lately.
pub(crate) const DOUBTFUL_CANCELS_MAX: usize = 64;
/// Time a CancelRequest may take in all.
pub(crate) const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which an upstream that could not be reached is tried after the others.
pub(crate) const UPSTREAM_RETRY: Duration = Duration::from_secs(5);
/// Longest answer time of an upstream that the prober asks what it is.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time from an observation in a worker to the aggregator.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Accepted connections that wait for a busy worker.
pub(crate) const ACCEPTED_MAX: usize = 1_024;
/// Batches that wait for the aggregator. One worker makes ten in a second; each is bounded by what a tick sees.
pub(crate) const BATCHES_MAX: usize = 256;
/// Parts that wait in a worker while the aggregator's queue is full. More means that it has been busy for seconds.
pub(crate) const WAITING_PARTS_MAX: usize = 4_096;
/// Time without a new part after which a request is evaluated.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
/// Time without a new part after which a request enters the histograms, which cannot take anything back.
pub(crate) const RECORD_AFTER: Duration = Duration::from_secs(2);
/// Requests that the rules look at in a second, over all routes. Those of a busy server beyond them, counted, would
/// cost a tenth of its proxy's time and show the same again.
pub(crate) const EVALUATED_PER_SECOND: u32 = 500;
/// Requests of each route that the rules look at in a second, whatever the other routes do.
pub(crate) const EVALUATED_PER_ROUTE: u32 = 20;
/// Time after its last part for which a request can still be merged with late ones. Longer than a session may keep
/// a part of a request that goes on (30 s), or a long one would be taken for several.
pub(crate) const REQUEST_LIFE: Duration = Duration::from_secs(35);
/// Requests that may be open for late parts.
pub(crate) const OPEN_REQUESTS_MAX: usize = 10_000;
/// Bytes of all open requests.
pub(crate) const OPEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Evaluated requests kept for the API.
pub(crate) const RECENT_REQUESTS_MAX: usize = 1_000;
/// Bytes of all evaluated requests kept for the API.
pub(crate) const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Shapes whose text and facts are kept.
pub(crate) const SHAPES_MAX: usize = 10_000;
/// Bytes of their texts.
pub(crate) const SHAPE_TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time an API call waits for the workers to hand over what they have.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_millis(50);
/// Time an API call waits for the aggregator's answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Age from which the last contact with the upstream no longer tells whether it is up.
pub(crate) const UPSTREAM_CHECK_AGE: Duration = Duration::from_secs(5);
/// Time the check of the upstream may take.
pub(crate) const UPSTREAM_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests listed by the API when the caller names no limit, and at most.
pub(crate) const API_REQUESTS_DEFAULT: usize = 100;
/// See [`API_REQUESTS_DEFAULT`].
pub(crate) const API_REQUESTS_MAX: usize = 1_000;
/// Statements whose totals are kept, each with at most 2 KiB of histogram: as many as there are texts.
pub(crate) const TOTALS_STATEMENTS_MAX: usize = SHAPES_MAX;
/// Routes whose totals are kept, each with three such histograms.
pub(crate) const TOTALS_ROUTES_MAX: usize = 500;
/// People and programs that may listen to the live tap at once.
pub(crate) const TAP_LISTENERS_MAX: usize = 16;
/// Batches of events that wait for one listener; a reader half a minute behind is told what it has lost.
pub(crate) const TAP_BATCHES_MAX: usize = 256;
/// Events for one listener at once: what one page of an application runs is shown whole.
pub(crate) const TAP_EVENTS_MAX: u64 = 500;
/// Events for one listener in a second, for longer. Nobody reads more lines, and 1,000 made each of 5,000 statements per
/// second a tenth dearer; a filter makes room for what is looked for.
pub(crate) const TAP_EVENTS_PER_SECOND: u64 = 500;
/// Bytes of a statement's text in an event; the fingerprint leads to all of it.
pub(crate) const TAP_TEXT_BYTES_MAX: usize = 2_000;
/// Pairs of request and shape whose repeats are counted for listeners, before the count starts over.
pub(crate) const TAP_REPEATS_MAX: usize = 10_000;
/// Time after which a silent tap is written to, so that a listener that is gone is found.
pub(crate) const TAP_HEARTBEAT: Duration = Duration::from_secs(15);
/// Routes that a statement is known to be issued by.
pub(crate) const ROUTES_PER_STATEMENT_MAX: usize = 10;
/// Databases that a statement is known to have run in: where its plan can be asked for.
pub(crate) const DATABASES_PER_STATEMENT_MAX: usize = 10;
/// Rows of one page or answer when the caller names no limit.
pub(crate) const ROWS_DEFAULT: usize = 100;
/// Rows of one page or answer at most.
pub(crate) const ROWS_MAX: usize = 1_000;
/// Time between two writes of the file of baselines, where windows are not shorter.
pub(crate) const STATE_INTERVAL: Duration = Duration::from_secs(60);
/// Time between two attempts at a file of baselines that another process has.
pub(crate) const STATE_RETRY: Duration = Duration::from_secs(1);
/// Bytes of the largest file of baselines that is read: several times what the bounds allow.
pub(crate) const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of an acknowledgement that is given by the API or a page.
pub(crate) const ACK_BYTES_MAX: usize = 4_096;
/// Bytes of a version that is told with a deploy.
pub(crate) const VERSION_BYTES_MAX: usize = 128;
/// Time in which the files of a configuration must be read at a reload. One that hangs holds up later reloads, nothing else.
pub(crate) const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a peer may take nothing of what waits for it before that is told: longer than any network hiccup
/// that mends itself.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Connections to the admin listener that are served at once; others wait for their turn.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 256;
/// Those of one address: whoever holds all of its places keeps nobody else out. Scrapers and probes need a handful each,
/// also where many come from one address.
pub(crate) const ADMIN_CONNECTIONS_PER_SOURCE_MAX: u32 = 128;
/// Time after which a connection to the admin listener is closed that was written nothing: longer than scrapes are apart.
pub(crate) const ADMIN_IDLE: Duration = Duration::from_secs(120);
/// Bytes of the longest Parse or Query that comment lifting reads: longer texts are written by programs, once.
pub(crate) const LIFTED_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the beginning of a Bind that comment lifting holds back for the names in it.
pub(crate) const LIFTED_HEAD_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the longest name of a prepared statement that may share another's text.
pub(crate) const LIFTED_NAME_BYTES_MAX: usize = 256;
/// Prepared statements of one session whose texts may be shared: twice what drivers keep.
pub(crate) const LIFTED_NAMES_MAX: usize = 1_024;
/// Bytes of their texts. What lies beyond has its tags removed and is not shared.
pub(crate) const LIFTED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes for the server from which lifting takes no more of a chunk until they are written: a short message may name a
/// statement that must be prepared anew, with its whole text. Beyond them is what one message becomes, at most a Parse
/// of each text of the session ([`LIFTED_BYTES_MAX`]).
pub(crate) const LIFTED_OUT_BYTES_MAX: usize = 256 * 1024;
/// Unanswered questions of one session on which lifting depends, some 10 MB; with more it reads on when some are
/// answered.
pub(crate) const LIFTED_PENDING_MAX: usize = 256 * 1024;
/// Consoles that may be open at the same time: they take no session of the upstream, but a task and an answer each.
pub(crate) const CONSOLES_MAX: usize = 32;
/// Bytes of the longest message that a console reads.
pub(crate) const CONSOLE_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Prepared statements and portals that a console keeps.
pub(crate) const CONSOLE_NAMES_MAX: usize = 256;
/// Time a console waits for a client that takes no more of its answer.
pub(crate) const CONSOLE_WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests that a console lists.
pub(crate) const CONSOLE_REQUESTS_MAX: usize = 1_000;

/// With `capture.parameters = "full"`: bytes of a statement's text that is kept word for word.
pub(crate) const SAID_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Bytes of one bound value that is kept; with a longer one none of its statement is.
pub(crate) const SAID_VALUE_BYTES_MAX: usize = 1024;

/// Bound values of one statement that are kept; with more none is.
pub(crate) const SAID_VALUES_MAX: usize = 100;

/// Prepared statements, and portals, of one session whose words are kept.
pub(crate) const SAID_STATEMENTS_MAX: usize = 500;

/// Statements of one session that run with their words kept: a pipeline's.
pub(crate) const SAID_RUNS_MAX: usize = 100;
