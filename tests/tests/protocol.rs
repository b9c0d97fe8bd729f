//! The protocol of claim, lease, commit and settle, with every order of its steps tried out: a model of one run, two workers
//! and a target, whose steps are those that the code takes with one request each. It is small enough to be searched whole.
//!
//! | step of the model | in the code |
//! |---|---|
//! | `claim` | `Store::claim`: pending, or running with a lease that is over; raises `attempt` |
//! | `open` | the target looks for the run's transaction before it stages |
//! | `gate` | `Store::enter_committing`: the attempt's own, not asked to be cancelled |
//! | `send` | a commit on its way to the log, right after the version that was looked at |
//! | `land`, `lose` | the log takes it if no other has that version; or it is lost, or only its answer is |
//! | `give_back` | `Store::give_back` after an error that another attempt may mend |
//! | `end` | `Store::end_run` by the holder |
//! | `settle` | `targets::settle`: an empty commit with the run's transaction where there is none |
//! | `cancel`, `bury` | `launch::stop` and `on_dead_letter`: whoever does not hold the run |
//!
//! A worker may stop before each of its steps for ever (a crash) or for as long as it likes (a pause): all orders are tried.

use std::collections::{HashMap, HashSet, VecDeque};

/// Attempts that the search goes up to: the third sees whatever two before it can have left.
const ATTEMPTS: u8 = 3;
/// Commits of the run that are on their way at once.
const FLIGHTS: usize = 3;

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
    },
    /// Its commit is on its way.
    Sent {
        attempt: u8,
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
    Settling {
        attempt: u8,
    },
    SettleSent {
        attempt: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct World {
    run: Run,
    workers: [At; 2],
    txn: Option<Txn>,
    /// How often the run's rows came in.
    taken: u8,
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
}

impl World {
    fn new() -> Self {
        let run = Run { status: Status::Pending, attempt: 0, lease_over: false, committing: false, cancel: false };
        Self { run, workers: [At::Idle; 2], txn: None, taken: 0, flights: Vec::new(), late: false }
    }

    /// What must hold whatever happened.
    fn fault(&self) -> Option<String> {
        if self.taken > 1 {
            return Some("the rows are in twice".to_owned());
        }
        match self.run.status {
            Status::Completed if self.txn != Some(Txn::Rows) => Some("a completed run's rows are not in".to_owned()),
            Status::Failed | Status::Cancelled if self.taken > 0 => {
                Some(format!("a {:?} run's rows are in", self.run.status))
            }
            _ => None,
        }
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
        self.flying(&mut all);
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
                if saw && self.late {
                    all.push(self.moved(who, At::Settling { attempt }));
                } else if self.late || (self.run.cancel && !saw) {
                    let status = if self.late { Status::Failed } else { Status::Cancelled };
                    all.push(self.moved(who, At::Ending { attempt, status }));
                }
                if saw {
                    // A message to settle.
                    all.push(self.moved(who, At::Settling { attempt }));
                } else {
                    all.push(self.moved(who, At::Ending { attempt, status: Status::Failed }));
                }
                all.push(match self.txn {
                    Some(Txn::Rows) => self.moved(who, At::Ending { attempt, status: Status::Completed }),
                    Some(Txn::Void) => self.moved(who, At::Idle),
                    None => self.moved(who, At::Staged { attempt }),
                });
                all.push(self.moved(who, At::Failing { attempt }));
            }
            At::Staged { attempt } => {
                if self.holds(attempt) && !self.run.cancel {
                    let entered = self.moved(who, At::Committing { attempt });
                    all.push(entered.with(|w| w.run.committing = true));
                    // Its answer is lost.
                    all.push(self.moved(who, At::Failing { attempt }).with(|w| w.run.committing = true));
                } else {
                    all.push(self.moved(who, At::Idle));
                    all.push(self.moved(who, At::Ending { attempt, status: Status::Cancelled }));
                }
                all.push(self.moved(who, At::Failing { attempt }));
            }
            At::Committing { attempt } => match self.txn {
                Some(Txn::Rows) if rules != Rules::BlindAfterConflict => {
                    all.push(self.moved(who, At::Ending { attempt, status: Status::Completed }));
                }
                Some(Txn::Void) if rules != Rules::BlindAfterConflict => all.push(self.moved(who, At::Idle)),
                _ => {
                    all.push(self.sent(who, Txn::Rows, At::Sent { attempt }));
                    all.push(self.moved(who, At::Failing { attempt }));
                }
            },
            // The answer, or none: see `flying`. It may also give up waiting, and try or fail.
            At::Sent { attempt } => {
                all.push(self.abandoned(who).moved(who, At::Committing { attempt }));
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
                // The last of its attempts (`fail`): the item says whether it may have committed.
                all.push(if self.run.committing {
                    self.moved(who, At::Settling { attempt })
                } else {
                    self.moved(who, At::Ending { attempt, status: Status::Failed })
                });
            }
            At::Settling { attempt } => {
                let to = |status| At::Ending { attempt, status };
                all.push(match self.txn {
                    _ if rules == Rules::SettlesWithoutTarget => self.moved(who, to(Status::Failed)),
                    Some(Txn::Rows) => self.moved(who, to(Status::Completed)),
                    Some(Txn::Void) => self.moved(who, to(Status::Failed)),
                    None => self.sent(who, Txn::Void, At::SettleSent { attempt }),
                });
            }
            At::SettleSent { attempt } => {
                all.push(self.abandoned(who).moved(who, At::Settling { attempt }));
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

    fn sent(&self, who: usize, txn: Txn, to: At) -> Self {
        let flight = Flight { txn, fresh: true, waits: u8::try_from(who).ok() };
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
        if !run.status.is_final() && !run.committing && (run.status == Status::Pending || run.lease_over) {
            // Delivered too often.
            all.push(self.with(|w| w.run.status = Status::Failed));
        }
        if self.flights.iter().any(|flight| flight.fresh) {
            all.push(self.with(Self::outdate));
        }
    }

    /// A commit came in: those that looked at the table before it cannot.
    fn outdate(&mut self) {
        for flight in &mut self.flights {
            flight.fresh = false;
        }
    }

    /// What becomes of commits that are on their way.
    fn flying(&self, all: &mut Vec<Self>) {
        for (index, flight) in self.flights.iter().enumerate() {
            let gone = |world: &mut Self| {
                world.flights.remove(index);
            };
            let answered = |world: &mut Self, landed: bool| {
                let Some(who) = flight.waits else { return };
                let at = &mut world.workers[usize::from(who)];
                *at = match (*at, landed) {
                    (At::Sent { attempt }, true) => At::Ending { attempt, status: Status::Completed },
                    (At::SettleSent { attempt }, true) => At::Ending { attempt, status: Status::Failed },
                    // A conflict: the table is looked at again.
                    (At::Sent { attempt }, false) => At::Committing { attempt },
                    (At::SettleSent { attempt }, false) => At::Settling { attempt },
                    (other, _) => other,
                };
            };
            if flight.fresh {
                all.push(self.with(|w| {
                    gone(w);
                    w.txn = Some(flight.txn);
                    w.outdate();
                    w.taken += u8::from(flight.txn == Txn::Rows);
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
fn search(rules: Rules) -> Result<Vec<World>, (String, Vec<World>)> {
    let start = World::new();
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
fn whatever_happens_a_run_ends_as_its_target_says_and_its_rows_come_in_once() {
    match search(Rules::AsTheyAre) {
        Ok(worlds) => {
            println!("{} states", worlds.len());
            // The search went where it should: the hard places are among what it saw.
            let seen = |what: &dyn Fn(&World) -> bool| assert!(worlds.iter().any(what));
            seen(&|w| w.run.status == Status::Completed && w.run.attempt == ATTEMPTS);
            seen(&|w| w.run.status == Status::Failed && w.txn == Some(Txn::Void) && !w.flights.is_empty());
            seen(&|w| w.workers.iter().all(|at| matches!(at, At::Sent { .. } | At::Committing { .. })));
            seen(&|w| w.run.status == Status::Cancelled && w.run.attempt > 1);
        }
        Err((fault, way)) => {
            let steps: Vec<String> = way.iter().map(|world| format!("{world:?}")).collect();
            panic!("{fault}:\n{}", steps.join("\n"));
        }
    }
}

#[test]
fn without_any_of_its_rules_the_search_finds_how_a_run_lies() {
    for (rules, wanted) in [
        (Rules::ForgetsCommitting, "run's rows are in"),
        (Rules::BlindAfterConflict, "twice"),
        (Rules::SettlesWithoutTarget, "a Failed run's rows are in"),
        (Rules::NoFence, "rows are in"),
    ] {
        let (fault, way) = search(rules).expect_err("a rule that nothing needs");
        assert!(fault.contains(wanted), "{rules:?}: {fault}: {way:?}");
    }
}
