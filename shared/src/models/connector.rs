//! A connector: where data lies and how to get at it.

use super::node::{FileFormat, FileOptions};
use super::time::{JsonText, Time};
use crate::secrets::Sealed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kinds of connectors. The worker's match over them is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorType {
    LocalFs,
    AwsS3,
}

/// `config` of a `local_fs` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalFsConfig {
    /// A file, a folder or a glob under the worker's files root; absolute paths inside it are accepted.
    #[schemars(length(min = 1, max = 4096), extend("format" = "file-path"))]
    pub path: String,
    /// Guessed from the files' names where it is left out.
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

/// `config` of an `aws_s3` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsS3Config {
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"), length(min = 3, max = 63))]
    pub bucket: String,
    /// Put before each path; a folder, a glob or a whole key too.
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// Such as `eu-central-1`; the worker's own where it is left out.
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// For servers that speak S3, such as `http://127.0.0.1:9000`.
    #[schemars(length(min = 1, max = 2048), extend("format" = "http-url"))]
    pub endpoint: Option<String>,
    /// Guessed from the keys where it is left out.
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

/// How an `aws_s3` connector proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// No proof, or that of the worker's own role.
    None,
    /// `{accessKeyId, secretAccessKey, sessionToken?}`.
    AccessKey,
}

/// `authConfig` of the method `access_key`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessKey {
    #[schemars(length(min = 1, max = 256))]
    pub access_key_id: String,
    #[schemars(length(min = 1, max = 1024))]
    pub secret_access_key: String,
    #[schemars(length(min = 1, max = 4096))]
    pub session_token: Option<String>,
}

/// A connector as the table keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connector {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub r#type: ConnectorType,
    pub description: Option<String>,
    pub config: JsonText<Map<String, Value>>,
    pub auth_method: AuthMethod,
    /// The encrypted `authConfig`.
    pub secret: Option<JsonText<Sealed>>,
    pub version: u32,
    /// Pipelines that use it.
    #[serde(default)]
    pub users: u32,
    pub status: ConnectorStatus,
    pub last_tested_at: Option<Time>,
    pub last_error: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// The outcome of the last test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorStatus {
    #[default]
    Untested,
    Ok,
    Failed,
}

/// A connector as callers see it; `authConfig` is never shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Connector")]
pub struct ConnectorView {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub r#type: ConnectorType,
    pub description: Option<String>,
    /// Of the type's config.
    pub config: Map<String, Value>,
    pub auth_method: AuthMethod,
    pub version: u32,
    pub status: ConnectorStatus,
    pub last_tested_at: Option<Time>,
    pub last_error: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
}

impl Connector {
    /// The strong `ETag`: the version.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// What callers see.
    pub fn view(&self) -> ConnectorView {
        ConnectorView {
            id: self.id.clone(),
            tenant_id: self.tenant_id.clone(),
            name: self.name.clone(),
            r#type: self.r#type,
            description: self.description.clone(),
            config: self.config.0.clone(),
            auth_method: self.auth_method,
            version: self.version,
            status: self.status,
            last_tested_at: self.last_tested_at,
            last_error: self.last_error.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
