//! Asks an API: headers, proof, redirects, tries again where that can help, and never holds more than it may.

use super::super::chunk::excerpt;
use super::super::http::{Client, Failure, Reach};
use super::super::place::fault;
use super::auth::{self, Secrets};
use super::patience::{Pace, Patience, retry_after};
use crate::engine::job::{Connector, Settings};
use crate::error::{Kind, RunError};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Request, Response, StatusCode};
use shared::clock::Clock;
use shared::models::connector::{HttpMethod, RestApiConfig};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use url::Url;

/// The most bytes of one answer.
pub const MAX_ANSWER: usize = 64 << 20;
/// Redirects that are followed for one page.
const MAX_REDIRECTS: usize = 5;
/// Characters of an answer that a message shows.
const SHOWN: usize = 200;

/// An API, and how it is asked.
#[derive(Debug)]
pub struct Api {
    /// Such as `connector "orders"`, for messages.
    pub name: String,
    /// Where the pages are, with the node's path.
    pub url: Url,
    client: Client,
    method: Method,
    /// For the API's own origin; those that are secret too.
    headers: HeaderMap,
    body: Option<Bytes>,
    pub secrets: Secrets,
    pace: Arc<Pace>,
    patience: Patience,
    /// Pages that came.
    pub pages: Arc<AtomicU64>,
}

/// What an API answered.
#[derive(Debug)]
pub struct Answer {
    /// Where it came from in the end.
    pub url: Url,
    pub text: String,
    /// Its headers `Link`.
    pub links: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The API says that there is nothing at this address.
    Missing(RunError),
    Refused(RunError),
}

impl From<NoAnswer> for RunError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Missing(error) | NoAnswer::Refused(error) => error,
        }
    }
}

/// Why there is no answer yet.
enum Trouble {
    /// The next try may succeed, after the pause that the API asks for.
    Passing(String, Option<Duration>),
    Final(RunError),
    /// There is nothing at the address.
    Missing(RunError),
}

impl Api {
    /// The API of a connector; `path` is put behind its URL.
    ///
    /// # Errors
    /// `Kind::Source` where the config cannot be used.
    pub fn new(
        connector: &Connector,
        config: &RestApiConfig,
        path: Option<&str>,
        settings: &Settings,
        patience: Patience,
    ) -> Result<Self, RunError> {
        let name = format!("connector {:?}", connector.name);
        let proof = auth::proof(&name, connector.auth.as_ref())?;
        let mut headers = own_headers(&name, config)?;
        headers.extend(
            proof.header.map(|(header, value)| (Some(header), value)).into_iter().flat_map(|(h, v)| h.map(|h| (h, v))),
        );
        let method = match config.method.unwrap_or_default() {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
        };
        let body = config.body.as_ref().filter(|_| method == Method::POST).map(|body| Bytes::from(body.to_string()));
        Ok(Self {
            url: address(&name, &config.url, path)?,
            client: Client::new(Reach::Public, &settings.http_allowed_hosts, patience.silence)?,
            method,
            headers,
            body,
            secrets: proof.secrets,
            pace: Pace::of(&connector.id, config.rate_limit),
            patience,
            pages: Arc::default(),
            name,
        })
    }

    /// An error about an answer from `url`, without secrets.
    pub fn fault(&self, url: &Url, what: &str) -> RunError {
        fault(self.say(url, what))
    }

    fn say(&self, url: &Url, what: &str) -> String {
        self.secrets.hide(&format!("{}: {} {what}", self.name, shown(url)))
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// `Kind::Source` where the API refuses, or answers what cannot be read; `Kind::SourceUnavailable` where it does not
    /// answer, after some tries.
    pub async fn ask(&self, url: &Url) -> Result<Answer, RunError> {
        self.ask_for(url).await.map_err(RunError::from)
    }

    /// The same; tells an address at which there is nothing from other errors.
    ///
    /// # Errors
    /// As [`Api::ask`].
    pub async fn ask_for(&self, url: &Url) -> Result<Answer, NoAnswer> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(url).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Missing(error)) => return Err(NoAnswer::Missing(error)),
                Err(Trouble::Final(error)) => return Err(NoAnswer::Refused(error)),
                Err(Trouble::Passing(what, wanted)) => {
                    if tries >= self.patience.tries {
                        let often = if tries > 1 { format!(" (asked {tries} times)") } else { String::new() };
                        let error = RunError::new(Kind::SourceUnavailable, self.say(url, &format!("{what}{often}")));
                        return Err(NoAnswer::Refused(error));
                    }
                    let pause = self.patience.pause(tries, wanted);
                    tracing::debug!(url = shown(url), ?pause, "an API is asked again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn once(&self, start: &Url) -> Result<Answer, Trouble> {
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.pace.turn().await;
            let response = self.client.send(self.request(&url)).await.map_err(|failure| self.failed(&url, failure))?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location.map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned()) else {
                return self.read(url, response).await;
            };
            let keeps_method =
                matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            url = self.hop(&url, &location, "redirects").map_err(Trouble::Final)?;
            if self.method == Method::POST && !keeps_method {
                let what = format!(
                    "answers a POST with a redirect to {}; set the connector's url to that address",
                    shown(&url)
                );
                return Err(Trouble::Final(self.fault(start, &what)));
            }
        }
        Err(Trouble::Final(self.fault(start, &format!("redirects more than {MAX_REDIRECTS} times"))))
    }

    /// The address to which an answer from `from` leads on.
    ///
    /// # Errors
    /// `Kind::Source` where it must not be followed.
    pub fn hop(&self, from: &Url, to: &str, how: &str) -> Result<Url, RunError> {
        let fault = |why: &str| self.fault(from, &format!("{how} to {why}"));
        let mut url = from.join(to.trim()).map_err(|_| fault("what is not an address"))?;
        url.set_fragment(None);
        let place = shown(&url);
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(fault(&format!("{place}, which is not an http or https address")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fault(&format!("{place} with a user or a password in the address, which is not followed")));
        }
        if from.scheme() == "https" && url.scheme() == "http" {
            return Err(fault(&format!("{place}, which is not encrypted; it is not followed")));
        }
        if self.method == Method::POST && url.origin() != self.url.origin() {
            return Err(fault(&format!("{place}, another host, to which nothing is posted")));
        }
        Ok(url)
    }

    fn request(&self, url: &Url) -> Request {
        let mut request = Request::new(self.method.clone(), url.clone());
        // Other hosts get nothing of ours: neither the proof nor any other header.
        if url.origin() == self.url.origin() {
            *request.headers_mut() = self.headers.clone();
            if let Some(body) = &self.body {
                request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                *request.body_mut() = Some(body.clone().into());
            }
        }
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        *request.timeout_mut() = Some(self.patience.answer);
        request
    }

    fn failed(&self, url: &Url, failure: Failure) -> Trouble {
        match failure {
            Failure::Forbidden(_) | Failure::Url(_) => {
                Trouble::Final(self.fault(url, &format!("is not asked: {failure}")))
            }
            Failure::Http(e) if e.is_timeout() => Trouble::Passing("does not answer in time".to_owned(), None),
            Failure::Http(_) => Trouble::Passing(format!("cannot be reached: {failure}"), None),
        }
    }

    async fn read(&self, url: Url, response: Response) -> Result<Answer, Trouble> {
        let status = response.status();
        let headers = response.headers();
        let wanted = headers.get(RETRY_AFTER).and_then(|h| h.to_str().ok());
        let wanted = wanted.and_then(|text| retry_after(text, Clock::default().now()));
        let links = headers.get_all(LINK).iter().filter_map(|link| Some(link.to_str().ok()?.to_owned())).collect();
        let encoding =
            headers.get(CONTENT_ENCODING).and_then(|e| e.to_str().ok()).filter(|e| *e != "identity").map(str::to_owned);
        if !status.is_success() {
            return Err(self.refused(&url, response, wanted).await);
        }
        if let Some(encoding) = encoding {
            return Err(Trouble::Final(self.fault(&url, &format!("answers in {encoding:?}, which was not asked for"))));
        }
        let body = self.body(&url, response).await?;
        let body = body.strip_prefix(b"\xef\xbb\xbf".as_slice()).map(<[u8]>::to_vec).unwrap_or(body);
        let text = String::from_utf8(body).map_err(|e| {
            let what = format!("answers what is not UTF-8 (byte {})", e.utf8_error().valid_up_to() + 1);
            Trouble::Final(self.fault(&url, &what))
        })?;
        // No content is no records.
        let text = if text.trim().is_empty() && status == StatusCode::NO_CONTENT { "[]".to_owned() } else { text };
        Ok(Answer { url, text, links })
    }

    async fn body(&self, url: &Url, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let too_large = || {
            let what = format!("answers more than {} MB at once; ask for smaller pages", MAX_ANSWER >> 20);
            Trouble::Final(self.fault(url, &what))
        };
        if response.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(body),
                Ok(Some(bytes)) if body.len() + bytes.len() > MAX_ANSWER => return Err(too_large()),
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Err(e) if e.is_timeout() => {
                    return Err(Trouble::Passing("stops in the middle of its answer".to_owned(), None));
                }
                Err(e) => {
                    let failure = Failure::Http(e.without_url());
                    return Err(Trouble::Passing(format!("breaks off in the middle of its answer: {failure}"), None));
                }
            }
        }
    }

    /// What a status that is no success means.
    async fn refused(&self, url: &Url, mut response: Response, wanted: Option<Duration>) -> Trouble {
        let status = response.status();
        let mut said = Vec::new();
        while said.len() < 4 * SHOWN {
            match response.chunk().await {
                Ok(Some(bytes)) => said.extend_from_slice(&bytes),
                _ => break,
            }
        }
        let mut what = format!("answers {status}");
        let said = excerpt(said.trim_ascii(), SHOWN);
        if !said.is_empty() {
            what = format!("{what}: {said:?}");
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Trouble::Final(self.fault(url, &format!("{what}; check the connector's authMethod and authConfig")))
            }
            StatusCode::NOT_FOUND => Trouble::Missing(self.fault(url, &what)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Trouble::Passing(what, wanted)
            }
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                Trouble::Final(self.fault(url, &what))
            }
            status if status.is_server_error() => Trouble::Passing(what, wanted),
            _ => Trouble::Final(self.fault(url, &what)),
        }
    }
}

/// An address for messages: what follows a question mark may be secret.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn own_headers(name: &str, config: &RestApiConfig) -> Result<HeaderMap, RunError> {
    let mut headers = HeaderMap::new();
    for (key, value) in config.headers.iter().flatten() {
        let fits = HeaderName::from_bytes(key.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let Some((key, value)) = fits else {
            return Err(fault(format!("{name}: the header {key:?} has a name or a value that cannot be sent")));
        };
        headers.insert(key, value);
    }
    Ok(headers)
}

/// A connector's URL with the path of a node behind it, which may have a query.
fn address(name: &str, base: &str, path: Option<&str>) -> Result<Url, RunError> {
    // The URL is not shown: people put secrets into it.
    let base = Url::parse(base).map_err(|_| fault(format!("{name}: its url is not a URL")))?;
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(base) };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let root = base.path().trim_end_matches('/');
    let mut url = base.clone();
    if !path.is_empty() {
        url.set_path(&format!("{root}/{}", path.trim_start_matches('/')));
    }
    if query.is_some() {
        url.set_query(query);
    }
    // `..` and its spellings lead out of the connector's URL.
    let inside = url.path().strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match inside && url.origin() == base.origin() {
        true => Ok(url),
        false => Err(fault(format!("{name}: the path {path:?} leaves the connector's url; name one below it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_behind_the_url_and_stays_there() {
        let of = |base: &str, path: &str| address("c", base, Some(path)).map(|url| url.to_string());
        assert_eq!(of("https://a.b/v1", "/orders").unwrap(), "https://a.b/v1/orders");
        assert_eq!(of("https://a.b/v1/", "orders/x y?a=b&c=d").unwrap(), "https://a.b/v1/orders/x%20y?a=b&c=d");
        assert_eq!(of("https://a.b", "?a=b").unwrap(), "https://a.b/?a=b");
        assert_eq!(of("https://a.b/v1", "https://c.d/x").unwrap(), "https://a.b/v1/https://c.d/x");
        assert_eq!(of("https://a.b/v1", "//c.d/x").unwrap(), "https://a.b/v1/c.d/x");
        for path in ["..", "../v2", "%2e%2e/v2", "a/../../v2", ".%2E\\v2"] {
            assert!(of("https://a.b/v1", path).unwrap_err().message.contains("leaves"), "{path}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        assert_eq!(shown(&Url::parse("https://u:p@a.b/c?token=HUSH#x").unwrap()), "https://a.b/c");
    }
}
