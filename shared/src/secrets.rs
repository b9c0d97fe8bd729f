//! Envelope encryption of connectors' `authConfig`: a data key for each secret, wrapped by a KMS key or by a key file.
//!
//! A secret is bound to its tenant and connector: copied to another one it does not open. Functions hold a [`Sealer`], which can
//! only encrypt (with KMS by their IAM policy too); the worker alone holds an [`Opener`].

use crate::aws::{Chain, timeouts};
use crate::error::{BoxError, Error};
use crate::sealing::{self, Key, SealingError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};
use zeroize::Zeroizing;

/// Why a secret can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// This process was started without a key.
    #[error("no key for secrets is configured: FLOWGATE_KMS_KEY_ID or FLOWGATE_SECRETS_KEY_FILE names it")]
    NoKey,
    /// The key file cannot be read or made.
    #[error("the key file {path} for secrets: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The key file holds something else.
    #[error("the key file {path} for secrets has {length} bytes; 32 are a key")]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// How long it is, in bytes.
        length: usize,
    },
    /// KMS does not answer, or refuses.
    #[error("the key service: {0}")]
    Kms(#[source] BoxError),
    /// Encrypting did not work.
    #[error("encrypting the secret: {0}")]
    Seal(#[source] BoxError),
    /// The stored text is not what was sealed for this tenant and connector.
    #[error(
        "the stored secret cannot be decrypted: it was altered, sealed with another key, or belongs to another connector"
    )]
    Foreign,
}

impl From<SealingError> for SecretsError {
    fn from(error: SealingError) -> Self {
        match error {
            SealingError::Foreign => Self::Foreign,
            other => Self::Seal(other.into()),
        }
    }
}

impl From<SecretsError> for Error {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Kms(source) => Self::Unavailable { what: "the key service", source },
            other => Self::internal(other),
        }
    }
}

/// A sealed secret as the table keeps it. Its texts are base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// The wrapped data key.
    key: String,
    /// The secret, encrypted with the data key.
    text: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(redacted)")
    }
}

/// A secret in the clear, which is never printed and is wiped from memory after use.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The secret itself: keep it out of logs and errors.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Encrypts secrets and can't decrypt them.
#[derive(Clone, Debug)]
pub struct Sealer(Wrapper);

impl Sealer {
    /// With data keys from KMS, wrapped by the key of this id, ARN or alias.
    pub fn kms(client: aws_sdk_kms::Client, key_id: impl Into<String>) -> Self {
        Self(Wrapper::Kms { client, key_id: key_id.into() })
    }

    /// With data keys that the key in this file wraps; the file is made, readable by its owner only, where it is missing.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or is not 32 bytes long.
    pub fn file(path: &Path) -> Result<Self, SecretsError> {
        key_of_file(path).map(|key| Self(Wrapper::File(key)))
    }

    /// For functions that have no business with secrets: sealing one is an error.
    pub fn none() -> Self {
        Self(Wrapper::None)
    }

    /// The same, whose calls of KMS end after `longest` with all their attempts, where it is given.
    #[must_use]
    pub fn within(self, longest: Option<Duration>) -> Self {
        match self.0 {
            Wrapper::Kms { client, key_id } => {
                let config = client.config().to_builder().timeout_config(timeouts(longest)).build();
                Self::kms(aws_sdk_kms::Client::from_conf(config), key_id)
            }
            other => Self(other),
        }
    }

    /// Encrypts `secret` for this connector of this tenant.
    ///
    /// # Errors
    /// Where there is no key, or KMS does not give one.
    pub async fn seal(&self, tenant: &str, connector_id: &str, secret: &[u8]) -> Result<Sealed, SecretsError> {
        let (key, wrapped) = self.0.new_key(tenant, connector_id).await?;
        let text = sealing::seal(&key, &bound_to("secret", tenant, connector_id), secret)?;
        Ok(Sealed { key: STANDARD.encode(wrapped), text: STANDARD.encode(text) })
    }
}

/// Decrypts secrets; for the worker.
#[derive(Clone, Debug)]
pub struct Opener(Wrapper);

impl Opener {
    /// With the KMS key of this id, ARN or alias.
    pub fn kms(client: aws_sdk_kms::Client, key_id: impl Into<String>) -> Self {
        Self(Wrapper::Kms { client, key_id: key_id.into() })
    }

    /// With the key in this file, which is made where it is missing.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or is not 32 bytes long.
    pub fn file(path: &Path) -> Result<Self, SecretsError> {
        key_of_file(path).map(|key| Self(Wrapper::File(key)))
    }

    /// Without a key: opening a secret is an error.
    pub fn none() -> Self {
        Self(Wrapper::None)
    }

    /// The secret that was sealed for this connector of this tenant.
    ///
    /// # Errors
    /// Where there is no key, KMS does not answer, or it was sealed for something else.
    pub async fn open(&self, tenant: &str, connector_id: &str, sealed: &Sealed) -> Result<Secret, SecretsError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| SecretsError::Foreign);
        let key = self.0.unwrap_key(tenant, connector_id, &decode(&sealed.key)?).await?;
        let text = sealing::open(&key, &bound_to("secret", tenant, connector_id), &decode(&sealed.text)?)?;
        Ok(Secret(text))
    }
}

/// What wraps data keys.
#[derive(Clone)]
enum Wrapper {
    Kms { client: aws_sdk_kms::Client, key_id: String },
    File(Key),
    None,
}

impl fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kms { key_id, .. } => write!(f, "Kms({key_id})"),
            Self::File(_) => f.write_str("File(redacted)"),
            Self::None => f.write_str("None"),
        }
    }
}

impl Wrapper {
    /// A new data key, in the clear and wrapped.
    async fn new_key(&self, tenant: &str, connector_id: &str) -> Result<(Key, Vec<u8>), SecretsError> {
        match self {
            Self::None => Err(SecretsError::NoKey),
            Self::File(master) => {
                let key = sealing::random_key()?;
                let wrapped = sealing::seal(master, &bound_to("key", tenant, connector_id), key.as_slice())?;
                Ok((key, wrapped))
            }
            Self::Kms { client, key_id } => {
                let answer = client
                    .generate_data_key()
                    .key_id(key_id)
                    .key_spec(DataKeySpec::Aes256)
                    .encryption_context("tenant", tenant)
                    .encryption_context("connector", connector_id)
                    .send()
                    .await
                    .map_err(|e| SecretsError::Kms(Box::new(Chain::new(e))))?;
                let incomplete = || SecretsError::Kms("its answer lacks a data key".into());
                let key = key_of_bytes(answer.plaintext().ok_or_else(incomplete)?.as_ref()).ok_or_else(incomplete)?;
                let wrapped = answer.ciphertext_blob().ok_or_else(incomplete)?.as_ref().to_vec();
                Ok((key, wrapped))
            }
        }
    }

    /// The data key in the clear.
    async fn unwrap_key(&self, tenant: &str, connector_id: &str, wrapped: &[u8]) -> Result<Key, SecretsError> {
        match self {
            Self::None => Err(SecretsError::NoKey),
            Self::File(master) => {
                let key = sealing::open(master, &bound_to("key", tenant, connector_id), wrapped)?;
                key_of_bytes(&key).ok_or(SecretsError::Foreign)
            }
            Self::Kms { client, key_id } => {
                let answer = client
                    .decrypt()
                    .key_id(key_id)
                    .ciphertext_blob(Blob::new(wrapped))
                    .encryption_context("tenant", tenant)
                    .encryption_context("connector", connector_id)
                    .send()
                    .await
                    .map_err(|e| match e.as_service_error() {
                        Some(e) if e.is_invalid_ciphertext_exception() || e.is_incorrect_key_exception() => {
                            SecretsError::Foreign
                        }
                        _ => SecretsError::Kms(Box::new(Chain::new(e))),
                    })?;
                answer.plaintext().and_then(|key| key_of_bytes(key.as_ref())).ok_or(SecretsError::Foreign)
            }
        }
    }
}

fn bound_to(what: &str, tenant: &str, connector_id: &str) -> Vec<u8> {
    sealing::binding(&["connector secret", what, tenant, connector_id])
}

fn key_of_bytes(bytes: &[u8]) -> Option<Key> {
    bytes.try_into().ok().map(Zeroizing::new)
}

/// The key in the file, which is made where it is missing.
fn key_of_file(path: &Path) -> Result<Key, SecretsError> {
    let fault = |source| SecretsError::KeyFile { path: path.to_owned(), source };
    let bytes = match fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_key_file(path, &sealing::random_key()?).map_err(fault)?;
            // Another process may have been first: what counts is what lies there now.
            Zeroizing::new(fs::read(path).map_err(fault)?)
        }
        Err(error) => return Err(fault(error)),
    };
    key_of_bytes(&bytes).ok_or_else(|| SecretsError::KeyLength { path: path.to_owned(), length: bytes.len() })
}

/// Puts a whole key there at once, unless there is one: a crash or a second process never leaves half a key.
fn make_key_file(path: &Path, key: &Key) -> io::Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(key.as_slice())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    // It is a second name of the key, or useless.
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

#[cfg(test)]
mod tests;
