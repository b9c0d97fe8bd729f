//! What a handler may use: the store, the queue, the clock, and who calls.

use crate::caller::Caller;
use crate::clock::Clock;
use crate::config::Config;
use crate::cursor::Cursors;
use crate::error::Result;
use crate::http::Request;
use crate::queue::Queue;
use crate::secrets::Sealer;
use crate::store::Store;
use crate::token::Verifier;
use chrono::{DateTime, Utc};
use http::header;
use std::sync::Arc;
use std::time::Instant;

/// What a process has, made once.
pub struct Services {
    pub config: Config,
    pub clock: Clock,
    pub store: Store,
    pub queue: Queue,
    pub verifier: Verifier,
    pub cursors: Cursors,
    /// Encrypts connectors' secrets; nothing here can decrypt them.
    pub sealer: Sealer,
    /// Sets how many workers run; none where nothing is to be scaled.
    pub workers: Option<crate::aws::Workers>,
}

/// What a handler has while it handles one request.
#[derive(Clone)]
pub struct Context {
    services: Arc<Services>,
    pub caller: Caller,
    /// Names the request in logs and problems.
    pub request_id: String,
    /// When the request came.
    pub started: Instant,
}

impl Context {
    pub(crate) fn anonymous(services: &Arc<Services>, request: &Request) -> Self {
        let (caller, started) = (Caller::anonymous(), Instant::now());
        Self { services: Arc::clone(services), caller, request_id: request.id.clone(), started }
    }

    pub(crate) async fn authenticated(services: &Arc<Services>, request: &Request) -> Result<Self> {
        // The keys of tokens may have to be fetched.
        let started = Instant::now();
        let header = match request.headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => Some(value.to_str().unwrap_or("?")),
        };
        let caller = Caller::from_token(&services.verifier, header, services.clock.now()).await?;
        Ok(Self { services: Arc::clone(services), caller, request_id: request.id.clone(), started })
    }

    /// Now, in UTC with milliseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.services.clock.now()
    }
    /// The caller's tenant.
    pub fn tenant(&self) -> &str {
        &self.caller.tenant
    }
}

impl std::ops::Deref for Context {
    type Target = Services;
    fn deref(&self) -> &Services {
        &self.services
    }
}
