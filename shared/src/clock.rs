//! The time, from one place, so that tests can move it.

use chrono::{DateTime, SubsecRound, Utc};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Where the time comes from. Times have milliseconds, no more.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's clock, and so much more.
    System(chrono::Duration),
    /// Milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Default for Source {
    fn default() -> Self {
        Self::System(chrono::Duration::zero())
    }
}

impl Clock {
    /// A clock that stands at `at` until it is moved.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.timestamp_millis()))))
    }

    /// The system's clock as a machine shows it whose clock is wrong by so much.
    pub fn ahead(by: chrono::Duration) -> Self {
        Self(Source::System(by))
    }

    /// Now, in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System(ahead) => (Utc::now() + *ahead).trunc_subsecs(3),
            Source::Fixed(at) => DateTime::from_timestamp_millis(at.load(Ordering::SeqCst)).unwrap_or_default(),
        }
    }

    /// Moves a fixed clock; the system's clock is left alone.
    pub fn advance(&self, by: chrono::Duration) {
        if let Source::Fixed(at) = &self.0 {
            at.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        }
    }
}

/// `at` as the API writes it: RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
