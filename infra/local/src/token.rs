//! `flowgate token`: a token for the API of the stack that has this data folder, or for a deployment.

use crate::arguments::Token;
use crate::console::{say, warn};
use crate::data_folder::DataFolder;
use shared::clock::{Clock, rfc3339};
use shared::config::names;
use shared::error::BoxError;
use shared::roles::Role;

/// Prints a token alone on the last line of standard output; what it is for goes to standard error.
///
/// # Errors
/// Where the data folder cannot be used.
pub fn run(arguments: &Token) -> Result<(), BoxError> {
    let (secret, whose) = match arguments.secret.as_ref().filter(|secret| !secret.is_empty()) {
        Some(secret) => (secret.clone(), format!(", signed with --secret or {}", names::JWT_SECRET)),
        None => (DataFolder::open(&arguments.data.data_dir)?.jwt_secret()?, String::new()),
    };
    let (role, now) = (Role::from(arguments.role).name(), Clock::default().now());
    let sub = arguments.sub.as_deref().unwrap_or(role);
    let token = shared::token::issue(secret.as_bytes(), sub, &arguments.tenant, role, arguments.ttl, now)?;
    warn(format_args!("{role} of tenant {}, until {}{whose}:", arguments.tenant, rfc3339(now + arguments.ttl)));
    say(token);
    Ok(())
}
