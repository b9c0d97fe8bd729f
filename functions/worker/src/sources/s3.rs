//! Opens the bucket of an `aws_s3` connector.

use super::buckets;
use super::place::fault;
use crate::engine::job::{Connector, Settings};
use crate::error::RunError;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use shared::models::connector::{AccessKey, AwsS3Config};
use std::time::Duration;

/// The bucket, by the connector's access key or else by the role of the environment.
///
/// # Errors
/// `Kind::Source` where the config cannot be used.
pub async fn open(connector: &Connector, config: &AwsS3Config, settings: &Settings) -> Result<AmazonS3, RunError> {
    let name = format!("connector {:?}", connector.name);
    let key: Option<AccessKey> = match &connector.auth {
        None => None,
        Some(auth) if auth.is_empty() => None,
        // The error of serde would quote what it has read.
        Some(auth) => Some(serde_json::from_value(serde_json::Value::Object(auth.clone())).map_err(|_| {
            fault(format!("{name}: authConfig is not {{accessKeyId, secretAccessKey, sessionToken?}}"))
        })?),
    };
    // The standard variables of AWS, as the SDKs read them.
    let environment = AmazonS3Builder::from_env();
    let region = config.region.clone().or_else(|| environment.get_config_value(&AmazonS3ConfigKey::Region));
    let mut builder = match key {
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
        None => environment,
    };
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    let mut client =
        ClientOptions::new().with_timeout(Duration::from_secs(60)).with_connect_timeout(Duration::from_secs(5));
    if let Some(endpoint) = &config.endpoint {
        let (url, http) = buckets::client(&name, endpoint, settings).await?;
        client = client.with_allow_http(url.scheme() == "http");
        builder = builder
            .with_endpoint(endpoint.trim_end_matches('/'))
            .with_virtual_hosted_style_request(false)
            .with_http_connector(http);
    }
    builder
        .with_bucket_name(&config.bucket)
        .with_client_options(client)
        .with_retry(buckets::retries())
        .build()
        .map_err(|e| fault(format!("{name}: the bucket {:?} cannot be opened: {e}", config.bucket)))
}
