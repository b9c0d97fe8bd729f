//! `flowgate token`: a token for the API of the stack that has this data folder, or for a deployment.

use crate::arguments::Token;
use crate::console::{say, warn};
use crate::data_folder::{DataFolder, DataFolderError};
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
        None => (secret_of(&DataFolder::open(&arguments.data.data_dir)?)?, String::new()),
    };
    let (role, now) = (Role::from(arguments.role).name(), Clock::default().now());
    let sub = arguments.sub.as_deref().unwrap_or(role);
    let token = shared::token::issue(secret.as_bytes(), sub, &arguments.tenant, role, arguments.ttl, now)?;
    warn(format_args!("{role} of tenant {}, until {}{whose}:", arguments.tenant, rfc3339(now + arguments.ttl)));
    say(token);
    Ok(())
}

/// The secret of a data folder. That no stack knows it yet is said, for the folder may be a wrong one.
fn secret_of(folder: &DataFolder) -> Result<String, DataFolderError> {
    let is_new = !folder.has_jwt_secret();
    let secret = folder.jwt_secret()?;
    if is_new || !folder.has_run() {
        let made = if is_new { ", which was made just now" } else { "" };
        warn(format_args!(
            "no stack has used the secret in {} yet{made}: a stack that runs with another --data-dir refuses this token",
            folder.root().display()
        ));
    }
    Ok(secret)
}
