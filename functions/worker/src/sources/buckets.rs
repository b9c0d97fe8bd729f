//! Opens the buckets of `gcs` and the containers of `azure_blob` connectors.
//!
//! Without a key both are read anonymously: the credentials that a machine of Google or Azure has by itself belong to
//! the deployment and are never fetched for a tenant's connector, nor is any file or variable of the environment read.

use super::http::{self, Client, Reach};
use super::place::fault;
use crate::engine::job::{Connector, Settings};
use crate::error::RunError;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{BackoffConfig, ClientOptions, RetryConfig, StaticCredentialProvider};
use serde_json::{Map, Value};
use shared::models::connector::{AccountKey, AzureBlobConfig, GcsConfig, SasToken, ServiceAccount};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long the next byte of an answer may take.
const SILENCE: Duration = Duration::from_secs(30);
/// Where Google's buckets are.
const GOOGLE: &str = "https://storage.googleapis.com";

/// The bucket, by the key of the connector's service account or else anonymously.
///
/// # Errors
/// `Kind::Source` where the config or the key cannot be used; shows nothing of the key.
pub async fn google(
    connector: &Connector,
    config: &GcsConfig,
    settings: &Settings,
) -> Result<GoogleCloudStorage, RunError> {
    let name = format!("connector {:?}", connector.name);
    let endpoint = config.endpoint.as_deref().map_or(GOOGLE, |endpoint| endpoint.trim_end_matches('/'));
    let (url, http) = client(&name, endpoint, config.endpoint.is_some(), settings).await?;
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&config.bucket)
        // Given always, since a key may name an address of its own.
        .with_base_url(endpoint)
        .with_client_options(ClientOptions::new().with_allow_http(url.scheme() == "http"))
        .with_retry(retries())
        .with_http_connector(http);
    let builder = match auth::<ServiceAccount>(&name, connector.auth.as_ref(), "{serviceAccountKey}")? {
        Some(key) => builder.with_service_account_key(service_account(&name, &key.service_account_key)?),
        None => builder
            .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: String::new() })))
            .with_skip_signature(true),
    };
    builder.build().map_err(|_| {
        let key = "authConfig.serviceAccountKey holds no RSA private key that can be read";
        fault(format!("{name}: the bucket {:?} cannot be opened: {key}", config.bucket))
    })
}

/// The parts of a key file that signing needs. All others are left out: they might turn the signing off, or name another
/// address.
fn service_account(name: &str, text: &str) -> Result<String, RunError> {
    let wrong = |what: &str| {
        fault(format!(
            "{name}: authConfig.serviceAccountKey {what}; give the JSON key file of a service account as it is"
        ))
    };
    // The error of serde would quote what it has read.
    let key: Map<String, Value> = serde_json::from_str(text).map_err(|_| wrong("is not a JSON object"))?;
    let mut used = Map::new();
    for field in ["private_key", "private_key_id", "client_email"] {
        match key.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(text) => used.insert(field.to_owned(), text.into()),
            None => return Err(wrong(&format!("lacks {field}"))),
        };
    }
    Ok(Value::Object(used).to_string())
}

/// The container, by the account's key or a SAS token, or else anonymously.
///
/// # Errors
/// `Kind::Source` where the config or the key cannot be used; shows nothing of the key.
pub async fn azure(
    connector: &Connector,
    config: &AzureBlobConfig,
    settings: &Settings,
) -> Result<MicrosoftAzure, RunError> {
    let name = format!("connector {:?}", connector.name);
    let own = format!("https://{}.blob.core.windows.net", config.account);
    let endpoint = config.endpoint.as_deref().map_or(own.as_str(), |endpoint| endpoint.trim_end_matches('/'));
    let (url, http) = client(&name, endpoint, config.endpoint.is_some(), settings).await?;
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_endpoint(endpoint.to_owned())
        .with_client_options(ClientOptions::new().with_allow_http(url.scheme() == "http"))
        .with_retry(retries())
        .with_http_connector(http);
    let given = connector.auth.as_ref().filter(|auth| !auth.is_empty());
    let is_sas = given.is_some_and(|auth| auth.contains_key("sasToken"));
    let (builder, what) = if is_sas {
        let token = auth::<SasToken>(&name, given, "{sasToken}")?.map(|t| t.sas_token).unwrap_or_default();
        let token = token.trim().trim_start_matches('?').to_owned();
        if !token.split('&').any(|pair| pair.starts_with("sig=") && pair.len() > 4) {
            let hint = "give the token as the portal shows it, such as sv=…&sig=…";
            return Err(fault(format!("{name}: authConfig.sasToken has no sig; {hint}")));
        }
        (
            builder.with_config(AzureConfigKey::SasKey, token),
            "authConfig.sasToken is not a list of name=value with & between",
        )
    } else if let Some(key) = auth::<AccountKey>(&name, given, "{accountKey} or {sasToken}")? {
        (builder.with_access_key(key.account_key.trim()), "authConfig.accountKey is not Base64, as the portal shows it")
    } else {
        let nobody = AzureCredential::BearerToken(String::new());
        let builder =
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody))).with_skip_signature(true);
        (builder, "its account, container and endpoint do not fit")
    };
    builder.build().map_err(|_| fault(format!("{name}: the container {:?} cannot be opened: {what}", config.container)))
}

/// The texts of a connector's secret that no message may show, also as a URL spells them.
pub fn secrets(connector: &Connector) -> Vec<String> {
    let texts = connector.auth.iter().flat_map(Map::values).filter_map(Value::as_str);
    let mut secrets = Vec::new();
    for text in texts {
        secrets.push(text.to_owned());
        for (key, value) in url::form_urlencoded::parse(text.trim_start_matches('?').as_bytes()) {
            if key == "sig" {
                secrets.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
                secrets.push(value.into_owned());
            }
        }
    }
    secrets.retain(|secret| secret.len() > 2);
    secrets
}

fn auth<T: serde::de::DeserializeOwned>(
    name: &str,
    auth: Option<&Map<String, Value>>,
    wanted: &str,
) -> Result<Option<T>, RunError> {
    let Some(auth) = auth.filter(|auth| !auth.is_empty()) else { return Ok(None) };
    // The error of serde would quote what it has read.
    let read = serde_json::from_value(Value::Object(auth.clone()));
    read.map(Some).map_err(|_| fault(format!("{name}: authConfig is not {wanted}")))
}

/// The address of a store, and the client for it, which looks at each address that it connects to. A `named` one is a
/// tenant's choice; others are the provider's own.
///
/// # Errors
/// `Kind::Source` where the address is none, or must not be reached.
pub async fn client(
    name: &str,
    endpoint: &str,
    named: bool,
    settings: &Settings,
) -> Result<(Url, http::store::Connector), RunError> {
    let url = Url::parse(endpoint).map_err(|e| fault(format!("{name}: the endpoint is not a URL: {e}")))?;
    // The local stack is somebody's own machine.
    let reach = match (named, settings.files_root.is_some()) {
        (true, false) => Reach::Public,
        (true, true) => Reach::Local,
        (false, _) => Reach::Provider,
    };
    let client = Client::new(reach, &settings.http_allowed_hosts, SILENCE)?;
    client.check(&url).await.map_err(|failure| fault(format!("{name}: the endpoint cannot be used: {failure}")))?;
    Ok((url, http::store::Connector(client)))
}

/// How often a store is asked for the same.
pub fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 5, retry_timeout: Duration::from_secs(60) }
}
