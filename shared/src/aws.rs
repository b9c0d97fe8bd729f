//! The AWS clients, with a trust store that is read in a tenth of the time of the system's.

use crate::config::ScalingConfig;
use crate::error::{Error, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use std::fmt;
use std::time::Duration;

/// How long an answer is waited for before the request is sent again: a connection that has gone silent says so never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The roots that sign all AWS endpoints, so that a cold start need not read a hundred others.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// Region, credentials and endpoints from the environment, over a client that trusts Amazon's roots alone. Where an
/// endpoint is plain HTTP, as an embedded table's or queue's is, TLS is not set up for it at all. No try is waited for
/// longer than [`PATIENCE`].
///
/// # Errors
/// Where the shipped certificates cannot be read, which is a defect.
pub async fn config() -> Result<SdkConfig> {
    let tls = TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS))
        .build()
        .map_err(|e| Error::internal(e.to_string()))?;
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    Ok(aws_config::defaults(BehaviorVersion::latest()).http_client(client).timeout_config(timeouts(None)).load().await)
}

/// No try is waited for longer than [`PATIENCE`], nor all tries of a call longer than `longest`, where it is given.
pub(crate) fn timeouts(longest: Option<Duration>) -> TimeoutConfig {
    let mut timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE);
    timeouts.set_operation_timeout(longest);
    timeouts.build()
}

/// Region and credentials for a server on this machine at `endpoint`, over plain HTTP.
pub fn local_config(endpoint: &str) -> SdkConfig {
    use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("local"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("local", "local", None, None, "local")))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .build()
}

/// An SDK error whose text is the whole chain of its causes.
#[derive(Debug)]
pub(crate) struct Chain(String);

impl Chain {
    pub(crate) fn new(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Chain {}

/// The worker service, whose number of tasks follows the queue.
#[derive(Debug, Clone)]
pub struct Workers {
    client: aws_sdk_ecs::Client,
    service: ScalingConfig,
}

impl Workers {
    /// The service that `service` names.
    pub fn new(config: &SdkConfig, service: ScalingConfig) -> Self {
        Self { client: aws_sdk_ecs::Client::new(config), service }
    }

    /// Lets as many tasks run as work this many messages at once.
    ///
    /// # Errors
    /// Where the service does not take it.
    pub async fn follow(&self, messages: u32) -> Result<()> {
        self.client
            .update_service()
            .cluster(&self.service.cluster)
            .service(&self.service.service)
            .desired_count(self.service.wanted(messages))
            .send()
            .await
            .map_err(|e| Error::Unavailable { what: "the worker service", source: Box::new(Chain::new(e)) })?;
        Ok(())
    }
}
