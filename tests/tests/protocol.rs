//! The protocol of claim, lease, commit and settle, with every order of its steps tried out: a model of one run, two workers
//! and one target or two, whose steps are those that the code takes with one request each. It is small enough to be searched
//! whole. A second one is of a run and its retries.
//!
//! | step of the model | in the code |
//! |---|---|
//! | `claim` | `Store::claim`: pending, or running with a lease that is over; raises `attempt` |
//! | `open` | the target looks for the run's transaction before it stages |
//! | `gate` | `Store::enter_committing`, or `pass_committing`: the attempt's own, not asked to be cancelled |
//! | `send` | a commit on its way to the log, right after the version that was looked at |
//! | `land`, `lose` | the log takes it if no other has that version; or it is lost, or only its answer is |
//! | `give_back` | `Store::give_back` after an error that another attempt may mend |
//! | `end` | `Store::end_run` by the holder |
//! | `settle` | `targets::settle`: an empty commit with the run's transaction where there is none |
//! | `cancel`, `bury`, `look_after` | `launch::stop`, `on_dead_letter` and `on_schedule`: whoever does not hold the run |
//!
//! The targets are committed to one after the other, and settled one after the other. A target that does not answer is a
//! worker that stops there, and comes back.
//!
//! A worker may stop before each of its steps for ever (a crash) or for as long as it likes (a pause): all orders are tried.

use std::collections::{HashMap, HashSet, VecDeque};

/// Attempts that the search goes up to: the third sees whatever two before it can have left.
const ATTEMPTS: u8 = 3;
/// Commits of the run that are on their way at once.
const FLIGHTS: usize = 3;
/// A run that was to be cancelled, and whose first worker was heard of no more.
const ENDED_BY_TICK: Run =
    Run { status: Status::Cancelled, attempt: 1, lease_over: true, committing: false, cancel: true };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// The run's item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Run {
    status: Status,
    attempt: u8,
    lease_over: bool,
    committing: bool,
    cancel: bool,
}

/// What a commit carries for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Txn {
    Rows,
    Void,
}

/// A commit on its way: it lands only as the version after the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    txn: Txn,
    /// The target whose log it is on its way to.
    target: u8,
    /// Whether no other commit came since the table was looked at.
    fresh: bool,
    /// The worker that waits for its end; none where it gave up waiting.
    waits: Option<u8>,
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Idle,
    /// It holds the run, or thinks so; `attempt` is its fence. `saw` is whether the run was committing when it was claimed.
    Claimed {
        attempt: u8,
        saw: bool,
    },
    /// Rows are staged.
    Staged {
        attempt: u8,
    },
    /// It may commit: it looks at the table.
    Committing {
        attempt: u8,
        target: u8,
    },
    /// Its commit is on its way.
    Sent {
        attempt: u8,
        target: u8,
    },
    /// It has come to an end that it wants to write down.
    Ending {
        attempt: u8,
        status: Status,
    },
    /// An error that another attempt may mend.
    Failing {
        attempt: u8,
    },
    /// `missing` is whether a target before this one has not the rows.
    Settling {
        attempt: u8,
        target: u8,
        missing: bool,
    },
    SettleSent {
        attempt: u8,
        target: u8,
        missing: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct World {
    run: Run,
    workers: [At; 2],
    /// How many of the targets there are.
    targets: u8,
    txn: [Option<Txn>; 2],
    /// How often the run's rows came in, at each target.
    taken: [u8; 2],
    flights: Vec<Flight>,
    /// Whether the run takes longer than it may by now.
    late: bool,
}

/// How the protocol is played: as it is, or with one of its rules left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    AsTheyAre,
    /// A run that is given back is not committing any more.
    ForgetsCommitting,
    /// A commit does not look for the run's transaction again after a conflict.
    BlindAfterConflict,
    /// A settled run is failed without a word to the target.
    SettlesWithoutTarget,
    /// The end does not ask for the attempt.
    NoFence,
    /// A run is settled at the first of its targets alone.
    SettlesOneTarget,
    /// A tick ends a run that is late, also where it is committing.
    EndsCommitting,
}

impl World {
    fn new(targets: u8) -> Self {
        let run = Run { status: Status::Pending, attempt: 0, lease_over: false, committing: false, cancel: false };
        Self { run, workers: [At::Idle; 2], targets, txn: [None; 2], taken: [0; 2], flights: Vec::new(), late: false }
    }

    /// What the targets say.
    fn tables(&self) -> &[Option<Txn>] {
        &self.txn[..usize::from(self.targets)]
    }

    /// What must hold whatever happened.
    fn fault(&self) -> Option<String> {
        if self.taken.iter().any(|taken| *taken > 1) {
            return Some("the rows are in twice".to_owned());
        }
        let (all, some) = (self.tables().iter().all(|t| *t == Some(Txn::Rows)), self.taken != [0; 2]);
        match self.run.status {
            Status::Completed if !all => Some("a completed run's rows are not in".to_owned()),
            // Of several targets, some may have the rows of a run that failed in its commit; it says which.
            Status::Failed if all || (some && !self.run.committing) => Some("a Failed run's rows are in".to_owned()),
            Status::Failed if some && self.tables().contains(&None) => {
                Some("rows of a Failed run may still come in".to_owned())
            }
            Status::Cancelled if some => Some("a Cancelled run's rows are in".to_owned()),
            _ => None,
        }
    }

    /// The first of the targets is settled.
    fn settling(&self, who: usize, attempt: u8) -> Self {
        self.moved(who, At::Settling { attempt, target: 0, missing: false })
    }

    /// A target has its answer: the next one is settled, or the run ends.
    fn settled(&self, attempt: u8, target: u8, missing: bool, rules: Rules) -> At {
        if target + 1 < self.targets && rules != Rules::SettlesOneTarget {
            return At::Settling { attempt, target: target + 1, missing };
        }
        At::Ending { attempt, status: if missing { Status::Failed } else { Status::Completed } }
    }

    /// A target has the rows: the next one is committed to, or the run ends.
    fn committed(&self, attempt: u8, target: u8) -> At {
        if target + 1 < self.targets {
            return At::Committing { attempt, target: target + 1 };
        }
        At::Ending { attempt, status: Status::Completed }
    }

    fn holds(&self, attempt: u8) -> bool {
        self.run.status == Status::Running && self.run.attempt == attempt
    }

    /// Every world that one step leads to.
    fn next(&self, rules: Rules) -> Vec<Self> {
        let mut all = Vec::new();
        for who in 0..2 {
            self.worker(who, rules, &mut all);
        }
        self.others(rules, &mut all);
        self.flying(rules, &mut all);
        for world in &mut all {
            // What cannot land any more, and nobody waits for, is nothing.
            world.flights.retain(|flight| flight.fresh || flight.waits.is_some());
            world.flights.sort();
            world.flights.dedup();
        }
        all.retain(|world| world.flights.len() <= FLIGHTS);
        all
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world
    }

    fn moved(&self, who: usize, to: At) -> Self {
        self.with(|w| w.workers[who] = to)
    }

    fn worker(&self, who: usize, rules: Rules, all: &mut Vec<Self>) {
        let at = self.workers[who];
        if at != At::Idle {
            // Killed. What is on its way stays on its way.
            all.push(self.abandoned(who).moved(who, At::Idle));
        }
        match at {
            At::Idle => self.claim(who, all),
            At::Claimed { attempt, saw } => {
                // The life of a claimed run: what it was when it was claimed decides (`live`).
                if self.run.cancel && !saw {
                    all.push(self.moved(who, At::Ending { attempt, status: Status::Cancelled }));
                }
                // It is late, or there is a message to settle.
                all.push(if saw {
                    self.settling(who, attempt)
                } else {
                    self.moved(who, At::Ending { attempt, status: Status::Failed })
                });
                all.push(if self.tables().contains(&Some(Txn::Void)) {
                    // A target says that it was given up: the item says whether it may have committed to others.
                    if self.run.committing { self.settling(who, attempt) } else { self.moved(who, At::Idle) }
                } else if self.tables().contains(&None) {
                    self.moved(who, At::Staged { attempt })
                } else {
                    self.moved(who, At::Ending { attempt, status: Status::Completed })
                });
                all.push(self.moved(who, At::Failing { attempt }));
            }
            At::Staged { attempt } => {
                if self.holds(attempt) && !self.run.cancel {
                    let entered = self.moved(who, At::Committing { attempt, target: 0 });
                    all.push(entered.with(|w| w.run.committing = true));
                    // Its answer is lost.
                    all.push(self.moved(who, At::Failing { attempt }).with(|w| w.run.committing = true));
                } else {
                    all.push(self.moved(who, At::Idle));
                    all.push(self.moved(who, At::Ending { attempt, status: Status::Cancelled }));
                }
                all.push(self.moved(who, At::Failing { attempt }));
            }
            At::Committing { attempt, target } => {
                if self.late {
                    // It is stopped before it sends (`unless`).
                    all.push(self.settling(who, attempt));
                }
                match self.txn[usize::from(target)] {
                    Some(Txn::Rows) if rules != Rules::BlindAfterConflict => {
                        all.push(self.moved(who, self.committed(attempt, target)));
                    }
                    Some(Txn::Void) if rules != Rules::BlindAfterConflict => {
                        all.push(if self.holds(attempt) {
                            self.settling(who, attempt)
                        } else {
                            self.moved(who, At::Idle)
                        });
                    }
                    _ => {
                        all.push(self.sent(who, (Txn::Rows, target), At::Sent { attempt, target }));
                        all.push(self.moved(who, At::Failing { attempt }));
                    }
                }
            }
            // The answer, or none: see `flying`. It may also give up waiting, and try or fail.
            At::Sent { attempt, target } => {
                all.push(self.abandoned(who).moved(who, At::Committing { attempt, target }));
                all.push(self.abandoned(who).moved(who, At::Failing { attempt }));
            }
            At::Ending { attempt, status } => {
                let may = self.holds(attempt) || (rules == Rules::NoFence && !self.run.status.is_final());
                let ended = self.moved(who, At::Idle);
                all.push(if may { ended.with(|w| w.run.status = status) } else { ended });
            }
            At::Failing { attempt } => {
                if self.holds(attempt) && !self.run.cancel {
                    all.push(self.moved(who, At::Idle).with(|w| {
                        w.run.status = Status::Pending;
                        w.run.committing &= rules != Rules::ForgetsCommitting;
                    }));
                }
                // The last of its attempts (`fail`): the item says whether it may have committed. Where it is cancelled in
                // the same moment, that is what it says.
                all.push(if self.run.committing {
                    self.settling(who, attempt)
                } else {
                    let status = if self.run.cancel { Status::Cancelled } else { Status::Failed };
                    self.moved(who, At::Ending { attempt, status })
                });
            }
            At::Settling { attempt, target, missing } => all.push(match self.txn[usize::from(target)] {
                _ if rules == Rules::SettlesWithoutTarget => {
                    self.moved(who, At::Ending { attempt, status: Status::Failed })
                }
                Some(Txn::Rows) => self.moved(who, self.settled(attempt, target, missing, rules)),
                Some(Txn::Void) => self.moved(who, self.settled(attempt, target, true, rules)),
                None => self.sent(who, (Txn::Void, target), At::SettleSent { attempt, target, missing }),
            }),
            At::SettleSent { attempt, target, missing } => {
                all.push(self.abandoned(who).moved(who, At::Settling { attempt, target, missing }));
                all.push(self.abandoned(who).moved(who, At::Idle));
            }
        }
    }

    fn claim(&self, who: usize, all: &mut Vec<Self>) {
        let free = self.run.status == Status::Pending || (self.run.status == Status::Running && self.run.lease_over);
        if free && self.run.attempt < ATTEMPTS {
            let (attempt, saw) = (self.run.attempt + 1, self.run.committing);
            all.push(self.moved(who, At::Claimed { attempt, saw }).with(|w| {
                w.run = Run { status: Status::Running, attempt, lease_over: false, ..w.run };
            }));
        }
    }

    fn sent(&self, who: usize, (txn, target): (Txn, u8), to: At) -> Self {
        let flight = Flight { txn, target, fresh: true, waits: u8::try_from(who).ok() };
        self.moved(who, to).with(|w| w.flights.push(flight))
    }

    /// Nobody waits any more for what this worker sent.
    fn abandoned(&self, who: usize) -> Self {
        let who = u8::try_from(who).ok();
        self.with(|w| {
            for flight in w.flights.iter_mut().filter(|flight| flight.waits == who) {
                flight.waits = None;
            }
        })
    }

    /// What others do to the run and to the table.
    fn others(&self, rules: Rules, all: &mut Vec<Self>) {
        let run = self.run;
        if !self.late {
            all.push(self.with(|w| w.late = true));
        }
        if run.status == Status::Running && !run.lease_over {
            // No heartbeat came in time.
            all.push(self.with(|w| w.run.lease_over = true));
        }
        let forgets = rules == Rules::ForgetsCommitting;
        if run.status == Status::Pending && (!run.committing || forgets) {
            all.push(self.with(|w| w.run.status = Status::Cancelled));
        }
        if run.status == Status::Running && !run.committing && !run.cancel {
            all.push(self.with(|w| w.run.cancel = true));
        }
        let is_free = run.status == Status::Pending || (run.status == Status::Running && run.lease_over);
        if is_free && !run.committing {
            // Delivered too often.
            all.push(self.with(|w| w.run.status = Status::Failed));
        }
        if is_free && (!run.committing || rules == Rules::EndsCommitting) {
            // The tick ends what was to be cancelled, and what is late, though its worker may only be paused.
            if run.cancel {
                all.push(self.with(|w| w.run.status = Status::Cancelled));
            } else if self.late {
                all.push(self.with(|w| w.run.status = Status::Failed));
            }
        }
        for target in 0..self.targets {
            if self.flights.iter().any(|flight| flight.fresh && flight.target == target) {
                all.push(self.with(|w| w.outdate(target)));
            }
        }
    }

    /// A commit came in: those that looked at the table before it cannot.
    fn outdate(&mut self, target: u8) {
        for flight in self.flights.iter_mut().filter(|flight| flight.target == target) {
            flight.fresh = false;
        }
    }

    /// What becomes of commits that are on their way.
    fn flying(&self, rules: Rules, all: &mut Vec<Self>) {
        for (index, flight) in self.flights.iter().enumerate() {
            let gone = |world: &mut Self| {
                world.flights.remove(index);
            };
            let answered = |world: &mut Self, landed: bool| {
                let Some(who) = flight.waits else { return };
                let at = match (world.workers[usize::from(who)], landed) {
                    (At::Sent { attempt, target }, true) => world.committed(attempt, target),
                    (At::SettleSent { attempt, target, .. }, true) => world.settled(attempt, target, true, rules),
                    // A conflict: the table is looked at again.
                    (At::Sent { attempt, target }, false) => At::Committing { attempt, target },
                    (At::SettleSent { attempt, target, missing }, false) => At::Settling { attempt, target, missing },
                    (other, _) => other,
                };
                world.workers[usize::from(who)] = at;
            };
            if flight.fresh {
                all.push(self.with(|w| {
                    gone(w);
                    w.txn[usize::from(flight.target)] = Some(flight.txn);
                    w.outdate(flight.target);
                    w.taken[usize::from(flight.target)] += u8::from(flight.txn == Txn::Rows);
                    answered(w, true);
                }));
            } else {
                all.push(self.with(|w| {
                    gone(w);
                    answered(w, false);
                }));
            }
            if flight.waits.is_none() {
                all.push(self.with(gone));
            }
        }
    }
}

/// Tries every order of steps; answers the worlds, or the way to the first that must not be.
fn search(rules: Rules, targets: u8) -> Result<Vec<World>, (String, Vec<World>)> {
    let start = World::new(targets);
    let mut ids = HashMap::from([(start.clone(), 0_usize)]);
    let (mut worlds, mut from) = (vec![start], vec![0_usize]);
    let mut queue = VecDeque::from([0_usize]);
    let mut backwards: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(id) = queue.pop_front() {
        if let Some(fault) = worlds[id].fault() {
            return Err((fault, way(&worlds, &from, id)));
        }
        for world in worlds[id].next(rules) {
            if worlds[id].run.status.is_final() {
                assert_eq!(world.run.status, worlds[id].run.status, "nothing leaves a final state");
            }
            let next = *ids.entry(world.clone()).or_insert_with(|| {
                worlds.push(world);
                from.push(id);
                backwards.push(Vec::new());
                queue.push_back(worlds.len() - 1);
                worlds.len() - 1
            });
            backwards[next].push(id);
        }
    }
    // Nothing is for ever: from each world a final one can be reached, as long as there are attempts left.
    let mut reaches: HashSet<usize> = (0..worlds.len()).filter(|id| worlds[*id].run.status.is_final()).collect();
    let mut queue: VecDeque<usize> = reaches.iter().copied().collect();
    while let Some(id) = queue.pop_front() {
        for before in &backwards[id] {
            if reaches.insert(*before) {
                queue.push_back(*before);
            }
        }
    }
    let stuck = |id: &usize| !reaches.contains(id) && worlds[*id].run.attempt < ATTEMPTS;
    match (0..worlds.len()).find(stuck) {
        Some(id) => Err(("the run can never end".to_owned(), way(&worlds, &from, id))),
        None => Ok(worlds),
    }
}

fn way(worlds: &[World], from: &[usize], mut id: usize) -> Vec<World> {
    let mut way = vec![worlds[id].clone()];
    while id != 0 {
        id = from[id];
        way.push(worlds[id].clone());
    }
    way.reverse();
    way
}

#[test]
fn whatever_happens_a_run_ends_as_its_targets_say_and_its_rows_come_in_once() {
    for targets in [1, 2] {
        match search(Rules::AsTheyAre, targets) {
            Ok(worlds) => {
                println!("{targets} targets: {} states", worlds.len());
                // The search went where it should: the hard places are among what it saw.
                let seen = |what: &dyn Fn(&World) -> bool| assert!(worlds.iter().any(what));
                seen(&|w| w.run.status == Status::Completed && w.run.attempt == ATTEMPTS);
                seen(&|w| w.run.status == Status::Failed && w.txn[0] == Some(Txn::Void) && !w.flights.is_empty());
                seen(&|w| w.workers.iter().all(|at| matches!(at, At::Sent { .. } | At::Committing { .. })));
                seen(&|w| w.run.status == Status::Cancelled && w.run.attempt > 1);
                // The only worker was paused, and goes on to its commit.
                seen(&|w| w.run == ENDED_BY_TICK && w.workers.contains(&At::Staged { attempt: 1 }));
                if targets == 2 {
                    seen(&|w| w.run.status == Status::Failed && w.txn == [Some(Txn::Rows), Some(Txn::Void)]);
                }
            }
            Err((fault, way)) => {
                let steps: Vec<String> = way.iter().map(|world| format!("{world:?}")).collect();
                panic!("{fault}:\n{}", steps.join("\n"));
            }
        }
    }
}

#[test]
fn without_any_of_its_rules_the_search_finds_how_a_run_lies() {
    for (rules, targets, wanted) in [
        (Rules::ForgetsCommitting, 1, "run's rows are in"),
        (Rules::BlindAfterConflict, 1, "twice"),
        (Rules::SettlesWithoutTarget, 1, "a Failed run's rows are in"),
        (Rules::NoFence, 1, "rows are in"),
        (Rules::SettlesOneTarget, 2, "rows are not in"),
        (Rules::EndsCommitting, 1, "run's rows are in"),
    ] {
        let (fault, way) = search(rules, targets).expect_err("a rule that nothing needs");
        assert!(fault.contains(wanted), "{rules:?}: {fault}: {way:?}");
    }
}

/// A run and its retries at one target: each looks for the rows of those before it, and brings its own where there are none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Family {
    members: Vec<Member>,
    taken: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    retry_of: Option<usize>,
    retried: bool,
    at: Living,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Living {
    Pending,
    /// It found no rows of a run before it.
    Alone,
    /// It has failed; its rows are in or not.
    Failed {
        is_in: bool,
    },
    Completed,
}

impl Family {
    fn next(&self, retries_once: bool) -> Vec<Self> {
        let mut all = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            let mut to = |at, taken: u8| {
                let mut family = self.clone();
                family.members[index].at = at;
                family.taken += taken;
                all.push(family);
            };
            match member.at {
                Living::Pending => {
                    let is_in = |member: &Member| match member.at {
                        Living::Failed { is_in } => is_in,
                        other => other == Living::Completed,
                    };
                    let mut before = std::iter::successors(member.retry_of, |id| self.members[*id].retry_of);
                    let found = before.any(|id| is_in(&self.members[id]));
                    to(if found { Living::Completed } else { Living::Alone }, 0);
                    to(Living::Failed { is_in: false }, 0);
                }
                Living::Alone => {
                    to(Living::Completed, 1);
                    to(Living::Failed { is_in: false }, 0);
                    // Of several targets this one has the rows, and another one has not.
                    to(Living::Failed { is_in: true }, 1);
                }
                Living::Failed { .. } if self.members.len() < 4 && !(retries_once && member.retried) => {
                    let mut family = self.clone();
                    family.members[index].retried = true;
                    family.members.push(Member { retry_of: Some(index), retried: false, at: Living::Pending });
                    all.push(family);
                }
                Living::Failed { .. } | Living::Completed => {}
            }
        }
        all
    }

    /// The most often that the rows come in, whatever happens.
    fn worst(retries_once: bool) -> u8 {
        let first = Member { retry_of: None, retried: false, at: Living::Pending };
        let start = Self { members: vec![first], taken: 0 };
        let (mut known, mut queue) = (HashSet::from([start.clone()]), VecDeque::from([start]));
        let mut worst = 0;
        while let Some(family) = queue.pop_front() {
            worst = worst.max(family.taken);
            queue.extend(family.next(retries_once).into_iter().filter(|next| known.insert(next.clone())));
        }
        worst
    }
}

#[test]
fn retries_of_retries_bring_the_rows_once_and_two_retries_of_one_run_would_not() {
    assert_eq!(Family::worst(true), 1);
    assert!(Family::worst(false) > 1, "a rule that nothing needs");
}
