//! Who calls: the tenant and the role that a token speaks for.

use crate::error::{Error, Result};
use crate::roles::Role;
use crate::token::{TokenError, Verifier};
use chrono::{DateTime, Utc};

/// The most characters that a tenant's name has.
const LONGEST_TENANT: usize = 128;
/// What [`is_tenant`] asks for, in words.
pub const TENANTS: &str = "1 to 128 ASCII letters, digits, '-', '_', '.' and '@', of which the first is no '.'";

/// Whether a tenant can have this name. It becomes a part of keys, and the name of a folder of the lake.
pub fn is_tenant(name: &str) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=LONGEST_TENANT).contains(&name.len()) && !name.starts_with('.') && name.chars().all(may)
}

/// The one who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub subject: String,
    /// All that the caller sees belongs to this tenant.
    pub tenant: String,
    /// The highest role that the token gives; none where it names no known one.
    pub role: Option<Role>,
}

impl Caller {
    /// A caller without a token, for what is public.
    pub fn anonymous() -> Self {
        Self { subject: String::new(), tenant: String::new(), role: None }
    }

    /// The caller that the `Authorization` header speaks for.
    ///
    /// # Errors
    /// 401 for no token or a bad one, 403 for one without a tenant, 503 where the keys cannot be fetched.
    pub async fn from_token(verifier: &Verifier, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Self> {
        let claims = verifier.verify(authorization, now).await.map_err(|error| match error {
            TokenError::JwksUnavailable(source) => {
                Error::Unavailable { what: "the token issuer's key set", source: source.into() }
            }
            other => Error::Unauthenticated(other.to_string()),
        })?;
        let tenant = claims
            .tenant
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Error::Forbidden("the token names no tenant: the claim is missing or empty".to_owned()))?;
        if !is_tenant(&tenant) {
            return Err(Error::Forbidden(format!("the token's tenant is not usable: that has {TENANTS}")));
        }
        let role = claims.roles.iter().filter_map(|name| Role::named(name)).max();
        Ok(Self { subject: claims.sub, tenant, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_name_can_be_a_key_and_a_folder() {
        let longest = "t".repeat(LONGEST_TENANT);
        for name in ["a", "acme", "Acme-2_eu.west", "ada@example.com", "-", longest.as_str()] {
            assert!(is_tenant(name), "{name}");
        }
        let longer = "t".repeat(LONGEST_TENANT + 1);
        for name in ["", ".", "..", ".acme", "a b", "a#b", "a/b", "a%2f", "\u{e4}cme", longer.as_str()] {
            assert!(!is_tenant(name), "{name}");
        }
    }
}
