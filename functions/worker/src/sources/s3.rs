//! Opens the bucket of an `aws_s3` connector.

use super::buckets;
use super::place::fault;
use crate::engine::job::{Connector, Settings};
use crate::error::RunError;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use shared::models::connector::{AccessKey, AwsS3Config};
use std::sync::Arc;

/// What AWS's own tools take where nobody says.
const DEFAULT_REGION: &str = "us-east-1";

/// The bucket, by the connector's access key or else by the role of the environment.
///
/// # Errors
/// `Kind::Source` where the config cannot be used.
pub async fn open(connector: &Connector, config: &AwsS3Config, settings: &Settings) -> Result<AmazonS3, RunError> {
    // The standard variables of AWS, as the SDKs read them: the only ones that config.rs does not read.
    open_in(connector, config, settings, AmazonS3Builder::from_env()).await
}

/// The bucket, with what the environment says of AWS.
///
/// # Errors
/// As [`open`].
pub(super) async fn open_in(
    connector: &Connector,
    config: &AwsS3Config,
    settings: &Settings,
    environment: AmazonS3Builder,
) -> Result<AmazonS3, RunError> {
    let name = format!("connector {:?}", connector.name);
    if !config.has_plain_region() {
        let region = config.region.as_deref().unwrap_or_default();
        return Err(fault(format!("{name}: {region:?} is no region, such as eu-central-1")));
    }
    let key: Option<AccessKey> = match &connector.auth {
        None => None,
        Some(auth) if auth.is_empty() => None,
        // The error of serde would quote what it has read.
        Some(auth) => Some(serde_json::from_value(serde_json::Value::Object(auth.clone())).map_err(|_| {
            fault(format!("{name}: authConfig is not {{accessKeyId, secretAccessKey, sessionToken?}}"))
        })?),
    };
    let set = |key| environment.get_config_value(&key);
    let region = config.region.clone().or_else(|| set(AmazonS3ConfigKey::Region));
    let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    // What the deployment has set for itself is for its own role only.
    let own = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let own = own.filter(|_| key.is_none() && config.endpoint.is_none());
    let builder = match key {
        Some(key) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(key.access_key_id)
                .with_secret_access_key(key.secret_access_key);
            match key.session_token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        // Our own role's signature goes to AWS only, never to a server that a tenant names.
        None if config.endpoint.is_some() => AmazonS3Builder::new().with_skip_signature(true),
        None if settings.lake.url.strip_prefix("s3://").and_then(|l| l.split('/').next()) == Some(&config.bucket) => {
            return Err(fault(format!("{name}: the tables' own bucket is no source; give an access key for it")));
        }
        None => by_role(&name, config, environment, &region)?,
    };
    let mut builder = builder.with_region(&region).with_bucket_name(&config.bucket).with_retry(buckets::retries());
    if own.is_none() {
        let amazon = format!("https://s3.{region}.amazonaws.com");
        let endpoint = config.endpoint.as_deref().map_or(amazon.as_str(), |given| given.trim_end_matches('/'));
        let (url, http) = buckets::client(&name, endpoint, config.endpoint.is_some(), settings).await?;
        builder = builder
            .with_client_options(ClientOptions::new().with_allow_http(url.scheme() == "http"))
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(false)
            .with_http_connector(http);
    }
    builder.build().map_err(|e| fault(format!("{name}: the bucket {:?} cannot be opened: {e}", config.bucket)))
}

/// The environment with the credentials of its role, which come from where no connector's requests may go.
fn by_role(
    name: &str,
    config: &AwsS3Config,
    environment: AmazonS3Builder,
    region: &str,
) -> Result<AmazonS3Builder, RunError> {
    let failed = |e| fault(format!("{name}: the credentials of the worker's own role cannot be used: {e}"));
    let store = environment.clone().with_bucket_name(&config.bucket).with_region(region).build().map_err(failed)?;
    Ok(environment.with_credentials(Arc::clone(store.credentials())))
}
