//! Snapshots of the databases' definitions for the cache, loaded in the background on connections of pgtally's own.
//!
//! A database is loaded when its first session asks, again whenever a session finds its snapshot old, and on a timer, as
//! somebody may redefine things past this proxy. A snapshot carries the catalog's version from *before* it was read: a
//! definition that changes while it is read makes it old at once, so it is never used for what it does not know.
//!
//! Without `inspect.user` nothing is ever known: no answer is kept, and every write counts as one to everything.
//!
//! Read next: `catalog/load.rs`; `crates/cache/src/catalog.rs` for what the definitions mean.

pub(crate) mod explain;
mod load;
mod queries;

use std::collections::hash_map::Entry;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgtally_cache::{Catalog, DatabaseId, Token, Versions};
use rustc_hash::{FxHashMap, FxHasher};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{error::Elapsed, sleep, timeout};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

use self::load::{LoadError, Loaded, load};
use crate::config::InspectAccount;
use crate::live::{Live, StartupSetting};
use crate::logging::with_causes;
use crate::socket::{Address, Stream};
use crate::tls::{ConnectError, connect};

/// Databases whose definitions are known at a time. Sessions of others are not cached.
const DATABASES_MAX: usize = 64;
/// Reading all definitions of one database; a big one takes a second.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two looks at definitions that nobody is known to have changed.
const REFRESH: Duration = Duration::from_secs(60);
/// Shortest time between two loads, however often definitions change.
const PAUSE: Duration = Duration::from_millis(200);
/// Time after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Of a connection to a database that does not exist.
const NO_DATABASE: SqlState = SqlState::INVALID_CATALOG_NAME;

/// What a database is called among versions: all upstreams of a process are one server and its standbys.
pub(crate) fn database_id(name: &str) -> DatabaseId {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    DatabaseId(hasher.finish())
}

/// Definitions of one database at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What the names mean.
    pub(crate) catalog: Catalog,
    /// No two snapshots share it: what was derived from one is not used with another.
    pub(crate) number: u64,
    /// The catalog's version before it was read.
    token: Token,
}

impl Snapshot {
    /// Whether no definition has changed since, as far as the proxy has seen. Two atomic loads.
    pub(crate) fn is_current(&self, versions: &Versions) -> bool {
        versions.is_current(&self.token)
    }
}

/// Why a database could not be read.
#[derive(Debug, Error)]
pub(crate) enum CatalogError {
    #[error("cannot connect")]
    Connect(#[from] ConnectError),
    #[error("no answer in time")]
    Late(#[from] Elapsed),
    #[error("cannot read the catalog")]
    Load(#[from] LoadError),
    #[error("there is no account to ask with: inspect.user is not set")]
    NoAccount,
    #[error("no upstream is known to be a primary")]
    NoPrimary,
    #[error("there is no upstream")]
    NoUpstream,
    #[error("PostgreSQL refuses inspect.user")]
    Refused(#[from] tokio_postgres::Error),
}

#[derive(Debug, Default)]
struct Database {
    name: String,
    snapshot: Option<Arc<Snapshot>>,
    hash: u64,
    is_wanted: bool,
    /// Why it could not be read the last time.
    problem: Option<String>,
}

impl Database {
    /// Whether a session holds the snapshot.
    fn is_in_use(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| Arc::strong_count(snapshot) > 1)
    }
}

/// The snapshots of all databases, shared by all threads. Its lock is taken when a session begins to use the cache and
/// when its snapshot is old; never for a statement.
#[derive(Debug)]
pub(crate) struct Catalogs {
    versions: Arc<Versions>,
    databases: Mutex<FxHashMap<DatabaseId, Database>>,
    wanted: Notify,
    /// After every load, whatever came of it.
    loaded: Notify,
    numbers: AtomicU64,
}

impl Catalogs {
    /// Knows nothing yet. [`Catalogs::keep_loaded`] has to run.
    pub(crate) fn new(versions: Arc<Versions>) -> Self {
        let databases = Mutex::new(FxHashMap::default());
        let (wanted, loaded) = (Notify::new(), Notify::new());
        Self { versions, databases, wanted, loaded, numbers: AtomicU64::new(1) }
    }

    /// The versions that definitions and answers are compared with.
    pub(crate) fn versions(&self) -> Arc<Versions> {
        Arc::clone(&self.versions)
    }

    /// The definitions of the database `id`, called `name`; `None` until they are known. Then they are being loaded.
    pub(crate) fn current(&self, id: DatabaseId, name: &str) -> Option<Arc<Snapshot>> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if databases.len() >= DATABASES_MAX && !databases.contains_key(&id) {
            // Names that no database has, and those of databases that cannot be read, take no place from others.
            databases.retain(|_, database| database.problem.is_none());
        }
        let is_full = databases.len() >= DATABASES_MAX;
        let database = match databases.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return None,
            Entry::Vacant(entry) => entry.insert(Database { name: name.to_owned(), ..Database::default() }),
        };
        let current = database.snapshot.as_ref().filter(|snapshot| snapshot.is_current(&self.versions));
        if let Some(current) = current {
            return Some(Arc::clone(current));
        }
        database.snapshot = None;
        database.is_wanted = true;
        self.wanted.notify_one();
        None
    }

    /// As [`Catalogs::current`], after at most `patience`.
    ///
    /// # Errors
    /// Why the definitions are not known.
    pub(crate) async fn wait(
        &self,
        id: DatabaseId,
        name: &str,
        patience: Duration,
    ) -> Result<Arc<Snapshot>, String> {
        let asked = async {
            loop {
                let loaded = self.loaded.notified();
                if let Some(snapshot) = self.current(id, name) {
                    return Ok(snapshot);
                }
                if !self.is_known(id) {
                    return Err(format!("definitions of more than {DATABASES_MAX} databases are in use"));
                }
                loaded.await;
                if let Some(problem) = self.problem(id) {
                    return Err(problem);
                }
            }
        };
        let late = |_| Err(format!("the definitions were not read within {} s", patience.as_secs()));
        timeout(patience, asked).await.unwrap_or_else(late)
    }

    /// Loads what is wanted until the proxy ends; follows reloads of the configuration.
    pub(crate) async fn keep_loaded(self: Arc<Self>, live: Live) {
        loop {
            // A process without sessions that use the cache sleeps undisturbed.
            let is_due = match self.is_idle() {
                true => {
                    self.wanted.notified().await;
                    false
                }
                false => timeout(REFRESH, self.wanted.notified()).await.is_err(),
            };
            let setting = Arc::clone(&live.borrow());
            let mut pause = PAUSE;
            for (id, name) in self.due(is_due) {
                let is_known = match &setting.inspect {
                    Some(account) => self.refresh(id, &name, &setting, account).await,
                    None => {
                        self.forget(id, &CatalogError::NoAccount);
                        true
                    }
                };
                if !is_known {
                    pause = PAUSE_AFTER_FAILURE;
                }
            }
            self.loaded.notify_waiters();
            sleep(pause).await;
        }
    }

    fn problem(&self, id: DatabaseId) -> Option<String> {
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        databases.get(&id).and_then(|database| database.problem.clone())
    }

    fn is_known(&self, id: DatabaseId) -> bool {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Whether no session holds a snapshot.
    fn is_idle(&self) -> bool {
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        !databases.values().any(Database::is_in_use)
    }

    fn due(&self, are_all: bool) -> Vec<(DatabaseId, String)> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let due = databases.iter_mut().filter(|(_, it)| it.is_wanted || (are_all && it.is_in_use()));
        due.map(|(id, database)| {
            database.is_wanted = false;
            (*id, database.name.clone())
        })
        .collect()
    }

    /// Whether the definitions are known now.
    async fn refresh(
        &self,
        id: DatabaseId,
        name: &str,
        setting: &StartupSetting,
        account: &InspectAccount,
    ) -> bool {
        // While definitions are being changed there is no version to read them under; whoever asks next tries again.
        let Some(token) = self.versions.definitions(id) else { return true };
        match read(name, setting, account).await {
            Ok(loaded) => self.learn(id, token, loaded),
            Err(error) => {
                self.forget(id, &error);
                // A name that no database has says nothing of the server.
                return matches!(&error, CatalogError::Refused(error) if error.code() == Some(&NO_DATABASE));
            }
        }
        true
    }

    fn learn(&self, id: DatabaseId, token: Token, loaded: Loaded) {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = databases.get_mut(&id) else { return };
        database.problem = None;
        let is_same = database.hash == loaded.hash;
        let was_current = database.snapshot.as_ref().is_some_and(|it| it.is_current(&self.versions));
        if was_current && is_same {
            return;
        }
        if was_current {
            // Somebody has redefined things past this proxy; the answers kept until now may mean something else.
            info!(database = %database.name, "definitions have changed unseen; the cache is emptied");
            self.versions.invalidate_all();
            database.snapshot = None;
            database.is_wanted = true;
            self.wanted.notify_one();
            return;
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        database.hash = loaded.hash;
        database.snapshot = Some(Arc::new(Snapshot { catalog: loaded.catalog, number, token }));
    }

    /// The first failure of several is logged.
    fn forget(&self, id: DatabaseId, error: &CatalogError) {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = databases.get_mut(&id) {
            database.snapshot = None;
            let error = with_causes(error);
            if database.problem.replace(error.clone()).is_none() {
                warn!(database = %database.name, error, "definitions are unknown; nothing is cached");
            }
        }
    }
}

/// Asks the first upstream that answers; of several, one that is no standby, as those may lag behind.
async fn read(
    name: &str,
    setting: &StartupSetting,
    account: &InspectAccount,
) -> Result<Loaded, CatalogError> {
    let mut last = CatalogError::NoUpstream;
    for server in setting.upstreams.all() {
        match timeout(LOAD_TIMEOUT, read_from(&server.address, name, setting, account)).await {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

async fn load_from_primary(client: &tokio_postgres::Client, is_any: bool) -> Result<Loaded, CatalogError> {
    // Asked on the connection that reads: no server turns into a standby while it lasts.
    if !is_any && load::is_standby(client).await? {
        return Err(CatalogError::NoPrimary);
    }
    Ok(load(client).await?)
}

async fn read_from(
    address: &Address,
    name: &str,
    setting: &StartupSetting,
    account: &InspectAccount,
) -> Result<Loaded, CatalogError> {
    let (client, connection) = open(address, name, setting, account).await?;
    let connection = std::pin::pin!(connection);
    let is_any = setting.upstreams.all().len() == 1;
    tokio::select! {
        loaded = load_from_primary(&client, is_any) => loaded,
        // It ends before the answer does only if it broke.
        ended = connection => match ended {
            Ok(()) => Err(LoadError::Row.into()),
            Err(error) => Err(error.into()),
        },
    }
}

/// Logs in with the account of `[inspect]`. The connection has to be driven beside its client.
pub(crate) async fn open(
    address: &Address,
    name: &str,
    setting: &StartupSetting,
    account: &InspectAccount,
) -> Result<
    (tokio_postgres::Client, tokio_postgres::Connection<Stream, tokio_postgres::tls::NoTlsStream>),
    CatalogError,
> {
    let stream = connect(address, setting.security.upstream.as_ref()).await?.stream;
    stream.tune(&setting.socket);
    let mut config = tokio_postgres::Config::new();
    config.user(&account.user).dbname(name).application_name("pgtally catalog");
    if let Some(password) = &account.password {
        config.password(password.reveal());
    }
    Ok(config.connect_raw(stream, NoTls).await?)
}
