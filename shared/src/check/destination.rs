//! Where a connector's secret goes.

use crate::models::connector::{ConnectorType, DatabaseConfig, SslMode};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

/// What of a change leads a stored secret somewhere else, or lets others read it on its way, in the words of the config;
/// none where it goes where it went. Whoever may change a connector has not necessarily seen its secret.
pub(super) fn moved(
    (old_kind, old): (ConnectorType, &Map<String, Value>),
    (kind, new): (ConnectorType, &Map<String, Value>),
) -> Option<&'static str> {
    if old_kind != kind {
        return Some("type");
    }
    match kind {
        ConnectorType::LocalFs => None,
        ConnectorType::AwsS3 => changed(old, new, &["endpoint", "region"]),
        ConnectorType::Gcs => changed(old, new, &["endpoint"]),
        ConnectorType::AzureBlob => changed(old, new, &["account", "endpoint"]),
        ConnectorType::RestApi => (origin(old) != origin(new)).then_some("url"),
        ConnectorType::Postgresql => server(old, new, 5432),
        ConnectorType::Mysql => server(old, new, 3306),
    }
}

fn changed(old: &Map<String, Value>, new: &Map<String, Value>, fields: &[&'static str]) -> Option<&'static str> {
    let given = |config: &Map<String, Value>, field: &str| config.get(field).filter(|value| !value.is_null()).cloned();
    fields.iter().find(|field| given(old, field) != given(new, field)).copied()
}

/// Scheme, host and port; none where it cannot be told.
fn origin(config: &Map<String, Value>) -> Option<String> {
    let url = Url::parse(config.get("url")?.as_str()?).ok()?;
    Some(url.origin().ascii_serialization())
}

fn server(old: &Map<String, Value>, new: &Map<String, Value>, port: u16) -> Option<&'static str> {
    let read = |config: &Map<String, Value>| DatabaseConfig::deserialize(Value::Object(config.clone())).ok();
    let (Some(old), Some(new)) = (read(old), read(new)) else { return Some("host") };
    if !old.host.eq_ignore_ascii_case(&new.host) {
        return Some("host");
    }
    if old.port.unwrap_or(port) != new.port.unwrap_or(port) {
        return Some("port");
    }
    let (before, after) = (old.ssl_mode.unwrap_or_default(), new.ssl_mode.unwrap_or_default());
    if strength(after) < strength(before) {
        return Some("sslMode");
    }
    (before == SslMode::VerifyFull && old.ssl_root_cert != new.ssl_root_cert).then_some("sslRootCert")
}

fn strength(mode: SslMode) -> u8 {
    match mode {
        SslMode::Disable => 0,
        SslMode::Prefer => 1,
        SslMode::Require => 2,
        SslMode::VerifyFull => 3,
    }
}
