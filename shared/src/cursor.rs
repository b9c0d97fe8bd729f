//! Cursors that clients can neither read nor forge, and keyed hashes, from one secret.

use crate::error::{Error, Result};
use crate::sealing::{self, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use std::fmt;

/// Longest cursor that is looked at, in characters.
const LONGEST: usize = 4096;

/// Fewest bytes of a secret.
const SHORTEST_SECRET: usize = 32;

/// Seals the places at which lists go on, and hashes the bodies of idempotent requests.
#[derive(Clone)]
pub struct Cursors(Option<Keys>);

#[derive(Clone)]
struct Keys {
    cursors: Key,
    hashes: Key,
    /// Tells the key of the hashes from that of another secret.
    hashes_id: String,
}

impl Cursors {
    /// With keys derived from `secret`, which must be the same in all functions. One of fewer than 32 bytes is not used:
    /// a function without the secret can start, and fails where it needs it.
    pub fn new(secret: &[u8]) -> Self {
        Self((secret.len() >= SHORTEST_SECRET).then(|| Keys {
            cursors: hmac(secret, b"flowgate cursors 1"),
            hashes: hmac(secret, b"flowgate idempotency 1"),
            hashes_id: hex::encode(&hmac(secret, b"flowgate idempotency id 1")[..4]),
        }))
    }

    /// The cursor for `position` in the list at `route` with these `filters`, as one text; URL-safe as it is.
    ///
    /// # Errors
    /// An internal error, where the secret is missing or the position cannot be written as JSON.
    pub fn seal(&self, tenant: &str, route: &str, filters: &str, position: &impl Serialize) -> Result<String> {
        let text = serde_json::to_vec(position).map_err(Error::internal)?;
        let sealed =
            sealing::seal(&self.keys()?.cursors, &bound_to(tenant, route, filters), &text).map_err(Error::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The position in `cursor`.
    ///
    /// # Errors
    /// A fault at `?cursor` where it was not sealed here for the same tenant, route and filters; an internal error where the
    /// secret is missing.
    pub fn open<T: DeserializeOwned>(&self, tenant: &str, route: &str, filters: &str, cursor: &str) -> Result<T> {
        let key = &self.keys()?.cursors;
        let bad = || {
            Error::fault(
                "?cursor",
                "invalid",
                "the cursor is not one that this list gave with these filters; leave it out to begin anew",
            )
        };
        if cursor.len() > LONGEST {
            return Err(bad());
        }
        let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let text = sealing::open(key, &bound_to(tenant, route, filters), &sealed).map_err(|_| bad())?;
        // One from an older release may hold another kind of position.
        serde_json::from_slice(&text).map_err(|_| bad())
    }

    /// A hash of `bytes` that tells nothing about them without the secret: 8 hexadecimal digits that stand for the secret,
    /// a dot, and 64 more.
    ///
    /// # Errors
    /// An internal error, where the secret is missing.
    pub fn keyed_hash(&self, bytes: &[u8]) -> Result<String> {
        let keys = self.keys()?;
        Ok(format!("{}.{}", keys.hashes_id, hex::encode(hmac(keys.hashes.as_slice(), bytes))))
    }

    fn keys(&self) -> Result<&Keys> {
        let missing =
            || Error::internal(format!("FLOWGATE_CURSOR_KEY is not set, or shorter than {SHORTEST_SECRET} bytes"));
        self.0.as_ref().ok_or_else(missing)
    }
}

impl fmt::Debug for Cursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursors(redacted)")
    }
}

/// Whether two keyed hashes are of one secret; what they are of is known to differ only then.
pub(crate) fn of_one_secret(one: &str, other: &str) -> bool {
    fn secret(hash: &str) -> Option<&str> {
        hash.split_once('.').map(|(id, _)| id)
    }
    secret(one) == secret(other)
}

fn bound_to(tenant: &str, route: &str, filters: &str) -> Vec<u8> {
    sealing::binding(&["cursor", tenant, route, filters])
}

fn hmac(key: &[u8], bytes: &[u8]) -> Key {
    let mut result = Key::default();
    // HMAC takes keys of every length, so this is never skipped.
    if let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) {
        result.copy_from_slice(&mac.chain_update(bytes).finalize().into_bytes());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn fault_pointer(error: &Error) -> &str {
        match error {
            Error::Invalid(faults) => &faults[0].pointer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_opens_for_its_own_tenant_route_and_filters_only() {
        let cursors = Cursors::new(SECRET);
        let position = ("2026-01-01".to_owned(), 7);
        let cursor = cursors.seal("acme", "/pipelines", "status=active", &position).unwrap();
        let open = |tenant, route, filters| Cursors::new(SECRET).open::<(String, i32)>(tenant, route, filters, &cursor);
        assert_eq!(open("acme", "/pipelines", "status=active").unwrap(), position);
        for (tenant, route, filters) in [
            ("other", "/pipelines", "status=active"),
            ("acme", "/connectors", "status=active"),
            ("acme", "/pipelines", ""),
            ("acme", "/pipelinesstatus=active", ""),
        ] {
            assert_eq!(fault_pointer(&open(tenant, route, filters).unwrap_err()), "?cursor");
        }
    }

    #[test]
    fn a_cursor_needs_no_url_escaping_and_shows_nothing() {
        for n in 0..200 {
            let cursor = Cursors::new(SECRET).seal("acme", "/r", "", &format!("secret{n}")).unwrap();
            assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
            assert!(!String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(&cursor).unwrap()).contains("secret"));
        }
    }

    #[test]
    fn an_altered_cursor_and_one_of_another_key_or_kind_are_faults() {
        let cursors = Cursors::new(SECRET);
        let cursor = cursors.seal("acme", "/r", "", &1).unwrap();
        for at in 0..cursor.len() {
            let mut altered = cursor.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(cursors.open::<i32>("acme", "/r", "", &altered).is_err(), "{altered}");
        }
        for bad in ["", "x", "not a cursor", "%%%", &"A".repeat(5000), &format!("{cursor}=")] {
            assert_eq!(fault_pointer(&cursors.open::<i32>("acme", "/r", "", bad).unwrap_err()), "?cursor");
        }
        assert!(Cursors::new(b"another secret of thirty-two byte").open::<i32>("acme", "/r", "", &cursor).is_err());
        assert!(cursors.open::<Vec<String>>("acme", "/r", "", &cursor).is_err());
    }

    #[test]
    fn a_keyed_hash_depends_on_the_bytes_and_the_secret() {
        let hash = Cursors::new(SECRET).keyed_hash(b"body").unwrap();
        assert_eq!(hash.len(), 8 + 1 + 64);
        assert_eq!(hash, Cursors::new(SECRET).keyed_hash(b"body").unwrap());
        let of_another_body = Cursors::new(SECRET).keyed_hash(b"Body").unwrap();
        assert!(hash != of_another_body && of_one_secret(&hash, &of_another_body));
        let of_another_secret = Cursors::new(b"another secret of thirty-two byte").keyed_hash(b"body").unwrap();
        assert!(hash != of_another_secret && !of_one_secret(&hash, &of_another_secret));
    }

    #[test]
    fn without_a_secret_nothing_is_sealed_with_a_guessable_key() {
        for secret in [b"".as_slice(), b"short"] {
            let cursors = Cursors::new(secret);
            assert!(matches!(cursors.seal("acme", "/r", "", &1), Err(Error::Internal(_))));
            assert!(matches!(cursors.open::<i32>("acme", "/r", "", "AAAA"), Err(Error::Internal(_))));
            assert!(matches!(cursors.keyed_hash(b"body"), Err(Error::Internal(_))));
        }
        assert_eq!(format!("{:?}", Cursors::new(SECRET)), "Cursors(redacted)");
    }
}
