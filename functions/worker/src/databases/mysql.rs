//! Connections to MySQL and MariaDB.

use super::{CONNECT, Fault, Server, tls};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};
use shared::models::connector::SslMode;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// A connection. One that is dropped while it is [`Session::busy`] is killed at the server; any other says goodbye.
pub struct Session {
    conn: Conn,
    pub server: Arc<Server>,
    pub busy: bool,
}

impl Deref for Session {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Session {
    /// Connects. Times are in UTC, and a slow reader is waited for.
    ///
    /// # Errors
    /// Where nobody answers, the user is refused, or the encryption is not as it must be.
    pub async fn connect(server: &Arc<Server>) -> Result<Self, Fault> {
        let conn = tokio::time::timeout(CONNECT, connect(server)).await.map_err(|_| server.too_slow())??;
        let mut session = Self { conn, server: Arc::clone(server), busy: false };
        const LIMITS: &str = "SET SESSION time_zone = '+00:00', net_write_timeout = 7200, net_read_timeout = 7200, \
                              wait_timeout = 28800";
        session.conn.query_drop(LIMITS).await.map_err(|e| session.fault(&e))?;
        Ok(session)
    }

    /// An error of this session.
    pub fn fault(&self, error: &Error) -> Fault {
        fault(&self.server, error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.busy {
            return;
        }
        let (server, id) = (Arc::clone(&self.server), self.conn.id());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // Without it the rest of a result would be read to its end before the connection closes.
                if let Ok(Ok(mut other)) = tokio::time::timeout(CONNECT, connect(&server)).await {
                    let _ = other.query_drop(format!("KILL {id}")).await;
                    let _ = other.disconnect().await;
                }
            });
        }
    }
}

async fn connect(server: &Server) -> Result<Conn, Fault> {
    tls::choose();
    let plain = OptsBuilder::default()
        .ip_or_hostname(&server.host)
        .tcp_port(server.port)
        .db_name(Some(&server.database))
        .user(Some(&server.user))
        .pass(server.password.clone())
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .prefer_socket(false);
    let any = SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    let encrypted = match server.ssl {
        SslMode::Disable => None,
        SslMode::Prefer | SslMode::Require => Some(any),
        SslMode::VerifyFull => {
            let options = SslOpts::default();
            Some(match &server.roots {
                Some(given) => {
                    // What it says of certificates that cannot be read is better than what the driver says.
                    tls::client(server.ssl, Some(given)).map_err(|why| server.refused(why))?;
                    options.with_root_certs(vec![given.clone().into_bytes().into()]).with_disable_built_in_roots(true)
                }
                None => {
                    let roots = tls::system_roots().into_iter().map(|path| path.to_path_buf().into()).collect();
                    options.with_root_certs(roots)
                }
            })
        }
    };
    let said = match Conn::new(plain.clone().ssl_opts(encrypted)).await {
        // A server that cannot encrypt says so before any password is sent.
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if server.ssl == SslMode::Prefer => {
            Conn::new(plain).await
        }
        said => said,
    };
    said.map_err(|e| fault(server, &e))
}

/// The error of the encryption itself, such as a certificate that is not believed.
fn of_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| of_tls(inner.downcast_ref()?))
}

fn not_encrypted(server: &Server, why: &dyn std::fmt::Display) -> Fault {
    server.refused(format!(
        "no encrypted connection to {} is possible: {why}; see the connector's sslMode",
        server.address()
    ))
}

/// What an error means, in words.
pub fn fault(server: &Server, error: &Error) -> Fault {
    if let Error::Io(IoError::Io(why)) = error
        && let Some(why) = of_tls(why)
    {
        return not_encrypted(server, why);
    }
    match error {
        Error::Server(said) => {
            let text = &said.message;
            match said.code {
                1044 | 1045 | 1698 => {
                    server.refused(format!("the server refuses the user {:?}: {text}; check authConfig", server.user))
                }
                1049 => server.refused(format!("there is no database {:?} on the server: {text}", server.database)),
                1142 | 1143 | 1227 | 1370 => {
                    server.refused(format!("the user {:?} may not do this: {text}", server.user))
                }
                // Too many connections, a server that stops, lost connections, locks, a killed statement, limits on time.
                1040 | 1053 | 1077 | 1152..=1161 | 1184 | 1203 | 1205 | 1213 | 1317 | 1927 | 1969 | 3024 | 4031 => {
                    server.away(format!("the database is busy or going away: {text}"))
                }
                code => server.refused(format!("the database says: {text} (error {code})")),
            }
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => server.refused(format!(
            "no encrypted connection to {} is possible: the server does not offer it; see the connector's sslMode",
            server.address()
        )),
        Error::Io(IoError::Tls(why)) => not_encrypted(server, why),
        Error::Driver(
            why @ (DriverError::UnknownAuthPlugin { .. }
            | DriverError::CleartextPluginDisabled
            | DriverError::MysqlOldPasswordDisabled),
        ) => server.refused(format!("the server asks for a way to log in that is not supported: {why}")),
        other => server.away(format!("the connection to {} failed: {other}", server.address())),
    }
}
