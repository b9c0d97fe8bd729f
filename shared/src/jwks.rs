//! An issuer's published keys: fetched when first needed, kept for an hour, and fetched anew for a key that is not among them.

use crate::aws::Chain;
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::Mutex;
use url::{Host, Url};

/// How long fetched keys are taken for the issuer's.
const FRESH: Duration = Duration::hours(1);

/// How long they are used beyond that while the issuer does not answer.
const STALE: Duration = Duration::hours(24);

/// Fewest time between two fetches, so that made-up key ids can't be used to hammer the issuer …
const PAUSE: Duration = Duration::seconds(30);

/// … and after one that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::seconds(5);

/// Longest a fetch may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Largest answer that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// Why an issuer's keys can't be had.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The address is not one.
    #[error("{url:?} is not a URL")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// Keys that come over an open line could be anybody's.
    #[error("{0:?} must begin with https:// (http:// is for this machine only)")]
    Insecure(String),
    /// The issuer does not answer.
    #[error("the issuer does not answer: {0}")]
    Fetch(String),
    /// The issuer answers something else.
    #[error("the issuer answers with status {0}")]
    Status(u16),
    /// The answer is too large.
    #[error("the issuer's answer is larger than {LARGEST} bytes")]
    TooLarge,
    /// The answer is not a key set.
    #[error("the issuer's answer is not a key set")]
    NotAKeySet(#[source] serde_json::Error),
    /// None of its keys can be used here.
    #[error("the issuer's key set holds no key for RS256 or ES256")]
    NoKeys,
    /// Nobody asked the issuer yet.
    #[error("the issuer was not asked yet")]
    NotAsked,
}

/// Why there is no key for a token.
#[derive(Debug)]
pub(crate) enum KeyError {
    /// The issuer has no such key.
    Unknown,
    /// The token names none, and there are several.
    Unnamed,
    /// The issuer can't be asked.
    Unavailable(Arc<JwksError>),
}

/// The key set at one address.
#[derive(Debug)]
pub(crate) struct Jwks {
    url: Url,
    timeout: std::time::Duration,
    client: OnceLock<reqwest::Client>,
    state: RwLock<Arc<State>>,
    /// Held by the one that fetches.
    fetching: Mutex<()>,
}

/// What is known at a time.
#[derive(Debug, Default)]
struct State {
    keys: Vec<PublicKey>,
    /// When `keys` were fetched.
    fetched: Option<DateTime<Utc>>,
    /// When the issuer was last asked.
    asked: Option<DateTime<Utc>>,
    /// What went wrong then.
    error: Option<Arc<JwksError>>,
}

#[derive(Debug, Clone)]
struct PublicKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

impl Jwks {
    /// The key set at `url`; nothing is fetched yet.
    ///
    /// # Errors
    /// Where it is no URL, or one that is not https and not on this machine.
    pub fn new(url: &str) -> Result<Self, JwksError> {
        let parsed = Url::parse(url).map_err(|source| JwksError::Url { url: url.to_owned(), source })?;
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_loopback(&parsed)) {
            return Err(JwksError::Insecure(url.to_owned()));
        }
        Ok(Self {
            url: parsed,
            timeout: TIMEOUT,
            client: OnceLock::new(),
            state: RwLock::default(),
            fetching: Mutex::default(),
        })
    }

    /// The key that `kid` names, or the only one where it names none.
    pub async fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: DateTime<Utc>,
    ) -> Result<Arc<DecodingKey>, KeyError> {
        let state = self.state();
        let known = state.find(kid, algorithm);
        if !state.should_ask(known.is_ok(), now) {
            return state.answer(known, now);
        }
        let turn = if known.is_ok() && state.usable(now) {
            // One fetches, the others go on with what is there.
            match self.fetching.try_lock() {
                Ok(turn) => turn,
                Err(_) => return state.answer(known, now),
            }
        } else {
            self.fetching.lock().await
        };
        // Somebody else may have asked while we waited for our turn.
        if Arc::ptr_eq(&state, &self.state()) {
            let fetched = self.fetch().await;
            self.remember(fetched, now);
        }
        drop(turn);
        let state = self.state();
        state.answer(state.find(kid, algorithm), now)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn remember(&self, fetched: Result<Vec<PublicKey>, JwksError>, now: DateTime<Utc>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(match fetched {
            Ok(keys) => State { keys, fetched: Some(now), asked: Some(now), error: None },
            Err(error) => {
                tracing::warn!(url = %self.url, error = %Chain::new(&error), "the token issuer's keys cannot be fetched");
                State {
                    keys: state.keys.clone(),
                    fetched: state.fetched,
                    asked: Some(now),
                    error: Some(Arc::new(error)),
                }
            }
        });
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, JwksError> {
        let failed = |error: reqwest::Error| JwksError::Fetch(Chain::new(error).to_string());
        let mut response = self.client()?.get(self.url.clone()).send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(JwksError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(JwksError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        keys_of(&body)
    }

    /// The client, made when it is first needed: it reads the system's root certificates.
    fn client(&self) -> Result<reqwest::Client, JwksError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder().timeout(self.timeout).redirect(reqwest::redirect::Policy::none());
        if is_loopback(&self.url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| JwksError::Fetch(Chain::new(error).to_string()))?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

impl State {
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Arc<DecodingKey>, KeyError> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        let found = match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => match (fitting.next(), fitting.next()) {
                (Some(_), Some(_)) => return Err(KeyError::Unnamed),
                (first, _) => first,
            },
        };
        found.map(|found| Arc::clone(&found.key)).ok_or(KeyError::Unknown)
    }

    /// Whether the issuer should be asked: for a key that is not known, or where what is known is old.
    fn should_ask(&self, known: bool, now: DateTime<Utc>) -> bool {
        let pause = if self.error.is_some() { PAUSE_AFTER_FAILURE } else { PAUSE };
        let paused = self.asked.is_some_and(|asked| now - asked < pause);
        let fresh = self.fetched.is_some_and(|fetched| now - fetched < FRESH);
        !(paused || known && fresh)
    }

    fn usable(&self, now: DateTime<Utc>) -> bool {
        self.fetched.is_some_and(|fetched| now - fetched < FRESH + STALE)
    }

    /// What was found, unless it is too old, or may be missing only because the issuer did not answer.
    fn answer(
        &self,
        found: Result<Arc<DecodingKey>, KeyError>,
        now: DateTime<Utc>,
    ) -> Result<Arc<DecodingKey>, KeyError> {
        let unavailable = || KeyError::Unavailable(self.error.clone().unwrap_or_else(|| Arc::new(JwksError::NotAsked)));
        match found {
            _ if !self.usable(now) => Err(unavailable()),
            Err(KeyError::Unknown) if self.error.is_some() => Err(unavailable()),
            found => found,
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The keys of a set that can be used here. Others, also of kinds that are not known, are left out.
fn keys_of(body: &[u8]) -> Result<Vec<PublicKey>, JwksError> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Vec<Value>,
    }
    let set: KeySet = serde_json::from_slice(body).map_err(JwksError::NotAKeySet)?;
    let keys: Vec<_> = set.keys.into_iter().filter_map(|key| public_key(serde_json::from_value(key).ok()?)).collect();
    if keys.is_empty() { Err(JwksError::NoKeys) } else { Ok(keys) }
}

/// The key with the algorithm that its kind allows. Symmetric keys in a published set are nobody's secret and are left out.
fn public_key(jwk: Jwk) -> Option<PublicKey> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::EllipticCurve(key), None | Some(KeyAlgorithm::ES256))
            if key.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        _ => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(PublicKey { kid: jwk.common.key_id, algorithm, key: Arc::new(key) })
}

#[cfg(test)]
pub(crate) mod tests;
