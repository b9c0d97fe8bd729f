//! The proxy between workers and functions on one side and table, queue and bucket on the other: where faults happen.

use crate::bucket::{self, Buckets};
use crate::faults::{Fault, Faults};
use crate::moments::{Call, Moment, Service, contains, named};
use crate::processes::{LEASE, Stack, Worker, signal};
use crate::room::Disk;
use crate::verdict::{EPISODES, POISON, is_doomed};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Until every lease that was held is over.
const PAST_THE_LEASE: Duration = Duration::from_millis(LEASE * 1000 + 1500);
/// What a silent connection is kept for; whoever waits longer waits for ever.
const SILENCE: Duration = Duration::from_secs(600);

/// For how long a disk is full.
const FULL: Duration = Duration::from_millis(1500);
/// Bytes of the disk, while it is not.
pub const DISK: usize = 4 << 30;
/// By how many seconds a clock that jumps may be wrong.
const WRONG: u64 = 12;

/// All that is around the workers.
pub struct Around {
    pub faults: Faults,
    pub buckets: Buckets,
    pub stack: RwLock<Stack>,
    pub workers: OnceLock<Vec<Worker>>,
    pub folder: PathBuf,
    /// What the stack and the workers write lies here, where a small disk may be had.
    disk: Mutex<Option<Disk>>,
    /// The bucket's address without faults.
    pub bucket_url: OnceLock<String>,
    /// Whether the stack is being started again.
    stack_busy: AtomicBool,
    /// Whether it is stopped, or its disk full.
    stack_paused: AtomicBool,
    /// Which worker took the run with this number last, and which run it is.
    takers: Mutex<HashMap<u64, Taken>>,
    /// The runs that were cancelled in a moment that a fault chose.
    pub cancelled: Mutex<HashSet<String>>,
    /// Files that came into the bucket after the worker had been killed that sent them.
    pub orphans: Mutex<HashSet<String>>,
    /// Uploads in parts, by the file that is to come of them: which start of which worker began them.
    uploads: Mutex<HashMap<String, (usize, usize)>>,
    token: OnceLock<String>,
    /// The reports of ends that were sent.
    pub ends: Mutex<Vec<Ending>>,
    /// Sources whose rows never come.
    pub stalled: Mutex<HashSet<u64>>,
    /// A function dies here whose request it was.
    pub deaths: Notify,
    client: reqwest::Client,
}

/// A report of a run's end.
#[derive(Debug, Clone)]
pub struct Ending {
    pub run: String,
    /// A repetition has the same.
    pub token: String,
    pub status: String,
    pub at: String,
    /// Whether it was answered that it was done; where no answer came it may have been.
    pub done: bool,
}

/// From whom a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Worker(usize),
    /// Whoever has the run whose source is asked for.
    Source,
    Functions,
    /// Somebody who is left alone.
    Friend,
}

impl Around {
    pub fn new(faults: Faults, stack: Stack, buckets: Buckets, folder: PathBuf, disk: Option<Disk>) -> Self {
        Self {
            faults,
            buckets,
            stack: RwLock::new(stack),
            workers: OnceLock::new(),
            folder,
            disk: Mutex::new(disk),
            bucket_url: OnceLock::new(),
            stack_busy: AtomicBool::new(false),
            stack_paused: AtomicBool::new(false),
            takers: Mutex::default(),
            cancelled: Mutex::default(),
            orphans: Mutex::default(),
            uploads: Mutex::default(),
            token: OnceLock::new(),
            ends: Mutex::default(),
            stalled: Mutex::default(),
            deaths: Notify::new(),
            client: reqwest::Client::new(),
        }
    }

    /// The stack's address of the table or the queue.
    pub fn address(&self, of: Service) -> String {
        let name = if of == Service::Table { "AWS_ENDPOINT_URL_DYNAMODB" } else { "AWS_ENDPOINT_URL_SQS" };
        self.stack.read().unwrap().exports[name].clone()
    }

    fn worker(&self, who: Who, call: &Call) -> Option<usize> {
        match who {
            Who::Worker(index) => Some(index),
            Who::Source => self.takers.lock().unwrap().get(&call.source()?).map(|taken| taken.by),
            _ => None,
        }
    }

    /// Which start of a worker it is that sends.
    fn start_of(&self, who: Who) -> Option<usize> {
        let Who::Worker(index) = who else { return None };
        Some(self.workers.get()?.get(index)?.starts.load(SeqCst))
    }

    /// The worker that took a run last.
    pub fn taker(&self, run: &str) -> Option<usize> {
        self.takers.lock().unwrap().values().find(|taken| taken.run == run).map(|taken| taken.by)
    }

    fn number(&self, run: &str) -> Option<u64> {
        self.takers.lock().unwrap().values().find(|taken| taken.run == run).map(|taken| taken.number)
    }

    /// Whether this run is one whose commit to a database never comes through.
    pub fn dooms(&self, run: &str) -> bool {
        let doomed = self.number(run).is_some_and(is_doomed);
        if doomed {
            self.faults.note(CUT_OFF);
        }
        doomed
    }

    /// Does what is planned for a moment of a request, if anything is; answers what becomes of it.
    async fn meets(self: &Arc<Self>, who: Who, call: &Call, moment: Option<Moment>) -> Option<Next> {
        let run = match call.source() {
            Some(number) => self.takers.lock().unwrap().get(&number).map(|taken| taken.run.clone()),
            None => call.run.clone(),
        };
        self.meet(self.worker(who, call)?, moment?, run.as_deref(), Some(call)).await
    }

    /// Does what is planned for a moment of a run that a worker has, if anything is; answers what becomes of the request.
    pub async fn meet(
        self: &Arc<Self>,
        index: usize,
        moment: Moment,
        run: Option<&str>,
        call: Option<&Call>,
    ) -> Option<Next> {
        let worker = self.workers.get()?.get(index)?;
        let free = |fault| match fault {
            Fault::KillStack => !self.stack_busy.load(SeqCst),
            Fault::PauseStack | Fault::FullDisk => !self.stack_busy.load(SeqCst) && !self.stack_paused.load(SeqCst),
            Fault::KillWorker | Fault::Pause => !worker.busy.load(SeqCst),
            Fault::Throttle | Fault::ServerError | Fault::Refuse => call.is_some(),
            // The one that kills its workers is to come to its own end, and so are those of episodes.
            Fault::Cancel => run.and_then(|run| self.number(run)).is_some_and(|n| n != POISON && n < EPISODES),
            _ => true,
        };
        let poison = moment == Moment::Reading && call.and_then(Call::source) == Some(POISON);
        let fault = if poison {
            self.faults.note("kills by the run that no worker survives");
            Fault::KillWorker
        } else {
            self.faults.take(moment, free)?
        };
        match fault {
            Fault::KillWorker => {
                if !worker.busy.swap(true, SeqCst) {
                    self.off_thread(move |around| around.workers.get().unwrap()[index].replace()).await;
                    worker.busy.store(false, SeqCst);
                }
                Some(Next::Drop)
            }
            Fault::Pause => {
                if !worker.busy.swap(true, SeqCst) {
                    worker.signal("STOP");
                    tokio::time::sleep(PAST_THE_LEASE).await;
                    worker.signal("CONT");
                    worker.busy.store(false, SeqCst);
                }
                None
            }
            Fault::KillStack => {
                if !self.stack_busy.swap(true, SeqCst) {
                    self.off_thread(Self::restart_stack).await;
                    self.stack_busy.store(false, SeqCst);
                }
                Some(Next::Drop)
            }
            Fault::PauseStack => {
                if !self.stack_paused.swap(true, SeqCst) {
                    let process = self.stack.read().unwrap().id();
                    signal(process, "STOP");
                    tokio::time::sleep(PAST_THE_LEASE).await;
                    signal(process, "CONT");
                    self.stack_paused.store(false, SeqCst);
                }
                None
            }
            Fault::FullDisk => {
                if !self.stack_paused.swap(true, SeqCst) {
                    self.off_thread(|around| around.disk.lock().unwrap().iter().for_each(Disk::fill)).await;
                    let around = Arc::clone(self);
                    tokio::spawn(async move {
                        tokio::time::sleep(FULL).await;
                        around.off_thread(Self::make_room).await;
                        around.stack_paused.store(false, SeqCst);
                    });
                }
                None
            }
            Fault::ClockJump => {
                worker.clock.jump(self.faults.below(2 * WRONG + 1) as i64 - WRONG as i64);
                None
            }
            Fault::Late => {
                tokio::time::sleep(PAST_THE_LEASE).await;
                None
            }
            Fault::Throttle => call.map(|call| Next::Answer(throttled(call))),
            Fault::ServerError => call.map(|call| Next::Answer(server_error(call))),
            Fault::Reset => Some(Next::Drop),
            Fault::Refuse => Some(Next::Answer(of(bucket::error(StatusCode::FORBIDDEN, "AccessDenied")))),
            Fault::Cancel => {
                if let Some(run) = run {
                    self.cancel(run).await;
                }
                None
            }
            Fault::Silence => {
                tokio::time::sleep(SILENCE).await;
                Some(Next::Drop)
            }
        }
    }

    /// Uploads that nobody ended or gave up: those whose sender was killed or met a fault at their ends, as they are in any
    /// bucket until its rules remove them, and the others.
    pub fn unfinished(&self) -> (Vec<String>, Vec<String>) {
        let (begun, workers) = (self.uploads.lock().unwrap(), self.workers.get().unwrap());
        let lives = |sender: &(usize, usize)| workers[sender.0].starts.load(SeqCst) == sender.1;
        let unfinished = self.buckets.unfinished().into_iter();
        unfinished.partition(|key| begun.get(key).is_some_and(|sender| !lives(sender)))
    }

    /// The disk has room again.
    pub fn make_room(&self) {
        for disk in self.disk.lock().unwrap().iter() {
            assert!(disk.resize(DISK as u64), "the disk cannot be made larger again");
        }
    }

    /// Ends all processes, and takes the disk away.
    pub fn close(&self) {
        self.workers.get().into_iter().flatten().for_each(Worker::kill);
        self.stack.write().unwrap().kill();
        self.disk.lock().unwrap().take();
    }

    /// Cancels a run through the stack's own API.
    async fn cancel(&self, run: &str) {
        let taken = self.takers.lock().unwrap().values().find(|taken| taken.run == run).cloned();
        let (Some(Taken { run, pipeline, .. }), Some(token)) = (taken, self.token.get()) else { return };
        let url = format!("{}/api/v1/pipelines/{pipeline}/runs/{run}/cancel", self.stack.read().unwrap().api);
        let answer = self.client.post(url).bearer_auth(token).send().await;
        // Where no answer came it may have been done.
        if answer.is_ok_and(|answer| answer.status() == 409) {
            return;
        }
        self.cancelled.lock().unwrap().insert(run);
    }

    /// The token of whoever cancels.
    pub fn trust(&self, token: &str) {
        assert!(self.token.set(token.to_owned()).is_ok());
    }

    async fn off_thread(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) {
        let around = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&around)).await.unwrap();
    }

    fn restart_stack(&self) {
        let mut stack = self.stack.write().unwrap();
        stack.kill();
        let bucket = self.bucket_url.get().unwrap();
        // It could not even start without any.
        self.make_room();
        *stack = Stack::start(&self.folder.join("disk").join("data"), bucket, &self.folder.join("stack.log"));
    }

    /// Hands a request on.
    async fn hand_on(&self, call: &Call, request: Request) -> Option<Answer> {
        if call.service == Service::Bucket {
            let Request { method, uri, headers, body } = request;
            let (parts, body) = self.buckets.answer(&method, &uri, &headers, body).into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            return Some(Answer { status: parts.status, headers: parts.headers, body });
        }
        if self.stack_busy.load(SeqCst) {
            return None;
        }
        let mut forward = self.client.post(self.address(call.service)).body(request.body);
        for (name, value) in request.headers.iter().filter(|(name, _)| *name != "host" && *name != "content-length") {
            forward = forward.header(name, value);
        }
        let answer = forward.send().await.ok()?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove("content-length");
        headers.remove("transfer-encoding");
        Some(Answer { status, headers, body: answer.bytes().await.ok()? })
    }

    /// Notes who took a run, and which run was ended.
    fn note(&self, who: Who, call: &Call, answer: &Answer) {
        if !answer.status.is_success() || call.service != Service::Table {
            return;
        }
        match call.before() {
            Some(Moment::Reporting) => {
                if let Some(sent) = ending(call)
                    && let Some(ending) =
                        self.ends.lock().unwrap().iter_mut().find(|e| (&e.run, &e.token) == (&sent.run, &sent.token))
                {
                    ending.done = true;
                }
            }
            Some(Moment::Claiming) => {
                let item: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let parameters: Value =
                    serde_json::from_str(item["Attributes"]["parameters"]["S"].as_str().unwrap_or("{}")).unwrap();
                let number = parameters["part"].as_str().and_then(|part| part.parse().ok());
                let text = |name: &str| item["Attributes"][name]["S"].as_str().unwrap_or_default().to_owned();
                if let (Some(number), Who::Worker(by)) = (number, who) {
                    let taken = Taken { number, by, run: text("id"), pipeline: text("pipelineId") };
                    self.takers.lock().unwrap().insert(number, taken);
                }
            }
            _ => {}
        }
    }

    /// Notes what is on its way: a report of an end, which may be done although nobody hears of it, and the beginning of an
    /// upload.
    fn note_sent(&self, who: Who, start: Option<usize>, call: &Call, query: &str) {
        if call.before() == Some(Moment::Reporting)
            && let Some(sent) = ending(call)
        {
            self.ends.lock().unwrap().push(sent);
        }
        if call.service == Service::Bucket
            && call.action == "POST"
            && query.starts_with("uploads")
            && let (Who::Worker(index), Some(start)) = (who, start)
        {
            self.uploads.lock().unwrap().insert(call.key.clone(), (index, start));
        }
    }

    /// An upload that met a fault where it begins or ends: who sends it does not hear of it, or has no way to give it up.
    fn spoil(&self, call: &Call, met: bool) {
        let ends = call.service == Service::Bucket && ["POST", "DELETE"].contains(&call.action.as_str());
        if met
            && ends
            && let Some(sender) = self.uploads.lock().unwrap().get_mut(&call.key)
        {
            sender.1 = usize::MAX;
        }
    }

    async fn exchange(self: Arc<Self>, who: Who, request: Request) -> Option<Answer> {
        let Request { method, uri, headers, body } = &request;
        let call = Call::read(method, uri, headers, body);
        let sender = self.start_of(who);
        let met = self.meets(who, &call, call.before()).await;
        self.spoil(&call, met.is_some());
        match met {
            Some(Next::Drop) => return None,
            Some(Next::Answer(answer)) => return Some(answer),
            None => {}
        }
        if call.before() == Some(Moment::Writing) && self.start_of(who) != sender {
            // It was on its way when its sender died, and who ends the run cannot know of it.
            self.faults.note("files that came after their sender's death");
            self.orphans.lock().unwrap().insert(call.key.clone());
        }
        if who == Who::Functions && call.action == "SendMessage" && self.faults.left() > 0 && self.faults.below(6) == 0
        {
            // What it was to send was kept in a transaction before.
            self.faults.note(DIED);
            self.deaths.notify_waiters();
            return None;
        }
        if who == Who::Functions && self.faults.left() > 0 {
            // Functions meet any fault of the network at any request.
            match self.faults.below(40) {
                0 => return Some(throttled(&call)),
                1 => return Some(server_error(&call)),
                2 => return None,
                3 => {
                    self.hand_on(&call, request).await;
                    self.faults.note("answers to functions lost after the request was done");
                    return None;
                }
                _ => {}
            }
        }
        if moment_of_slow_source(&call) {
            tokio::time::sleep(PAST_THE_LEASE).await;
        }
        if call.before() == Some(Moment::Planned)
            && call.source().is_some_and(|number| self.stalled.lock().unwrap().contains(&number))
        {
            tokio::time::sleep(SILENCE).await;
        }
        self.note_sent(who, sender, &call, uri.query().unwrap_or_default());
        let again = call.action == "SendMessage" && self.faults.left() > 0 && self.faults.below(5) == 0;
        let copy = again.then(|| request.copy());
        let answer = self.hand_on(&call, request).await?;
        self.note(who, &call, &answer);
        if let Some(copy) = copy {
            self.faults.note("messages sent twice, the second one later");
            let around = Arc::clone(&self);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(around.faults.below(6000))).await;
                around.hand_on(&Call::read(&copy.method, &copy.uri, &copy.headers, &copy.body), copy).await;
            });
        }
        let met = self.meets(who, &call, call.after(&answer.body, answer.status.as_u16())).await;
        self.spoil(&call, met.is_some());
        match met {
            Some(Next::Drop) => None,
            Some(Next::Answer(instead)) => Some(instead),
            None => Some(answer),
        }
    }

    /// Starts a proxy for `who` and answers its address.
    pub async fn open(self: &Arc<Self>, who: Who) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.open_on(listener, who);
        format!("http://{address}")
    }

    /// The same on a port that is there already.
    pub fn open_on(self: &Arc<Self>, listener: tokio::net::TcpListener, who: Who) {
        let router = Router::new().fallback(handle).with_state((Arc::clone(self), who));
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
}

/// A run that a worker took.
#[derive(Clone)]
struct Taken {
    number: u64,
    by: usize,
    run: String,
    pipeline: String,
}

/// What is noted of functions that die before a message is sent, and of commits to databases that never come through.
pub const DIED: &str = "functions killed between a transaction and its message";
pub const CUT_OFF: &str = "commits to the database that were cut off each time";

/// The end that a request reports.
fn ending(call: &Call) -> Option<Ending> {
    let update = call.body["TransactItems"]
        .as_array()?
        .iter()
        .map(|item| &item["Update"])
        .find(|update| update["UpdateExpression"].as_str().is_some_and(|text| text.contains("#status = :final")))?;
    let value = |name: &str| update["ExpressionAttributeValues"][name]["S"].as_str().unwrap_or_default().to_owned();
    Some(Ending {
        run: named(update["Key"]["SK"]["S"].as_str()?)?,
        token: call.body["ClientRequestToken"].as_str().unwrap_or_default().to_owned(),
        status: value(":final"),
        at: value(":now"),
        done: false,
    })
}

/// What becomes of a request that a fault meets.
pub enum Next {
    Drop,
    Answer(Answer),
}

struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn copy(&self) -> Self {
        let Self { method, uri, headers, body } = self;
        Self { method: method.clone(), uri: uri.clone(), headers: headers.clone(), body: body.clone() }
    }
}

pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn handle(
    State((around, who)): State<(Arc<Around>, Who)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    // A task of its own, so that what was sent arrives also where its sender does not wait for it any more.
    let exchanged = tokio::spawn(around.exchange(who, Request { method, uri, headers, body })).await;
    let Some(Answer { status, headers, body }) = exchanged.unwrap() else {
        // Ends the connection without an answer, and without a word on standard error.
        std::panic::resume_unwind(Box::new("the connection is closed"));
    };
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Some sources are slower than a lease is long.
fn moment_of_slow_source(call: &Call) -> bool {
    call.before() == Some(Moment::Planned) && call.source().is_some_and(|number| number % 13 == 3)
}

fn throttled(call: &Call) -> Answer {
    let code = match call.service {
        Service::Bucket => return of(bucket::error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Service::Table if contains(call.action.as_bytes(), "Update") => "ProvisionedThroughputExceededException",
        _ => "ThrottlingException",
    };
    json(StatusCode::BAD_REQUEST, &format!("{{\"__type\":\"com.amazonaws#{code}\",\"message\":\"Rate exceeded\"}}"))
}

fn server_error(call: &Call) -> Answer {
    match call.service {
        Service::Bucket => of(bucket::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        _ => json(StatusCode::INTERNAL_SERVER_ERROR, "{\"__type\":\"InternalServerError\",\"message\":\"again\"}"),
    }
}

fn of(response: Response<Body>) -> Answer {
    let status = response.status();
    Answer {
        status,
        headers: response.headers().clone(),
        body: Bytes::from_static(b"<Error><Code>SlowDown</Code></Error>"),
    }
}

fn json(status: StatusCode, body: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/x-amz-json-1.0".parse().unwrap());
    Answer { status, headers, body: Bytes::from(body.to_owned()) }
}
