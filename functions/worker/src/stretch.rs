//! When a worker whose task protects itself takes nothing more for a while: ECS never ends one that is never empty, and an
//! update of its service would wait for it in vain.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// After this time what the agent has not agreed to is asked for again.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a worker may be busy without a break: it has several within the three hours after which CloudFormation gives up an
/// update.
const BUSY: Duration = Duration::from_secs(3600);

/// How long a worker waits until it is empty. What it could take meanwhile waits too, and may have no other worker: the tick
/// takes its free places for such.
const EMPTYING: Duration = Duration::from_secs(600);

/// How long ECS may take until it ends a task that is not protected any more.
const PAUSE: Duration = Duration::from_secs(60);

/// What a worker keeps to whose task protects itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// See [`Protection::keep`](shared::protection::Protection::keep).
    pub again: Duration,
    /// Busy for so long without a break, it takes nothing more until it is empty.
    pub busy: Duration,
    /// After so long it gives up waiting for that, until the runs have ended that it waited for.
    pub emptying: Duration,
    /// How long it must be empty for that to be a break.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { again: AGAIN, busy: BUSY, emptying: EMPTYING, pause: PAUSE }
    }
}

/// The time from one break of a worker to the next one.
#[derive(Debug)]
pub(crate) struct Stretch {
    pace: Pace,
    /// Since when it is busy; none as long as nothing was taken.
    since: Option<Instant>,
    /// Since when it is empty.
    empty: Option<Instant>,
    /// Since when it takes nothing more.
    resting: Option<Instant>,
    /// Held by all that was taken since it was last given up to wait.
    taken: Arc<()>,
    /// Held by what was taken before that.
    earlier: Weak<()>,
}

impl Stretch {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, since: None, empty: None, resting: None, taken: Arc::default(), earlier: Weak::new() }
    }

    /// Notes that a message was taken. What it answers is to be held as long as the message is worked on.
    pub(crate) fn take(&mut self, now: Instant) -> Arc<()> {
        self.since.get_or_insert(now);
        self.empty = None;
        Arc::clone(&self.taken)
    }

    /// How long nothing is to be taken by a worker that holds so many messages, if it ends none of them before; none where it
    /// may take more.
    pub(crate) fn rest(&mut self, held: usize, now: Instant) -> Option<Duration> {
        self.empty = if held == 0 { self.empty.or(Some(now)) } else { None };
        let empty = self.empty.map(|since| now - since);
        if empty.is_some_and(|time| time >= self.pace.pause) {
            (self.since, self.resting) = (None, None);
        }
        let busy = now - self.since?;
        if self.resting.is_none() && busy >= self.pace.busy && self.earlier.strong_count() == 0 {
            tracing::info!(
                held,
                "busy for long: nothing more is taken until this worker is empty and could be replaced"
            );
            self.resting = Some(now);
        }
        let rested = now - self.resting?;
        if let Some(time) = empty {
            return Some(self.pace.pause.saturating_sub(time));
        }
        if rested < self.pace.emptying {
            return Some(self.pace.emptying.saturating_sub(rested));
        }
        tracing::info!(held, "a run takes long: more is taken until it has ended");
        self.earlier = Arc::downgrade(&self.taken);
        self.taken = Arc::default();
        self.resting = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    /// A worker's stretch, and the moments by their minutes.
    fn stretch() -> (Stretch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Stretch::new(Pace { emptying: minutes(60), ..Pace::default() }), move |minute| start + minutes(minute))
    }

    #[test]
    fn a_worker_that_is_busy_for_long_takes_nothing_more_until_it_had_a_break() {
        let (mut stretch, at) = stretch();
        assert_eq!(stretch.rest(0, at(0)), None);
        let run = stretch.take(at(0));
        assert_eq!(stretch.rest(1, at(59)), None);
        assert_eq!(stretch.rest(2, at(60)), Some(minutes(60)));
        assert_eq!(stretch.rest(1, at(70)), Some(minutes(50)));
        drop(run);
        assert_eq!(stretch.rest(0, at(71)), Some(PAUSE));
        assert_eq!(stretch.rest(0, at(72)), None);
        // It begins anew with what is taken next.
        let run = stretch.take(at(80));
        assert_eq!(stretch.rest(1, at(139)), None);
        assert_eq!(stretch.rest(1, at(140)), Some(minutes(60)));
        drop(run);
    }

    #[test]
    fn only_a_worker_that_was_empty_for_a_while_had_a_break() {
        let (mut stretch, at) = stretch();
        drop(stretch.take(at(0)));
        let moment = at(30) + Duration::from_secs(59);
        assert_eq!((stretch.rest(0, at(30)), stretch.rest(0, moment)), (None, None));
        drop(stretch.take(moment));
        assert_eq!(stretch.rest(1, at(60)), Some(minutes(60)), "it was empty for less than a minute");
        let (mut stretch, at) = self::stretch();
        drop(stretch.take(at(0)));
        assert_eq!((stretch.rest(0, at(30)), stretch.rest(0, at(31))), (None, None));
        drop(stretch.take(at(31)));
        assert_eq!((stretch.rest(1, at(60)), stretch.rest(1, at(91))), (None, Some(minutes(60))));
    }

    #[test]
    fn a_worker_that_does_not_become_empty_in_time_takes_more_until_what_it_waited_for_has_ended() {
        let (mut stretch, at) = stretch();
        let long = stretch.take(at(0));
        assert_eq!(stretch.rest(1, at(60)), Some(minutes(60)));
        assert_eq!(stretch.rest(1, at(120)), None);
        let short = stretch.take(at(121));
        assert_eq!(stretch.rest(2, at(600)), None);
        drop(long);
        assert_eq!(stretch.rest(1, at(601)), Some(minutes(60)));
        drop(short);
        assert_eq!(stretch.rest(0, at(602)), Some(PAUSE));
    }
}
