//! What is done to a run at a moment of its life, how often, and what was done in the end.

use crate::moments::Moment;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Mutex;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the worker, which another one follows.
    KillWorker,
    /// kill -9 of the stack with the table and the queues, which is started again.
    KillStack,
    /// SIGSTOP of the worker until its leases are over, then SIGCONT.
    Pause,
    /// The same of the stack.
    PauseStack,
    /// The worker's clock jumps, forwards or back, by more than a lease.
    ClockJump,
    /// The disk of the stack and of the workers is full for some seconds.
    FullDisk,
    /// The request, or its answer, comes only after the lease is over.
    Late,
    /// Too many requests.
    Throttle,
    /// Status 500; after the request was done, where the moment is after.
    ServerError,
    /// The connection is closed without an answer; after the request was done, where the moment is after.
    Reset,
    /// No answer ever; after the request was done, where the moment is after.
    Silence,
    /// The bucket refuses, so that the attempt fails.
    Refuse,
    /// Somebody cancels the run in this moment.
    Cancel,
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::KillWorker,
        Self::KillStack,
        Self::Pause,
        Self::PauseStack,
        Self::ClockJump,
        Self::FullDisk,
        Self::Late,
        Self::Throttle,
        Self::ServerError,
        Self::Reset,
        Self::Silence,
        Self::Refuse,
        Self::Cancel,
    ];

    /// Whether it can be at a moment: what was done is not refused afterwards.
    fn fits(self, moment: Moment) -> bool {
        match self {
            // A database is not spoken to by requests; one that keeps silent is waited for as long as the run may take.
            Self::Throttle | Self::ServerError | Self::Silence if moment.is_of_database() => false,
            Self::Throttle => !moment.is_after(),
            Self::Refuse => moment.is_of_lake(),
            // Nothing in such a request says which run it is for.
            Self::Cancel => moment.names_a_run(),
            _ => true,
        }
    }
}

/// How many faults are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Kills of workers at each moment.
    pub kills: usize,
    /// Kills of the stack at each moment.
    pub stack_kills: usize,
    /// Pauses of workers at each moment that every run meets.
    pub pauses: usize,
    /// Each of the others at each such moment.
    pub others: usize,
    /// Refusals of the bucket at each such moment: attempts that fail have moments of their own.
    pub refuses: usize,
    /// Each but the kills at each moment that only some runs meet.
    pub rare: usize,
    /// The part of all but the kills that is left out, so that a short storm has a different part each time.
    pub left_out: f64,
    /// One in so many who come to a moment meets a fault, while there are some for it.
    pub one_in: u32,
    /// How often a worker and the stack are killed at least.
    pub least: [Least; 2],
}

/// How often a fault happens at least, at each moment where it can.
#[derive(Debug, Clone, Copy)]
pub struct Least {
    pub fault: Fault,
    /// At one that every run meets.
    pub at_all: usize,
    /// At one that only some do.
    pub at_rare: usize,
}

impl Least {
    fn at(self, moment: Moment) -> usize {
        if Moment::RARE.contains(&moment) { self.at_rare } else { self.at_all }
    }
}

/// One in so many who come to a moment that only some runs meet.
const ONE_IN_RARE: u32 = 2;

/// What is still to be done, and what was done.
pub struct Faults {
    waiting: Mutex<HashMap<Moment, Vec<Fault>>>,
    planned: BTreeMap<Moment, Vec<Fault>>,
    done: Mutex<BTreeMap<(Moment, Fault), usize>>,
    /// Others that no moment names: doubled messages, ticks with a wrong clock.
    besides: Mutex<BTreeMap<&'static str, usize>>,
    random: Mutex<StdRng>,
    one_in: u32,
    least: [Least; 2],
}

impl Faults {
    /// What `wanted` says, in an order that `seed` gives; of the faults and moments, only what can be here.
    pub fn plan(seed: u64, wanted: Wanted, can: impl Fn(Moment, Fault) -> bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut planned = BTreeMap::new();
        for (place, moment) in (0..).zip(Moment::ALL.into_iter().chain(Moment::RARE)) {
            let mut all = Vec::new();
            for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(moment) && can(moment, *fault)) {
                let count = match fault {
                    Fault::KillWorker => wanted.kills,
                    Fault::KillStack => wanted.stack_kills,
                    // These hold up all runs for a while.
                    Fault::PauseStack | Fault::FullDisk => {
                        usize::from(wanted.others > 1 || (place + seed).is_multiple_of(3))
                    }
                    _ if Moment::RARE.contains(&moment) => wanted.rare,
                    Fault::Refuse => wanted.refuses,
                    Fault::Pause => wanted.pauses,
                    _ => wanted.others,
                };
                let must = wanted.least.iter().any(|least| least.fault == fault && least.at_all > 0)
                    || (fault == Fault::Refuse && Moment::ALL.contains(&moment));
                all.extend((0..count).filter(|_| must || !random.random_bool(wanted.left_out)).map(|_| fault));
            }
            all.shuffle(&mut random);
            if Moment::RARE.contains(&moment) {
                all.sort_by_key(|fault| !wanted.least.iter().any(|least| least.fault == *fault));
            }
            planned.insert(moment, all);
        }
        Self {
            waiting: Mutex::new(planned.clone().into_iter().collect()),
            planned,
            done: Mutex::default(),
            besides: Mutex::default(),
            random: Mutex::new(random),
            one_in: wanted.one_in,
            least: wanted.least,
        }
    }

    /// The next fault of a moment, for about one in so many who come by; only those that `can` be now.
    pub fn take(&self, moment: Moment, can: impl Fn(Fault) -> bool) -> Option<Fault> {
        let one_in = if Moment::RARE.contains(&moment) { ONE_IN_RARE } else { self.one_in };
        if !self.random.lock().unwrap().random_ratio(1, one_in) {
            return None;
        }
        let mut waiting = self.waiting.lock().unwrap();
        let of = waiting.get_mut(&moment)?;
        let place = of.iter().position(|fault| can(*fault))?;
        let fault = of.remove(place);
        *self.done.lock().unwrap().entry((moment, fault)).or_default() += 1;
        Some(fault)
    }

    /// How many faults are still to be done at moments that every run meets.
    pub fn left(&self) -> usize {
        let waiting = self.waiting.lock().unwrap();
        Moment::ALL.iter().filter_map(|moment| waiting.get(moment)).map(Vec::len).sum()
    }

    /// What has happened less often than it has to: where, what, how often, and how often at least.
    fn lacking(&self) -> impl Iterator<Item = (Moment, Fault, usize, usize)> {
        let least = self.planned.iter().flat_map(|(moment, all)| {
            let can = self.least.into_iter().filter(|least| all.contains(&least.fault));
            can.map(|least| (*moment, least.fault, self.count(*moment, least.fault), least.at(*moment)))
        });
        least.filter(|(_, _, done, least)| done < least)
    }

    /// How many faults are still to be done that have to be, at moments that only some runs meet.
    pub fn rare_left(&self) -> usize {
        self.lacking().filter(|lack| Moment::RARE.contains(&lack.0)).map(|(_, _, done, least)| least - done).sum()
    }

    /// Nothing more is done: what is left is to come to its end.
    pub fn stop(&self) {
        self.waiting.lock().unwrap().clear();
    }

    /// A number below `end`, from the seed.
    pub fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap().random_range(0..end)
    }

    /// Notes something that no moment names.
    pub fn note(&self, what: &'static str) {
        *self.besides.lock().unwrap().entry(what).or_default() += 1;
    }

    /// What of the plan did not happen: a storm that was none shows nothing. What only some runs meet may be left out, but
    /// for what has to happen at least.
    pub fn shortfalls(&self) -> Vec<String> {
        let lack =
            |(moment, fault, done, least)| format!("{moment}: {fault:?} happened {done} times instead of {least}");
        let mut wrong: Vec<String> = self.lacking().map(lack).collect();
        for (moment, planned) in self.planned.iter().filter(|(moment, _)| Moment::ALL.contains(moment)) {
            let done: usize = Fault::ALL.into_iter().map(|fault| self.count(*moment, fault)).sum();
            if done < planned.len() {
                wrong.push(format!("{moment}: {done} of {} faults happened", planned.len()));
            }
        }
        for fault in Fault::ALL.into_iter().filter(|fault| self.planned.values().any(|all| all.contains(fault))) {
            if !self.done.lock().unwrap().keys().any(|(_, done)| *done == fault) {
                wrong.push(format!("{fault:?} never happened"));
            }
        }
        wrong
    }

    /// How often something was noted that no moment names.
    pub fn noted(&self, what: &'static str) -> usize {
        self.besides.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    /// How often a fault was done at a moment.
    pub fn count(&self, moment: Moment, fault: Fault) -> usize {
        self.done.lock().unwrap().get(&(moment, fault)).copied().unwrap_or_default()
    }

    /// All that was done, as a table.
    pub fn table(&self) -> String {
        let mut text = format!("{:<17}", "");
        for fault in Fault::ALL {
            write!(text, "{:>12}", format!("{fault:?}")).unwrap();
        }
        let mut sums = [0; Fault::ALL.len()];
        for moment in Moment::ALL.into_iter().chain(Moment::RARE) {
            write!(text, "\n{moment:<17}").unwrap();
            for (fault, sum) in Fault::ALL.into_iter().zip(&mut sums) {
                let count = self.count(moment, fault);
                *sum += count;
                write!(text, "{count:>12}").unwrap();
            }
        }
        write!(text, "\n{:<17}", "in all").unwrap();
        sums.iter().for_each(|sum| write!(text, "{sum:>12}").unwrap());
        for (what, count) in self.besides.lock().unwrap().iter() {
            write!(text, "\n{count:>6} {what}").unwrap();
        }
        text
    }
}
