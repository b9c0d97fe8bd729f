//! Bodies that create and change connectors. No fault ever shows a value of `authConfig`.

use super::pipeline::field;
use super::shape::{self, Mode};
use super::{Body, api, destination, files, pointer, slips};
use crate::Fault;
use crate::models::connector::{
    AccessKey, AccountKey, ApiKey, AuthMethod, AwsS3Config, AzureBlobConfig, Bearer, ConnectorType, DatabaseConfig,
    GcsConfig, LocalFsConfig, Password, RestApiConfig, SasToken, ServiceAccount, SslMode,
};
use crate::models::node::{FileFormat, FileOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    /// Present where the method is not `none`.
    pub auth: Option<Secret>,
}

/// A checked `authConfig`, which fits its method. It has no `Debug`.
#[derive(Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Secret(Map<String, Value>);

/// A change of a connector: the outer `None` keeps what is stored, an inner one clears it.
#[derive(Clone, Default, PartialEq)]
pub struct ConnectorPatch {
    pub name: Option<String>,
    pub kind: Option<ConnectorType>,
    pub description: Option<Option<String>>,
    /// None where it is the stored one, as in a body that sends back what was read.
    pub config: Option<Map<String, Value>>,
    pub auth_method: Option<AuthMethod>,
    /// `Some(None)` forgets the stored secret (the method became `none`).
    pub auth: Option<Option<Secret>>,
}

/// What is stored of the connector that is to be changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored<'a> {
    pub kind: ConnectorType,
    pub auth_method: AuthMethod,
    pub config: &'a Map<String, Value>,
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
    /// `none`, which databases do not take.
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
    let auth = check_auth(value, kind, method, None, &mut faults);
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

/// The fault of a body that asks for the type `local_fs` where that may not be had.
pub fn not_available(body: &Body, local_fs: bool) -> Option<Fault> {
    let asked = parsed::<ConnectorType>(body.value(), "type") == Some(ConnectorType::LocalFs);
    let fault = || Fault::new("/type", "not_available", "local_fs is off in this deployment; use aws_s3");
    (asked && !local_fs).then(fault)
}

/// The faults of a change that can be told without the connector that it is for.
pub fn standalone_faults(body: &Body) -> Vec<Fault> {
    let mut faults = body.faults();
    let value = &shape::without(body.value(), READ_ONLY);
    shape::check::<ConnectorBody>(value, "", Mode { partial: true, secret: false }, &mut faults);
    if let (Some(kind), Some(config)) = (parsed(value, "type"), value.get("config")) {
        check_config(kind, config, &mut faults);
    }
    if let Some(method) = value.get("authMethod") {
        let method = if method.is_null() { Some(AuthMethod::None) } else { parsed(value, "authMethod") };
        // Whether a secret of this method is stored already is not known here.
        check_auth(value, parsed(value, "type"), method, method, &mut faults);
    }
    faults
}

/// Checks a change of the connector that is `stored`.
pub fn update(body: &Body, stored: Stored<'_>) -> (Option<ConnectorPatch>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = &shape::without(body.value(), READ_ONLY);
    shape::check::<ConnectorBody>(value, "", Mode { partial: true, secret: false }, &mut faults);
    let kind = if value.get("type").is_some() { parsed(value, "type") } else { Some(stored.kind) };
    let method = match value.get("authMethod") {
        None => Some(stored.auth_method),
        Some(Value::Null) => Some(AuthMethod::None),
        Some(_) => parsed(value, "authMethod"),
    };
    let before = faults.len();
    match (kind, value.get("config")) {
        (Some(kind), Some(config)) => check_config(kind, config, &mut faults),
        (Some(kind), None) if kind != stored.kind => {
            faults.push(Fault::new("/config", "required", "the type changes, so the field \"config\" is required"));
        }
        _ => {}
    }
    let auth = check_auth(value, kind, method, Some(stored.auth_method), &mut faults);
    if let Some(kind) = kind
        && faults.len() == before
    {
        check_destination(value, kind, method, stored, &mut faults);
    }
    if !faults.is_empty() {
        return (None, faults);
    }
    let patch = ConnectorPatch {
        name: field::<String>(value, "name", &mut faults).map(|name| name.trim().to_owned()),
        kind: kind.filter(|kind| *kind != stored.kind),
        description: field(value, "description", &mut faults),
        config: field::<Map<String, Value>>(value, "config", &mut faults).filter(|config| config != stored.config),
        auth_method: method.filter(|method| *method != stored.auth_method),
        auth,
    };
    (faults.is_empty().then_some(patch), faults)
}

/// A secret that is stored is sent where it was meant to go: a change that leads it elsewhere must bring it along.
fn check_destination(
    value: &Value,
    kind: ConnectorType,
    method: Option<AuthMethod>,
    stored: Stored<'_>,
    faults: &mut Vec<Fault>,
) {
    let brought = value.get("authConfig").is_some_and(|auth| !auth.is_null());
    if brought || stored.auth_method == AuthMethod::None || method != Some(stored.auth_method) {
        return;
    }
    let config = value.get("config").and_then(Value::as_object).unwrap_or(stored.config);
    let moved = destination::moved((stored.kind, stored.config), (kind, config));
    if let Some(what) = moved {
        let detail = format!(
            "{what} changes, and with it where the stored secret would be sent or who could read it; give authConfig again"
        );
        faults.push(Fault::new("/authConfig", "required", detail));
    }
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Option<T> {
    T::deserialize(value.get(key)?).ok()
}

/// The config of a type, and what its schema does not say.
fn check_config(kind: ConnectorType, config: &Value, faults: &mut Vec<Fault>) {
    if !config.is_object() {
        return;
    }
    match kind {
        ConnectorType::LocalFs => {
            shaped(config, faults, |c: &LocalFsConfig, faults| options(c.format, c.options.as_ref(), faults));
        }
        ConnectorType::AwsS3 => {
            shaped(config, faults, |c: &AwsS3Config, faults| options(c.format, c.options.as_ref(), faults));
        }
        ConnectorType::Gcs => {
            shaped(config, faults, |c: &GcsConfig, faults| options(c.format, c.options.as_ref(), faults));
        }
        ConnectorType::AzureBlob => {
            shaped(config, faults, |c: &AzureBlobConfig, faults| options(c.format, c.options.as_ref(), faults));
        }
        ConnectorType::Postgresql | ConnectorType::Mysql => shaped(config, faults, database),
        ConnectorType::RestApi => shaped(config, faults, |c: &RestApiConfig, faults| {
            api::check(c, "/config", faults);
            options(Some(FileFormat::Json), c.options.as_ref(), faults);
        }),
    }
}

/// Checks the shape of a config, and by these rules its meaning.
fn shaped<T: JsonSchema + serde::de::DeserializeOwned + 'static>(
    config: &Value,
    faults: &mut Vec<Fault>,
    rules: impl Fn(&T, &mut Vec<Fault>),
) {
    shape::check::<T>(config, "/config", Mode::default(), faults);
    slips::judge_whole(config, faults, rules);
}

fn options(format: Option<FileFormat>, options: Option<&FileOptions>, faults: &mut Vec<Fault>) {
    if let Some(options) = options {
        files::options(options, format, "/config/options", faults);
    }
}

fn database(config: &DatabaseConfig, faults: &mut Vec<Fault>) {
    table_or_query("/config", config.table.as_deref(), config.query.as_deref(), faults);
    if config.ssl_root_cert.is_some() && config.ssl_mode != Some(SslMode::VerifyFull) {
        let detail = "certificates are given, but only the sslMode verify-full looks at them";
        faults.push(Fault::new("/config/sslRootCert", "contradiction", detail));
    }
}

/// A database is read by a table or a query.
pub(super) fn table_or_query(at: &str, table: Option<&str>, query: Option<&str>, faults: &mut Vec<Fault>) {
    if table.is_some() && query.is_some() {
        let detail = "a table and a query are given; one of them says what is read";
        faults.push(Fault::new(pointer::push(at, "query"), "contradiction", detail));
    }
}

/// What a method wants, in words.
fn wanted(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::None => "nothing",
        AuthMethod::AccessKey => "{accessKeyId, secretAccessKey, sessionToken?}",
        AuthMethod::ServiceAccount => "{serviceAccountKey}",
        AuthMethod::AccountKey => "{accountKey}",
        AuthMethod::SasToken => "{sasToken}",
        AuthMethod::Password => "{username, password?}",
        AuthMethod::Bearer => "{token}",
        AuthMethod::ApiKey => "{header?, value}",
    }
}

/// A word of ours as it is written in a body.
fn name_of<T: Serialize>(word: T) -> String {
    serde_json::to_value(word).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The secret that goes with the method: the outer None keeps the stored one, which is of the method `stored`.
fn check_auth(
    value: &Value,
    kind: Option<ConnectorType>,
    method: Option<AuthMethod>,
    stored: Option<AuthMethod>,
    faults: &mut Vec<Fault>,
) -> Option<Option<Secret>> {
    let auth = value.get("authConfig").filter(|auth| !auth.is_null());
    let method = method?;
    let unfit = kind.filter(|kind| !kind.auth_methods().contains(&method));
    if let Some(kind) = unfit {
        let known: Vec<String> = kind.auth_methods().iter().map(|method| format!("{:?}", name_of(method))).collect();
        let (kind, known) = (name_of(kind), known.join(" or "));
        let (code, detail) = if method == AuthMethod::None && value.get("authMethod").is_none_or(Value::is_null) {
            ("required", format!("a connector of type {kind} needs the method {known}"))
        } else {
            let detail = format!("a connector of type {kind} takes the method {known}, not {:?}", name_of(method));
            ("contradiction", detail)
        };
        faults.push(Fault::new("/authMethod", code, detail));
    }
    if method == AuthMethod::None {
        if unfit.is_none() && auth.is_some_and(|auth| auth.as_object().is_none_or(|fields| !fields.is_empty())) {
            let detail = "authConfig needs an authMethod that uses it";
            faults.push(Fault::new("/authConfig", "contradiction", detail));
        }
        return stored.is_some_and(|stored| stored != AuthMethod::None).then_some(None);
    }
    let kept = stored == Some(method);
    let Some(auth) = auth else {
        if !kept || value.get("authConfig").is_some() {
            let detail = format!("the method {} needs {}", name_of(method), wanted(method));
            faults.push(Fault::new("/authConfig", "required", detail));
        }
        return None;
    };
    let fields = auth.as_object()?;
    let fits = match method {
        AuthMethod::None => true,
        AuthMethod::AccessKey => secret::<AccessKey>(auth, faults),
        AuthMethod::ServiceAccount => secret::<ServiceAccount>(auth, faults),
        AuthMethod::AccountKey => secret::<AccountKey>(auth, faults),
        AuthMethod::SasToken => secret::<SasToken>(auth, faults),
        AuthMethod::Password => secret::<Password>(auth, faults),
        AuthMethod::Bearer => secret::<Bearer>(auth, faults),
        AuthMethod::ApiKey => secret::<ApiKey>(auth, faults),
    };
    fits.then(|| Some(Secret(fields.clone())))
}

fn secret<T: JsonSchema + serde::de::DeserializeOwned + 'static>(auth: &Value, faults: &mut Vec<Fault>) -> bool {
    let mode = Mode { partial: false, secret: true };
    shape::read::<T>(auth, &pointer::push("", "authConfig"), mode, faults).is_some()
}
