//! A few connections to the database, one for each HTTP request that is being answered.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// More than the visitors that run at once need, fewer than a page's statements.
const CONNECTIONS_MAX: usize = 3;

pub(crate) struct Pool {
    config: Config,
    permits: Semaphore,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    idle: Vec<Client>,
    // To wait for when the pool is closed.
    tasks: Vec<JoinHandle<()>>,
}

impl Pool {
    /// # Errors
    ///
    /// When `database_url` is not a connection string.
    pub(crate) fn new(database_url: &str) -> Result<Self, tokio_postgres::Error> {
        let mut config: Config = database_url.parse()?;
        config.application_name("pgtally-demo");
        let permits = Semaphore::new(CONNECTIONS_MAX);
        Ok(Self { config, permits, connections: Mutex::default() })
    }

    /// Room for one more request; held while it has a client.
    pub(crate) fn permits(&self) -> &Semaphore {
        &self.permits
    }

    /// An idle connection, or a new one.
    pub(crate) async fn take(&self) -> Result<Client, tokio_postgres::Error> {
        let idle = self.lock().idle.pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.connect().await,
        }
    }

    /// Gives back a connection on which nothing is open.
    pub(crate) fn give_back(&self, client: Client) {
        self.lock().idle.push(client);
    }

    /// Ends the idle connections and waits until all have ended.
    pub(crate) async fn close(&self) {
        let Connections { idle, tasks } = std::mem::take(&mut *self.lock());
        drop(idle);
        for task in tasks {
            // A connection task neither panics nor is aborted.
            let _ = task.await;
        }
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            // An error of the connection is seen by the statement that waits for an answer.
            let _ = connection.await;
        });
        let mut connections = self.lock();
        connections.tasks.retain(|task| !task.is_finished());
        connections.tasks.push(task);
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
