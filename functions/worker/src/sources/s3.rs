//! Opens the bucket of an `aws_s3` connector.

use super::place::fault;
use crate::engine::job::{Connector, Settings};
use crate::error::RunError;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use shared::models::connector::{AccessKey, AwsS3Config};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use url::Url;

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
        let url =
            Url::parse(endpoint).map_err(|e| fault(format!("{name}: endpoint {endpoint:?} is not a URL: {e}")))?;
        check_endpoint(&name, &url, settings.files_root.is_none()).await?;
        client = client.with_allow_http(url.scheme() == "http");
        builder = builder.with_endpoint(endpoint.trim_end_matches('/')).with_virtual_hosted_style_request(false);
    }
    builder
        .with_bucket_name(&config.bucket)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 5,
            retry_timeout: Duration::from_secs(60),
        })
        .build()
        .map_err(|e| fault(format!("{name}: the bucket {:?} cannot be opened: {e}", config.bucket)))
}

/// Refuses servers behind which a cloud keeps its metadata and credentials, and on AWS the machine itself.
async fn check_endpoint(name: &str, url: &Url, deployed: bool) -> Result<(), RunError> {
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
        return Err(fault(format!("{name}: endpoint {url} is not an http or https URL")));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|e| {
        RunError::new(crate::error::Kind::SourceUnavailable, format!("{name}: endpoint {url} is not found: {e}"))
    })?;
    for address in addresses {
        if is_forbidden(address.ip(), deployed) {
            return Err(fault(format!(
                "{name}: endpoint {url} leads to {}, which connectors may not reach",
                address.ip()
            )));
        }
    }
    Ok(())
}

fn is_forbidden(ip: IpAddr, deployed: bool) -> bool {
    const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || deployed && (v4.is_loopback() || v4.is_unspecified())
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6 == EC2_METADATA
                || v6.is_multicast()
                || deployed && (v6.is_loopback() || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_forbidden_everywhere_and_loopback_on_aws() {
        for ip in ["169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254"] {
            assert!(is_forbidden(ip.parse().unwrap(), false), "{ip}");
        }
        assert!(is_forbidden("127.0.0.1".parse().unwrap(), true));
        assert!(!is_forbidden("127.0.0.1".parse().unwrap(), false));
        assert!(!is_forbidden("10.0.0.7".parse().unwrap(), true));
    }
}
