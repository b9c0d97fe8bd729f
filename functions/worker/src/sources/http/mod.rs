//! The client of connectors that speak HTTP: it reaches public addresses, and hosts that the deployment allows by name.

mod guard;
pub mod store;

pub use guard::{Forbidden, Reach};

use crate::error::{Kind, RunError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use shared::hosts::AllowedHost;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);

/// A client that looks at each address before it connects, follows no redirect by itself, and uses no proxy of the
/// environment.
#[derive(Debug, Clone)]
pub struct Client {
    reach: Reach,
    allowed: Arc<[AllowedHost]>,
    /// For hosts that the deployment does not name.
    guarded: reqwest::Client,
    /// For hosts that it names.
    open: reqwest::Client,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address may not be reached.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// The URL cannot be asked.
    #[error("{0}")]
    Url(&'static str),
    /// The network, or the server's HTTP or TLS; without the URL, which may hold secrets.
    #[error("{}", chain(.0))]
    Http(reqwest::Error),
}

impl Client {
    /// A client that waits `silence` for the next byte.
    ///
    /// # Errors
    /// `Kind::Internal` where the system's certificates cannot be read.
    pub fn new(reach: Reach, allowed: &[AllowedHost], silence: Duration) -> Result<Self, RunError> {
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .referer(false)
                .connect_timeout(CONNECT)
                .read_timeout(silence)
                .user_agent(concat!("flowgate/", env!("CARGO_PKG_VERSION")))
        };
        let failed =
            |e: reqwest::Error| RunError::new(Kind::Internal, format!("no HTTP client can be made: {}", chain(&e)));
        Ok(Self {
            reach,
            allowed: allowed.into(),
            guarded: builder().dns_resolver(Arc::new(Guarded(reach))).build().map_err(failed)?,
            open: builder().build().map_err(failed)?,
        })
    }

    /// Sends one request and answers what comes, redirects too.
    ///
    /// # Errors
    /// As [`Failure`] says; a status is none.
    pub async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, Failure> {
        let client = self.client_for(request.url())?;
        client.execute(request).await.map_err(|error| match forbidden(&error) {
            Some(forbidden) => Failure::Forbidden(forbidden.clone()),
            None => Failure::Http(error.without_url()),
        })
    }

    /// Looks whether a host may be reached, before anything is sent.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub async fn check(&self, url: &Url) -> Result<(), Failure> {
        let client = self.client_for(url)?;
        let (true, Some(Host::Domain(host))) = (std::ptr::eq(client, &self.guarded), url.host()) else { return Ok(()) };
        // A name that is not found shows when it is asked.
        let found = tokio::net::lookup_host((host, 0)).await.into_iter().flatten();
        match found.filter_map(|a| Some((a.ip(), self.reach.refuses(a.ip())?))).next() {
            Some((ip, kind)) => Err(Failure::Forbidden(Forbidden { host: host.to_owned(), ip, kind })),
            None => Ok(()),
        }
    }

    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        let (true, Some(host), Some(port)) =
            (matches!(url.scheme(), "http" | "https"), url.host(), url.port_or_known_default())
        else {
            return Err(Failure::Url("the address is not an http or https URL"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure::Url("the address holds a user or a password"));
        }
        if self.allowed.iter().any(|allowed| allowed.is(&host.to_string(), port)) {
            return Ok(&self.open);
        }
        // A name is looked at when it is resolved; what is an address already is not resolved.
        let ip = match host {
            Host::Domain(_) => return Ok(&self.guarded),
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
        };
        match self.reach.refuses(ip) {
            Some(kind) => Err(Failure::Forbidden(Forbidden { host: host.to_string(), ip, kind })),
            None => Ok(&self.guarded),
        }
    }
}

/// Resolves names, and refuses those that lead to an address that may not be reached.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &found {
                // One bad address is enough: which of them is taken is not ours to say.
                if let Some(kind) = reach.refuses(address.ip()) {
                    return Err(Forbidden { host, ip: address.ip(), kind }.into());
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn forbidden<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Forbidden> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref() {
            return Some(forbidden);
        }
        cause = error.source();
    }
    None
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        if !text.contains(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
