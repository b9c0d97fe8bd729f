//! The time of a request: what has not come by its end is told by us, since API Gateway waits for 30 s, and the function is
//! ended a second before that.

use shared::context::Context;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a request may be worked on, from its start.
pub const LONGEST: Duration = Duration::from_secs(25);
/// How long after that the store may take to learn what was done.
const TELLING: Duration = Duration::from_secs(3);
/// When the last answer is there, from the start of its request.
pub const LATEST: Duration = LONGEST.saturating_add(TELLING);

/// When the parts of a request's work end.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// What must be followed by something ends by then: a commit to a table does not begin later.
    pub early: Instant,
    /// All work ends by then.
    pub end: Instant,
    /// The store knows by then what was done.
    pub told: Instant,
}

impl Deadline {
    /// That of a request which may be worked on for `longest`.
    pub fn new(context: &Context, longest: Duration) -> Self {
        Self::since(Instant::from_std(context.started), longest)
    }

    /// That of what began then.
    pub fn since(started: Instant, longest: Duration) -> Self {
        let end = started + longest;
        Self { early: started + early(longest), end, told: end + TELLING }
    }
}

/// The part of `longest` after which nothing begins that takes its time.
pub fn early(longest: Duration) -> Duration {
    longest * 4 / 5
}

/// What `work` comes to by `deadline`. `timeout_at` alone lets through what is done at once, however late it is.
pub async fn in_time<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    if Instant::now() >= deadline {
        return None;
    }
    timeout_at(deadline, work).await.ok()
}
