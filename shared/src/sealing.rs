//! Authenticated encryption of small things, each bound to what it belongs to.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// A key of AES-256.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Length of the nonce before each sealed text, in bytes.
const NONCE: usize = 12;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealingError {
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random(#[source] rand::rngs::SysError),
    /// It is too long for the cipher.
    #[error("it is too long to encrypt")]
    TooLong,
    /// It was altered, was sealed with another key, or belongs to something else.
    #[error("it was altered, sealed with another key, or belongs to something else")]
    Foreign,
}

/// A new random key.
pub(crate) fn random_key() -> Result<Key, SealingError> {
    let mut key = Key::default();
    SysRng.try_fill_bytes(key.as_mut_slice()).map_err(SealingError::Random)?;
    Ok(key)
}

/// Everything that a sealed text is bound to, first its purpose; no two lists give the same bytes.
pub(crate) fn binding(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The nonce and the encrypted text with its tag. Only the same key and the same binding open it.
pub(crate) fn seal(key: &Key, binding: &[u8], text: &[u8]) -> Result<Vec<u8>, SealingError> {
    let mut nonce = [0; NONCE];
    SysRng.try_fill_bytes(&mut nonce).map_err(SealingError::Random)?;
    let cipher = Aes256Gcm::new(key.as_slice().try_into().map_err(|_| SealingError::Foreign)?);
    let payload = Payload { msg: text, aad: binding };
    let sealed = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealingError::TooLong)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// What was sealed.
pub(crate) fn open(key: &Key, binding: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(SealingError::Foreign)?;
    let cipher = Aes256Gcm::new(key.as_slice().try_into().map_err(|_| SealingError::Foreign)?);
    let payload = Payload { msg: sealed, aad: binding };
    cipher.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| SealingError::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_binding_open_an_unaltered_text() {
        let key = random_key().unwrap();
        let bound = binding(&["test", "a", "bc"]);
        let sealed = seal(&key, &bound, b"text").unwrap();
        assert_eq!(open(&key, &bound, &sealed).unwrap().as_slice(), b"text");
        assert!(open(&random_key().unwrap(), &bound, &sealed).is_err());
        assert!(open(&key, &binding(&["test", "ab", "c"]), &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(open(&key, &bound, &altered).is_err(), "byte {at}");
            assert!(open(&key, &bound, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(seal(&key, &bound, b"text").unwrap(), sealed);
    }
}
