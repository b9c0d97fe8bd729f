//! A connector: where data lies and how to get at it.

use super::node::{FileFormat, FileOptions};
use super::time::{JsonText, Time};
use crate::secrets::Sealed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The kinds of connectors. The worker's match over them is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorType {
    LocalFs,
    AwsS3,
    Gcs,
    AzureBlob,
    Postgresql,
    Mysql,
    RestApi,
}

impl ConnectorType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::LocalFs, Self::AwsS3, Self::Gcs, Self::AzureBlob, Self::Postgresql, Self::Mysql, Self::RestApi];

    /// Whether it has files to read.
    pub fn has_files(self) -> bool {
        matches!(self, Self::LocalFs | Self::AwsS3 | Self::Gcs | Self::AzureBlob)
    }

    /// Whether it has tables, which can be read and written.
    pub fn has_tables(self) -> bool {
        matches!(self, Self::Postgresql | Self::Mysql)
    }

    /// How it may prove who it is.
    pub fn auth_methods(self) -> &'static [AuthMethod] {
        match self {
            Self::LocalFs => &[AuthMethod::None],
            Self::AwsS3 => &[AuthMethod::None, AuthMethod::AccessKey],
            Self::Gcs => &[AuthMethod::None, AuthMethod::ServiceAccount],
            Self::AzureBlob => &[AuthMethod::None, AuthMethod::AccountKey, AuthMethod::SasToken],
            Self::Postgresql | Self::Mysql => &[AuthMethod::Password],
            Self::RestApi => &[AuthMethod::None, AuthMethod::Password, AuthMethod::Bearer, AuthMethod::ApiKey],
        }
    }
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
    #[schemars(regex(pattern = r"^[A-Za-z]{2}[A-Za-z0-9-]{1,30}$"))]
    pub region: Option<String>,
    /// For servers that speak S3, such as `http://127.0.0.1:9000`.
    #[schemars(length(min = 1, max = 2048), extend("format" = "http-url"))]
    pub endpoint: Option<String>,
    /// Guessed from the keys where it is left out.
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

impl AwsS3Config {
    /// Whether the region is one, as far as its letters tell: it becomes a part of the host that requests go to.
    pub fn has_plain_region(&self) -> bool {
        self.region.as_deref().is_none_or(|region| {
            (3..=32).contains(&region.len())
                && region.bytes().take(2).all(|b| b.is_ascii_alphabetic())
                && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    }
}

/// `config` of a `gcs` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcsConfig {
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$"), length(min = 3, max = 222))]
    pub bucket: String,
    /// Put before each path; a folder, a glob or a whole name too.
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// For servers that speak Google's JSON API, such as `http://127.0.0.1:4443`.
    #[schemars(length(min = 1, max = 2048), extend("format" = "http-url"))]
    pub endpoint: Option<String>,
    /// Guessed from the names where it is left out.
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

/// `config` of an `azure_blob` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureBlobConfig {
    /// The storage account.
    #[schemars(regex(pattern = r"^[a-z0-9]+$"), length(min = 3, max = 24))]
    pub account: String,
    #[schemars(regex(pattern = r"^[a-z0-9$][a-z0-9-]*$"), length(min = 3, max = 63))]
    pub container: String,
    /// Put before each path; a folder, a glob or a whole name too.
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// For servers that speak Azure's protocol, such as `http://127.0.0.1:10000/account`.
    #[schemars(length(min = 1, max = 2048), extend("format" = "http-url"))]
    pub endpoint: Option<String>,
    /// Guessed from the names where it is left out.
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

/// `config` of a `postgresql` or a `mysql` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A name or an address.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub host: String,
    /// 5432 for `postgresql`, 3306 for `mysql`.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// `prefer`.
    pub ssl_mode: Option<SslMode>,
    /// The certificates (PEM) of those whom `verify-full` believes, in the place of the system's: such as the bundle of the
    /// cloud that runs the database, or a certificate that the server has signed itself.
    #[schemars(length(max = 500_000), regex(pattern = r"-----BEGIN CERTIFICATE-----"))]
    pub ssl_root_cert: Option<String>,
    /// The table that sources read which name none: `table` or `schema.table`.
    #[schemars(length(min = 1, max = 200), extend("format" = "table"))]
    pub table: Option<String>,
    /// One SELECT in the database's own SQL, in the place of a table.
    #[schemars(length(min = 1, max = 20_000))]
    pub query: Option<String>,
}

/// Whether a connection to a database is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    /// Encrypted where the server can.
    #[default]
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, with a certificate that is valid for the host.
    VerifyFull,
}

/// `config` of a `rest_api` connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestApiConfig {
    /// A source's `path` is put behind it.
    #[schemars(length(min = 1, max = 2048), extend("format" = "http-url"))]
    pub url: String,
    /// `GET`.
    pub method: Option<HttpMethod>,
    /// Sent with each request. Secrets belong into `authConfig`.
    #[schemars(extend("maxProperties" = 50))]
    pub headers: Option<std::collections::BTreeMap<String, String>>,
    /// Sent with each POST.
    pub body: Option<Value>,
    /// `{"type": "none"}`.
    pub pagination: Option<Pagination>,
    /// Where the records are in the answer, such as `data.items`; the whole answer where it is left out: a list of
    /// records, or one record.
    #[schemars(length(min = 1, max = 1000))]
    pub records_path: Option<String>,
    /// The most requests a second.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub rate_limit: Option<f64>,
    pub options: Option<FileOptions>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    #[default]
    Get,
    Post,
}

/// How an API divides its records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Pagination {
    /// One request answers all.
    #[default]
    None,
    /// Pages are numbered; an empty one is the last, or one that the API does not have (404) where it still has the page
    /// before.
    #[serde(rename_all = "camelCase")]
    Page {
        /// The query parameter of the number; `page`.
        page_param: Option<String>,
        /// The number of the first page; 1.
        first_page: Option<u64>,
        /// The query parameter of the records a page; `per_page`, sent where `pageSize` is given.
        size_param: Option<String>,
        /// Records a page. Behind a page with as many, one with fewer is the last; an API that never gives as many, since it
        /// has a limit of its own, is asked until a page is empty.
        #[schemars(range(min = 1, max = 100_000))]
        page_size: Option<u64>,
    },
    /// Pages begin at the number of a record; an empty one is the last, or one that the API does not have (404) where it
    /// still has the page before.
    #[serde(rename_all = "camelCase")]
    Offset {
        /// `offset`.
        offset_param: Option<String>,
        /// `limit`.
        limit_param: Option<String>,
        /// Records a page. Behind a page with as many, one with fewer is the last; an API that never gives as many, since it
        /// has a limit of its own, is asked until a page is empty. Where it is left out, 100 are asked for, and only an empty
        /// page is the last.
        #[schemars(range(min = 1, max = 100_000))]
        page_size: Option<u64>,
    },
    /// Each page says where the next one begins.
    #[serde(rename_all = "camelCase")]
    Cursor {
        /// The query parameter of the cursor; `cursor`.
        cursor_param: Option<String>,
        /// Where the next cursor is in the answer, such as `meta.next`; the last page has none, null or an empty one.
        cursor_path: String,
    },
    /// Each page names the next one's address: in the header `Link` with `rel="next"`, or in the answer.
    #[serde(rename_all = "camelCase")]
    Link {
        /// Where the address is in the answer, such as `links.next`; the header `Link` where it is left out.
        next_path: Option<String>,
    },
}

/// How a connector proves who it is; each type takes some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// No proof, or that of the worker's own role.
    None,
    /// `{accessKeyId, secretAccessKey, sessionToken?}`, of `aws_s3`.
    AccessKey,
    /// `{serviceAccountKey}`, of `gcs`.
    ServiceAccount,
    /// `{accountKey}`, of `azure_blob`.
    AccountKey,
    /// `{sasToken}`, of `azure_blob`.
    SasToken,
    /// `{username, password?}`, of databases and `rest_api`.
    Password,
    /// `{token}`, of `rest_api`.
    Bearer,
    /// `{header?, value}`, of `rest_api`.
    ApiKey,
}

/// `authConfig` of the method `service_account`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// The key file that Google gives out, as JSON text.
    #[schemars(length(min = 1, max = 16_384))]
    pub service_account_key: String,
}

/// `authConfig` of the method `account_key`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountKey {
    #[schemars(length(min = 1, max = 1024))]
    pub account_key: String,
}

/// `authConfig` of the method `sas_token`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SasToken {
    /// As the portal shows it, such as `sv=…&sig=…`.
    #[schemars(length(min = 1, max = 4096))]
    pub sas_token: String,
}

/// `authConfig` of the method `password`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Password {
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
}

/// `authConfig` of the method `bearer`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bearer {
    #[schemars(length(min = 1, max = 8192))]
    pub token: String,
}

/// `authConfig` of the method `api_key`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKey {
    /// The header that carries it; `X-Api-Key`.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub header: Option<String>,
    #[schemars(length(min = 1, max = 8192))]
    pub value: String,
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
    /// The strong `ETag`: the version, and behind a dot what stands for the outcome of the last test, which is shown too.
    pub fn etag(&self) -> String {
        let Some(at) = self.last_tested_at else { return format!("\"{}\"", self.version) };
        let outcome = format!("{} {:?} {:?}", at.text(), self.status, self.last_error);
        format!("\"{}.{}\"", self.version, hex::encode(&Sha256::digest(outcome)[..6]))
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
