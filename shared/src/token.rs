//! Bearer tokens: which are accepted, and what they say about the caller.

use crate::config::TokenConfig;
use crate::jwks::{Jwks, JwksError, KeyError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How far the issuer's clock may be off.
const LEEWAY: Duration = Duration::seconds(30);

/// Longest token that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;

/// Fewest bytes of a secret for HS256: as many as its hash has.
const SHORTEST_SECRET: usize = 32;

/// What a deployment may accept, as tokens write it.
const KNOWN: [(&str, Algorithm); 3] =
    [("HS256", Algorithm::HS256), ("RS256", Algorithm::RS256), ("ES256", Algorithm::ES256)];

/// What is wrong with the settings for tokens.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// An algorithm that is not known.
    #[error("FLOWGATE_JWT_ALGORITHMS names {0:?}; HS256, RS256 and ES256 are known")]
    Algorithm(String),
    /// HS256 without a secret, or with a short one.
    #[error("HS256 needs FLOWGATE_JWT_SECRET with at least {SHORTEST_SECRET} bytes; it has {0}")]
    Secret(usize),
    /// RS256 or ES256 without a key set.
    #[error("{0} needs FLOWGATE_JWKS_URL")]
    NoJwksUrl(&'static str),
    /// The URL cannot be used.
    #[error("FLOWGATE_JWKS_URL: {0}")]
    JwksUrl(#[source] JwksError),
}

/// Why a token is refused. The texts are safe to show to the caller.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no `Authorization` header.
    #[error("a token is needed: send the header `Authorization: Bearer <token>`")]
    Missing,
    /// The header is of another kind.
    #[error("the Authorization header must be `Bearer`, a space and one token")]
    NotBearer,
    /// It has not the form of a signed JWT.
    #[error(
        "the token is not a signed JWT: that has a header, claims and a signature in base64url, with dots between them"
    )]
    Malformed,
    /// It is longer than any that is looked at.
    #[error("the token is longer than {LONGEST} bytes")]
    TooLong,
    /// It is signed with something that this deployment does not accept, or not signed at all.
    #[error("the token's algorithm {found:?} is not accepted here; {accepted} is")]
    Algorithm {
        /// What its header says, shortened.
        found: String,
        /// What would be accepted.
        accepted: String,
    },
    /// Its header demands what is not known here.
    #[error("the token's header names critical extensions (`crit`), which are not supported")]
    Critical,
    /// It was altered, or signed with another key.
    #[error("the token's signature does not match")]
    Signature,
    /// The issuer has no such key.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// Its header names no key, and the issuer has several.
    #[error("the token's header names no key (`kid`), and its issuer has several")]
    UnnamedKey,
    /// The issuer's keys are needed and can't be had: not the caller's fault.
    #[error("the token issuer's keys cannot be fetched")]
    JwksUnavailable(#[source] Arc<JwksError>),
    /// A claim is missing, or of another kind.
    #[error("the token's claim `{claim}` must be {wanted}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// Its time is over.
    #[error("the token expired at {}", crate::clock::rfc3339(*.0))]
    Expired(DateTime<Utc>),
    /// Its time has not come.
    #[error("the token is not valid before {}", crate::clock::rfc3339(*.0))]
    NotYetValid(DateTime<Utc>),
    /// It was made by somebody else.
    #[error("the token's issuer (`iss`) is not the one that is trusted here")]
    Issuer,
    /// It was made for somebody else.
    #[error("the token is not meant for this service (`aud`)")]
    Audience,
}

/// What an accepted token says about the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who calls.
    pub sub: String,
    /// The tenant, where the claim is there and a text that is not empty.
    pub tenant: Option<String>,
    /// All roles that are named, as they are written.
    pub roles: Vec<String>,
}

/// Checks tokens as the deployment says. It never takes a secret for a public key or the other way round: which key is used
/// follows from the algorithm, and which algorithms are accepted from the settings.
#[derive(Debug)]
pub struct Verifier {
    accepted: Vec<(&'static str, Algorithm)>,
    secret: Option<Arc<DecodingKey>>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    tenant_claim: String,
    role_claims: Vec<String>,
}

/// The part of a token's header that decides how it is checked.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Verifier {
    /// A verifier with these settings. Without algorithms it refuses every token: what is not called over HTTP needs none.
    ///
    /// # Errors
    /// An unknown algorithm, a secret of under 32 bytes, or a key set that is missing or not reached over https.
    pub fn from_config(config: &TokenConfig) -> Result<Self, VerifierError> {
        let mut accepted = Vec::new();
        for name in &config.algorithms {
            let known = KNOWN.into_iter().find(|(known, _)| known == name);
            accepted.push(known.ok_or_else(|| VerifierError::Algorithm(name.clone()))?);
        }
        let by_secret = accepted.iter().any(|(_, algorithm)| *algorithm == Algorithm::HS256);
        let by_key_set = accepted.iter().find(|(_, algorithm)| *algorithm != Algorithm::HS256);
        let secret = config.secret.as_deref().unwrap_or_default().as_bytes();
        if by_secret && secret.len() < SHORTEST_SECRET {
            return Err(VerifierError::Secret(secret.len()));
        }
        let jwks = match (by_key_set, &config.jwks_url) {
            (None, _) => None,
            (Some((name, _)), None) => return Err(VerifierError::NoJwksUrl(name)),
            (Some(_), Some(url)) => Some(Jwks::new(url).map_err(VerifierError::JwksUrl)?),
        };
        Ok(Self {
            accepted,
            secret: by_secret.then(|| Arc::new(DecodingKey::from_secret(secret))),
            jwks,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            tenant_claim: config.tenant_claim.clone().unwrap_or_else(|| "tenantId".to_owned()),
            role_claims: config
                .role_claim
                .clone()
                .map_or_else(|| vec!["role".to_owned(), "roles".to_owned()], |name| vec![name]),
        })
    }

    /// What the token in an `Authorization` header says, at the time `now`.
    ///
    /// # Errors
    /// Why it is refused; [`TokenError::JwksUnavailable`] alone is not the caller's fault.
    pub async fn verify(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Claims, TokenError> {
        let token = bearer(authorization)?;
        let head = head(token)?;
        let algorithm = self.algorithm(&head)?;
        if head.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let key = self.key(algorithm, head.kid.as_deref(), now).await?;
        // The crate checks the signature; times are checked here, since they come from our clock.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::Signature,
                _ => TokenError::Malformed,
            })?
            .claims;
        check_times(&claims, now)?;
        self.check_parties(&claims)?;
        self.caller(&claims)
    }

    /// The algorithm, which must be one of those that are configured.
    fn algorithm(&self, head: &Head) -> Result<Algorithm, TokenError> {
        self.accepted.iter().find(|(name, _)| *name == head.alg).map(|(_, algorithm)| *algorithm).ok_or_else(|| {
            let names: Vec<_> = self.accepted.iter().map(|(name, _)| *name).collect();
            TokenError::Algorithm {
                found: head.alg.chars().take(20).collect(),
                accepted: if names.is_empty() { "none".to_owned() } else { names.join(" or ") },
            }
        })
    }

    async fn key(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        match (algorithm, &self.secret, &self.jwks) {
            (Algorithm::HS256, Some(secret), _) => Ok(Arc::clone(secret)),
            (Algorithm::RS256 | Algorithm::ES256, _, Some(jwks)) => {
                jwks.key(kid, algorithm, now).await.map_err(|error| match error {
                    KeyError::Unknown => TokenError::UnknownKey,
                    KeyError::Unnamed => TokenError::UnnamedKey,
                    KeyError::Unavailable(source) => TokenError::JwksUnavailable(source),
                })
            }
            _ => Err(TokenError::UnknownKey),
        }
    }

    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(one)) => one == audience,
                Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
                _ => false,
            };
            if !meant {
                return Err(TokenError::Audience);
            }
        }
        Ok(())
    }

    fn caller(&self, claims: &Map<String, Value>) -> Result<Claims, TokenError> {
        let text =
            |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Claims {
            sub: text("sub").ok_or(TokenError::Claim { claim: "sub", wanted: "a text that is not empty" })?,
            tenant: text(&self.tenant_claim),
            roles: self.role_claims.iter().filter_map(|name| claims.get(name)).flat_map(role_names).collect(),
        })
    }
}

/// The token in the header. The scheme's case does not matter.
fn bearer(authorization: Option<&str>) -> Result<&str, TokenError> {
    let header = authorization.ok_or(TokenError::Missing)?;
    let mut words = header.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(scheme), Some(token), None) if scheme.eq_ignore_ascii_case("bearer") => {
            if token.len() > LONGEST {
                Err(TokenError::TooLong)
            } else {
                Ok(token)
            }
        }
        _ => Err(TokenError::NotBearer),
    }
}

fn head(token: &str) -> Result<Head, TokenError> {
    let mut parts = token.split('.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Malformed);
    };
    let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&head).map_err(|_| TokenError::Malformed)
}

fn check_times(claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), TokenError> {
    let exp = time(claims, "exp")?.ok_or(TokenError::Claim { claim: "exp", wanted: SECONDS })?;
    if now >= exp.checked_add_signed(LEEWAY).unwrap_or(exp) {
        return Err(TokenError::Expired(exp));
    }
    match time(claims, "nbf")? {
        Some(nbf) if now + LEEWAY < nbf => Err(TokenError::NotYetValid(nbf)),
        _ => Ok(()),
    }
}

const SECONDS: &str = "a number of seconds since 1970";

/// The time that a claim holds, None where it is missing.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<DateTime<Utc>>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    // A cast of what is too large saturates, and is then out of chrono's range.
    let time = seconds.and_then(|seconds| DateTime::from_timestamp_millis((seconds * 1000.0) as i64));
    time.map(Some).ok_or(TokenError::Claim { claim, wanted: SECONDS })
}

/// The names in a role claim: an array, one name, names with commas between them, or an array that was flattened to a text
/// (`["admin","editor"]` or `[admin, editor]`), as Cognito does. A name such as `billing admin` is one, and no role.
fn role_names(claim: &Value) -> Vec<String> {
    match claim {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => {
            let text = text.trim();
            let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
            inner
                .split(',')
                .map(|name| name.trim().trim_matches('"'))
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The secret would not be accepted.
    #[error("the secret has {0} bytes; at least {SHORTEST_SECRET} are needed")]
    Secret(usize),
    /// Signing failed.
    #[error("signing the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued<'a> {
    sub: &'a str,
    tenant_id: &'a str,
    role: &'a str,
    iat: i64,
    exp: i64,
}

/// A token signed with `secret` (HS256) that is valid from `now` for `ttl`, with the claims of the default settings.
///
/// # Errors
/// Where the secret has fewer than 32 bytes.
pub fn issue(
    secret: &[u8],
    sub: &str,
    tenant: &str,
    role: &str,
    ttl: Duration,
    now: DateTime<Utc>,
) -> Result<String, IssueError> {
    if secret.len() < SHORTEST_SECRET {
        return Err(IssueError::Secret(secret.len()));
    }
    let iat = now.timestamp();
    let claims = Issued { sub, tenant_id: tenant, role, iat, exp: iat.saturating_add(ttl.num_seconds()) };
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret))?)
}

#[cfg(test)]
mod tests;
