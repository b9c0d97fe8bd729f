//! Who calls: the tenant and the role that a token speaks for.

use crate::error::{Error, Result};
use crate::roles::Role;
use crate::token::{TokenError, Verifier};
use chrono::{DateTime, Utc};

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
        if tenant.len() > 128
            || !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c))
            || tenant.starts_with('.')
        {
            return Err(Error::Forbidden(
                "the token's tenant is not usable: 1 to 128 ASCII letters, digits, '-', '_', '.' or '@' are".to_owned(),
            ));
        }
        let role = claims.roles.iter().filter_map(|name| Role::named(name)).max();
        Ok(Self { subject: claims.sub, tenant, role })
    }
}
