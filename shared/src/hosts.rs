//! Hosts that the deployment allows connectors to reach wherever they lie.

use std::fmt;
use std::str::FromStr;

/// A host that may be reached although its address is private: `host` (any port) or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// A name in lower case, or an address without brackets.
    host: String,
    /// Any where it is left out.
    port: Option<u16>,
}

/// What is wrong with a text that should name a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host or host:port, such as api.internal or 127.0.0.1:8080")]
pub struct NoHost(String);

impl AllowedHost {
    /// Whether `host`, as a URL spells it, at `port` is meant.
    pub fn is(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        self.host.eq_ignore_ascii_case(host) && self.port.is_none_or(|own| own == port)
    }

    /// Several, with commas between them.
    ///
    /// # Errors
    /// The first that is none.
    pub fn list(text: &str) -> Result<Vec<Self>, NoHost> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::from_str).collect()
    }
}

impl FromStr for AllowedHost {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let fault = || NoHost(text.to_owned());
        // The rules of URLs, so that an address means the same here and there.
        let url = url::Url::parse(&format!("http://{text}/")).map_err(|_| fault())?;
        let host = url.host_str().ok_or_else(fault)?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !plain || url.password().is_some() || text.contains('/') {
            return Err(fault());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned();
        // A URL leaves out the port 80.
        let port = if text.ends_with(":80") { Some(80) } else { url.port() };
        Ok(Self { host, port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => write!(f, "{host}:{port}"),
            None => write!(f, "{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_met_by_name_and_port() {
        let list = AllowedHost::list("API.internal, 127.0.0.1:8080,[::1]:80").unwrap();
        assert_eq!(
            list.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["api.internal", "127.0.0.1:8080", "[::1]:80"]
        );
        let met = |host: &str, port| list.iter().any(|h| h.is(host, port));
        assert!(met("api.internal", 443) && met("api.internal.", 1) && met("127.0.0.1", 8080) && met("[::1]", 80));
        assert!(!met("127.0.0.1", 8081) && !met("x.api.internal", 443) && !met("[::1]", 81));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for wrong in ["http://a", "a/b", "a b", "a@b", "a:b", ":80", "a?x", "*.internal/"] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong}");
        }
        assert_eq!(AllowedHost::list(" , "), Ok(Vec::new()));
    }
}
