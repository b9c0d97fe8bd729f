//! Connections to PostgreSQL.

use super::{CONNECT, Fault, Server, tls};
use shared::models::connector::SslMode;
use std::error::Error as _;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_postgres::{CancelToken, Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection. One that is dropped while it is [`Session::busy`] is cut off and its statement cancelled; any other says
/// goodbye.
pub struct Session {
    client: Client,
    pub server: Arc<Server>,
    task: AbortHandle,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
    busy: AtomicBool,
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session at {:?}", self.server)
    }
}

impl Session {
    /// Connects. The session's limits on time are lifted, since a run has its own.
    ///
    /// # Errors
    /// Where nobody answers, the user is refused, or the encryption is not as it must be.
    pub async fn connect(server: &Arc<Server>) -> Result<Self, Fault> {
        let tls = MakeRustlsConnect::new(
            tls::client(server.ssl, server.roots.as_deref()).map_err(|why| server.refused(why))?,
        );
        let mut config = Config::new();
        config
            .host(&server.host)
            .port(server.port)
            .dbname(&server.database)
            .user(&server.user)
            .application_name("flowgate")
            .keepalives_idle(Duration::from_secs(60))
            .keepalives_interval(Duration::from_secs(15))
            .connect_timeout(CONNECT)
            .ssl_mode(match server.ssl {
                SslMode::Disable => tokio_postgres::config::SslMode::Disable,
                SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                SslMode::Require | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
            });
        if let Some(password) = &server.password {
            config.password(password);
        }
        let connected = tokio::time::timeout(CONNECT, config.connect(tls.clone())).await;
        let (client, connection) = connected.map_err(|_| server.too_slow())?.map_err(|e| fault(server, &e))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        })
        .abort_handle();
        let cancel = client.cancel_token();
        let busy = AtomicBool::new(false);
        let session = Self { client, server: Arc::clone(server), task, cancel, tls, busy };
        // Asked for by name, since older servers do not know all of them.
        const LIMITS: &str = "SELECT count(set_config(name, '0', false)) FROM pg_catalog.pg_settings WHERE name IN \
                              ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
                              'transaction_timeout')";
        session.simple_query(LIMITS).await.map_err(|e| session.fault(&e))?;
        Ok(session)
    }

    /// Says whether a statement is under way that must not go on alone.
    pub fn busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// An error of this session.
    pub fn fault(&self, error: &Error) -> Fault {
        fault(&self.server, error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !*self.busy.get_mut() {
            return;
        }
        self.task.abort();
        let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // A statement that gives no rows yet would not notice that nobody listens any more.
                let _ = tokio::time::timeout(CONNECT, cancel.cancel_query(tls)).await;
            });
        }
    }
}

/// What an error means, in words.
pub fn fault(server: &Server, error: &Error) -> Fault {
    if let Some(said) = error.as_db_error() {
        let mut text = said.message().to_owned();
        for more in [said.detail(), said.hint()].into_iter().flatten() {
            text = format!("{text}. {}", more.trim_end_matches('.'));
        }
        return match said.code().code() {
            "28P01" | "28000" => {
                server.refused(format!("the server refuses the user {:?}: {text}; check authConfig", server.user))
            }
            "3D000" => server.refused(format!("there is no database {:?} on the server: {text}", server.database)),
            "42501" => server.refused(format!("the user {:?} may not do this: {text}", server.user)),
            code if is_passing(code) => server.away(format!("the database is busy or going away: {text}")),
            code => server.refused(format!("the database says: {text} (SQLSTATE {code})")),
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    if text.contains("TLS") || text.contains("certificate") {
        let sslmode = "see the connector's sslMode";
        return server
            .refused(format!("no encrypted connection to {} is possible: {text}; {sslmode}", server.address()));
    }
    if text.contains("password missing") || text.contains("invalid configuration") {
        return server.refused(format!("the server asks the user {:?} for a password: {text}", server.user));
    }
    server.away(format!("the connection to {} failed: {text}", server.address()))
}

/// Whether the same may work in a moment: lost connections, too many of them, conflicts, a server that stops.
fn is_passing(code: &str) -> bool {
    ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class)) || code == "55P03" || code == "25P03"
}
