//! The connections of a source, which all see the data as of one moment.
//!
//! MySQL does not hand a snapshot from one connection to another, as PostgreSQL does. So all connections begin their
//! transactions while a lock keeps others from writing: for the table, or else for the whole server where the user may.
//! It is held only until all have begun, which reads nothing.

use crate::databases::mysql::{Session, fault};
use crate::databases::{Dialect, Fault, Server, TableName};
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use futures::future::try_join_all;
use mysql_async::Error;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// How long the lock may be waited for, in seconds: whoever writes waits behind us meanwhile.
const WAIT: u32 = 3;
/// How long all connections may take to begin.
const HELD: Duration = Duration::from_secs(10);

/// The connections.
pub struct View {
    server: Arc<Server>,
    /// The table that is locked; none for a query, whose tables nobody knows.
    table: Option<TableName>,
    /// The most connections that are of use to one reading.
    most: usize,
    /// Whether all rows are read. The readings of samples each see a state of their own.
    whole: bool,
    /// The plans that will read.
    scans: AtomicUsize,
    sessions: Mutex<Sessions>,
}

/// A connection that one partition reads by.
pub struct Reading {
    pub session: Session,
    /// Whether it sees what the others of the source see.
    shared: bool,
}

#[derive(Default)]
struct Sessions {
    idle: Vec<Session>,
    /// All that have begun together.
    open: usize,
    /// Whether the server lets nobody hold others from writing.
    alone: bool,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view of {:?}", self.server)
    }
}

impl View {
    /// Of no connections yet; one reading has use for `most`.
    pub fn new(server: Arc<Server>, table: Option<TableName>, most: usize, whole: bool) -> Self {
        Self { server, table, most: most.max(1), whole, scans: AtomicUsize::new(0), sessions: Mutex::default() }
    }

    /// There is one more plan that will read.
    pub fn add_scan(&self) {
        self.scans.fetch_add(1, Ordering::AcqRel);
    }

    /// A plan will read no more.
    pub fn end_scan(&self) {
        self.scans.fetch_sub(1, Ordering::AcqRel);
    }

    /// A connection for one partition of a reading, whose partitions have `taken` so many; none where others have those
    /// that there are, and read all pieces.
    ///
    /// # Errors
    /// As the server says.
    pub async fn take(&self, taken: &AtomicUsize, progress: &Progress) -> Result<Option<Reading>, RunError> {
        if !self.whole {
            return Ok(Some(Reading { session: begin(connect(&self.server).await?).await?, shared: false }));
        }
        let mut sessions = self.sessions.lock().await;
        let scans = self.scans.load(Ordering::Acquire).max(1);
        let wanted = self.most.max(scans);
        // A reading that is over, such as that of a pivot's values, may have needed fewer.
        if !sessions.alone && sessions.open < wanted && sessions.idle.len() == sessions.open {
            self.open(&mut sessions, wanted, progress).await?;
        }
        let share = (sessions.open / scans).max(1);
        if taken.load(Ordering::Acquire) >= share {
            return Ok(None);
        }
        let reading = match sessions.idle.pop() {
            Some(session) => Reading { session, shared: true },
            None if taken.load(Ordering::Acquire) > 0 => return Ok(None),
            // Waiting for one might be for ever: whoever holds it may wait for these rows.
            None => {
                let what = "the rows are read once more, as they are a little later than at the first reading; what is \
                            written in between is in one of the two only";
                progress.log("reading", format!("{}: {what}.", self.server.name));
                Reading { session: begin(connect(&self.server).await?).await?, shared: false }
            }
        };
        taken.fetch_add(1, Ordering::AcqRel);
        Ok(Some(reading))
    }

    /// Gives back a connection that has read what it was asked for.
    pub async fn give_back(&self, reading: Reading) {
        if reading.shared {
            self.sessions.lock().await.idle.push(reading.session);
        }
    }

    async fn open(&self, sessions: &mut Sessions, wanted: usize, progress: &Progress) -> Result<(), RunError> {
        *sessions = Sessions::default();
        let all = if wanted == 1 { Err(None) } else { self.together(wanted).await? };
        sessions.idle = match all {
            Ok(all) => all,
            Err(why) => {
                if let Some(why) = why {
                    sessions.alone = true;
                    progress.log(
                        "reading",
                        format!(
                            "{}: one connection reads all pieces, one after the other, since several would not see the same \
                             state of the data: {why}; a user with the privilege LOCK TABLES or RELOAD reads faster.",
                            self.server.name
                        ),
                    );
                }
                vec![begin(connect(&self.server).await?).await?]
            }
        };
        sessions.open = sessions.idle.len();
        Ok(())
    }

    /// Connections that begin in one and the same moment; or why the server does not let them.
    async fn together(&self, count: usize) -> Result<Result<Vec<Session>, Option<String>>, RunError> {
        let sessions = try_join_all((0..count).map(|_| connect(&self.server))).await?;
        let mut locker = connect(&self.server).await?;
        // Where this ends in between, the lock ends at once.
        locker.busy = true;
        if let Err(why) = self.lock(&mut locker).await {
            locker.busy = false;
            return match &why {
                Error::Server(said) => Ok(Err(Some(said.message.clone()))),
                other => Err(fault(&self.server, other).source()),
            };
        }
        let begun = tokio::time::timeout(HELD, try_join_all(sessions.into_iter().map(begin))).await;
        let slow = |_| {
            let why = format!("{count} connections did not begin to read within {} s", HELD.as_secs());
            RunError::new(Kind::SourceUnavailable, format!("{}: {why}", self.server.name))
        };
        let sessions = begun.map_err(slow)??;
        locker.query_drop("UNLOCK TABLES").await.map_err(|e| fault(&self.server, &e).source())?;
        locker.busy = false;
        Ok(Ok(sessions))
    }

    /// Keeps others from writing: into the table, where it is one and the user may, or else at all.
    async fn lock(&self, locker: &mut Session) -> Result<(), Error> {
        locker.query_drop(format!("SET SESSION lock_wait_timeout = {WAIT}")).await?;
        if let Some(table) = &self.table {
            let lock = format!("LOCK TABLES {} READ", table.quoted(Dialect::Mysql));
            if locker.query_drop(lock).await.is_ok() {
                return Ok(());
            }
        }
        locker.query_drop("FLUSH TABLES WITH READ LOCK").await
    }
}

async fn connect(server: &Arc<Server>) -> Result<Session, RunError> {
    let mut session = Session::connect(server).await.map_err(Fault::source)?;
    let level = session.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
    level.map_err(|e| session.fault(&e).source())?;
    Ok(session)
}

async fn begin(mut session: Session) -> Result<Session, RunError> {
    let begun = session.query_drop(BEGIN).await;
    begun.map_err(|e| session.fault(&e).source())?;
    Ok(session)
}
