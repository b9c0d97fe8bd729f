//! How a request proves who it is, and how its secrets are kept out of messages.

use crate::error::RunError;
use crate::sources::place::fault;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use shared::models::connector::{ApiKey, Bearer, Password};

/// The header that carries an API's key where the connector names none.
const KEY_HEADER: &str = "x-api-key";

/// A header that is secret, and the texts that no message may show.
#[derive(Default)]
pub struct Proof {
    pub header: Option<(HeaderName, HeaderValue)>,
    pub secrets: Secrets,
}

/// Texts that no message may show.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// These; very short ones would blot out every message.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self(texts.into_iter().filter(|text| text.len() > 2).collect())
    }

    /// The text without the secrets.
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// The proof that `authConfig` makes; its fields tell the method.
///
/// # Errors
/// `Kind::Source` where it is of no method, or holds what a header cannot; shows nothing of it.
pub fn proof(name: &str, auth: Option<&Map<String, Value>>) -> Result<Proof, RunError> {
    let Some(auth) = auth.filter(|auth| !auth.is_empty()) else { return Ok(Proof::default()) };
    let value = Value::Object(auth.clone());
    let (header, text, secrets) = if auth.contains_key("username") {
        let Password { username, password } = read(name, value, "{username, password?}")?;
        let password = password.unwrap_or_default();
        let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
        (AUTHORIZATION, format!("Basic {pair}"), vec![pair, password])
    } else if auth.contains_key("token") {
        let Bearer { token } = read(name, value, "{token}")?;
        (AUTHORIZATION, format!("Bearer {token}"), vec![token])
    } else {
        let ApiKey { header, value } = read(name, value, "{username, password?}, {token} or {header?, value}")?;
        let header = header.as_deref().unwrap_or(KEY_HEADER);
        let header = HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| fault(format!("{name}: authConfig.header is not the name of a header")))?;
        (header, value.clone(), vec![value])
    };
    let mut sent = HeaderValue::from_str(&text).map_err(|_| {
        fault(format!("{name}: authConfig holds characters that no header can carry, such as a line break"))
    })?;
    sent.set_sensitive(true);
    Ok(Proof { header: Some((header, sent)), secrets: Secrets::new(secrets) })
}

fn read<T: serde::de::DeserializeOwned>(name: &str, auth: Value, wanted: &str) -> Result<T, RunError> {
    // The error of serde would quote what it has read.
    serde_json::from_value(auth).map_err(|_| fault(format!("{name}: authConfig is not {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn header(auth: &Value) -> (String, String) {
        let (name, value) = proof("c", auth.as_object()).unwrap().header.unwrap();
        assert!(value.is_sensitive());
        (name.to_string(), value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_method_makes_its_header() {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(header(&json!({"username": "u", "password": "p:w"})), of("authorization", "Basic dTpwOnc="));
        assert_eq!(header(&json!({"username": "u"})), of("authorization", "Basic dTo="));
        assert_eq!(header(&json!({"token": "t0k"})), of("authorization", "Bearer t0k"));
        assert_eq!(header(&json!({"value": "key"})), of("x-api-key", "key"));
        assert_eq!(header(&json!({"header": "X-Token", "value": "key"})), of("x-token", "key"));
        assert!(proof("c", None).unwrap().header.is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let proof = proof("c", json!({"token": "HUSH"}).as_object()).unwrap();
        assert_eq!(proof.secrets.hide("a HUSH b"), "a *** b");
        assert_eq!(format!("{:?}", proof.secrets), "1 secrets");
        for wrong in [
            json!({"token": 4711}),
            json!({"value": "HU\nSH"}),
            json!({"HUSH": 1}),
            json!({"header": "a b", "value": "HUSH"}),
        ] {
            let Err(error) = super::proof("c", wrong.as_object()) else { panic!("{wrong}") };
            assert!(!error.message.contains("HU") && !error.message.contains("4711"), "{error}");
        }
    }
}
