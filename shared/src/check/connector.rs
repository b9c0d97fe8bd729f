//! Bodies that create and change connectors. No fault ever shows a value of `authConfig`.

use super::pipeline::field;
use super::shape::{self, Mode};
use super::{Body, files, pointer};
use crate::Fault;
use crate::models::connector::{AccessKey, AuthMethod, AwsS3Config, ConnectorType, LocalFsConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Fields of a connector's answer that a client may send back on PUT; they change nothing.
pub const READ_ONLY: &[&str] =
    &["id", "tenantId", "version", "status", "lastTestedAt", "lastError", "createdAt", "updatedAt"];

/// A new connector. It has no `Debug`: `auth` is secret.
#[derive(Clone, PartialEq)]
pub struct ConnectorInput {
    pub name: String,
    pub kind: ConnectorType,
    pub description: Option<String>,
    /// As it was sent; it fits `kind`.
    pub config: Map<String, Value>,
    pub auth_method: AuthMethod,
    /// Present where the method is `access_key`.
    pub auth: Option<AccessKey>,
}

/// A change of a connector: the outer `None` keeps what is stored, an inner one clears it.
#[derive(Clone, Default, PartialEq)]
pub struct ConnectorPatch {
    pub name: Option<String>,
    pub kind: Option<ConnectorType>,
    pub description: Option<Option<String>>,
    pub config: Option<Map<String, Value>>,
    pub auth_method: Option<AuthMethod>,
    /// `Some(None)` forgets the stored secret (the method became `none`).
    pub auth: Option<Option<AccessKey>>,
}

/// What is stored of the connector that is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub kind: ConnectorType,
    pub auth_method: AuthMethod,
}

/// The shape of the bodies; `config` and `authConfig` are checked by type and method.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ConnectorInput")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct ConnectorBody {
    /// Unique in the tenant; 1 to 200 characters after trimming.
    #[schemars(extend("format" = "name"))]
    name: String,
    r#type: ConnectorType,
    #[schemars(length(max = 2000))]
    description: Option<String>,
    /// Its shape depends on `type`.
    config: Map<String, Value>,
    /// `none`.
    auth_method: Option<AuthMethod>,
    /// Write-only: never in an answer, a log or an error.
    auth_config: Option<Map<String, Value>>,
}

/// Checks a new connector.
pub fn create(body: &Body) -> (Option<ConnectorInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = body.value();
    shape::check::<ConnectorBody>(value, "", Mode::default(), &mut faults);
    let kind = parsed::<ConnectorType>(value, "type");
    let method = match value.get("authMethod") {
        None | Some(Value::Null) => Some(AuthMethod::None),
        Some(_) => parsed(value, "authMethod"),
    };
    if let (Some(kind), Some(config)) = (kind, value.get("config")) {
        check_config(kind, config, &mut faults);
    }
    let auth = check_auth(value, kind, method, false, &mut faults);
    let (Some(kind), Some(auth_method), true) = (kind, method, faults.is_empty()) else {
        return (None, faults);
    };
    let name = field::<String>(value, "name", &mut faults);
    let config = field(value, "config", &mut faults);
    let description = field::<Option<String>>(value, "description", &mut faults).flatten();
    let input = name.zip(config).map(|(name, config)| ConnectorInput {
        name: name.trim().to_owned(),
        kind,
        description,
        config,
        auth_method,
        auth: auth.flatten(),
    });
    (input, faults)
}

/// Checks a change of the connector that is `stored`.
pub fn update(body: &Body, stored: Stored) -> (Option<ConnectorPatch>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = &shape::without(body.value(), READ_ONLY);
    shape::check::<ConnectorBody>(value, "", Mode { partial: true, secret: false }, &mut faults);
    let kind = if value.get("type").is_some() { parsed(value, "type") } else { Some(stored.kind) };
    let method = match value.get("authMethod") {
        None => Some(stored.auth_method),
        Some(Value::Null) => Some(AuthMethod::None),
        Some(_) => parsed(value, "authMethod"),
    };
    match (kind, value.get("config")) {
        (Some(kind), Some(config)) => check_config(kind, config, &mut faults),
        (Some(kind), None) if kind != stored.kind => {
            faults.push(Fault::new("/config", "required", "the type changes, so the field \"config\" is required"));
        }
        _ => {}
    }
    let kept = stored.auth_method == AuthMethod::AccessKey;
    let auth = check_auth(value, kind, method, kept, &mut faults);
    if !faults.is_empty() {
        return (None, faults);
    }
    let patch = ConnectorPatch {
        name: field::<String>(value, "name", &mut faults).map(|name| name.trim().to_owned()),
        kind: kind.filter(|kind| *kind != stored.kind),
        description: field(value, "description", &mut faults),
        config: field(value, "config", &mut faults),
        auth_method: method.filter(|method| *method != stored.auth_method),
        auth,
    };
    (faults.is_empty().then_some(patch), faults)
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Option<T> {
    T::deserialize(value.get(key)?).ok()
}

/// The config of a type, and what its schema does not say.
fn check_config(kind: ConnectorType, config: &Value, faults: &mut Vec<Fault>) {
    if !config.is_object() {
        return;
    }
    let (format, options, path) = match kind {
        ConnectorType::LocalFs => {
            shape::check::<LocalFsConfig>(config, "/config", Mode::default(), faults);
            let Ok(config) = LocalFsConfig::deserialize(config) else {
                return;
            };
            (config.format, config.options, Some(("/config/path", config.path)))
        }
        ConnectorType::AwsS3 => {
            shape::check::<AwsS3Config>(config, "/config", Mode::default(), faults);
            let Ok(config) = AwsS3Config::deserialize(config) else {
                return;
            };
            (config.format, config.options, config.prefix.map(|prefix| ("/config/prefix", prefix)))
        }
    };
    if let Some((at, path)) = path {
        files::path(&path, at, faults);
    }
    if let Some(options) = options {
        files::options(&options, format, "/config/options", faults);
    }
}

/// The secret that goes with the method: the outer None keeps what is stored, which is there where `kept`.
fn check_auth(
    value: &Value,
    kind: Option<ConnectorType>,
    method: Option<AuthMethod>,
    kept: bool,
    faults: &mut Vec<Fault>,
) -> Option<Option<AccessKey>> {
    let auth = value.get("authConfig").filter(|auth| !auth.is_null());
    match method? {
        AuthMethod::None => {
            if auth.is_some_and(|auth| auth.as_object().is_none_or(|fields| !fields.is_empty())) {
                let detail = "authConfig needs an authMethod that uses it: access_key";
                faults.push(Fault::new("/authConfig", "contradiction", detail));
            }
            kept.then_some(None)
        }
        AuthMethod::AccessKey => {
            if kind == Some(ConnectorType::LocalFs) {
                let detail = "a local_fs connector has no keys; its method is none";
                faults.push(Fault::new("/authMethod", "contradiction", detail));
            }
            let Some(auth) = auth else {
                if !kept || value.get("authConfig").is_some() {
                    let detail = "the method access_key needs {accessKeyId, secretAccessKey, sessionToken?}";
                    faults.push(Fault::new("/authConfig", "required", detail));
                }
                return None;
            };
            if !auth.is_object() {
                return None;
            }
            let secret = Mode { partial: false, secret: true };
            shape::read::<AccessKey>(auth, &pointer::push("", "authConfig"), secret, faults).map(Some)
        }
    }
}
