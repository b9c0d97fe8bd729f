//! A PostgreSQL and a MariaDB server in temporary folders, shared by the tests of this process and stopped after the last.

use crate::DEADLINE;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const USER: &str = "flow gate";
pub const PASSWORD: &str = "p'ss \"word\\";

/// A server that runs as long as somebody holds it.
pub struct Server {
    pub port: u16,
    /// Its certificate (PEM) for the host `localhost`, which it has signed itself, where it speaks TLS.
    pub certificate: Option<String>,
    engine: Engine,
    /// Tells the thread that started the server to stop it.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    Maria,
}

static POSTGRES: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static MARIA: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The PostgreSQL server; none where it is not installed, which is said loudly and fails in CI.
pub fn postgres() -> Option<Arc<Server>> {
    shared(&POSTGRES, Engine::Postgres)
}

/// The MariaDB server, likewise.
pub fn maria() -> Option<Arc<Server>> {
    shared(&MARIA, Engine::Maria)
}

fn shared(slot: &Mutex<Weak<Server>>, engine: Engine) -> Option<Arc<Server>> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = slot.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::start(engine, &installed(engine)?, false));
    *slot = Arc::downgrade(&server);
    Some(server)
}

/// A server of the test's own that speaks TLS; none where it, or what makes its certificate, is not installed.
pub fn encrypted(engine: Engine) -> Option<Server> {
    let programs = installed(engine)?;
    has("openssl", "databases over TLS").then(|| Server::start(engine, &programs, true))
}

/// Whether a program of a usual system is there; where it is not, it is said loudly what was not run, which fails in CI.
pub fn has(program: &str, skipped: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        missing(&format!("{program} is not installed, so that these were not run: {skipped}"));
    }
    found
}

/// Says past the test harness, which would swallow it, what was not run; fails in CI.
fn missing(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "NOT TESTED: {why}");
    let _ = std::io::stderr().write_all(format!("\n*** NOT TESTED: {why}\n\n").as_bytes());
}

/// The folder of the programs; none where they are not installed, which is said loudly and fails in CI.
fn installed(engine: Engine) -> Option<PathBuf> {
    let found = programs(engine);
    if found.is_none() {
        let name = if engine == Engine::Postgres { "postgresql" } else { "mariadb-server" };
        missing(&format!("{name} is not installed, so nothing of it was tried"));
    }
    found
}

/// The folder of the programs.
fn programs(engine: Engine) -> Option<PathBuf> {
    match engine {
        Engine::Postgres => {
            let mut all: Vec<PathBuf> =
                std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|e| e.path().join("bin")).collect();
            all.retain(|bin| bin.join("initdb").exists());
            all.sort();
            all.pop()
        }
        Engine::Maria => Path::new("/usr/sbin/mariadbd").exists().then(|| PathBuf::from("/usr/sbin")),
    }
}

/// The command as a user that these servers run as: they refuse to run as root.
fn command(program: &Path, user: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL"]).arg(program);
    command
}

fn is_root() -> bool {
    id(&["-u"]) == 0
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// A port on which nobody listens as long as the socket is kept: one that is only free somebody else may take.
pub fn deaf_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}{errors}");
}

impl Server {
    fn start(engine: Engine, programs: &Path, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = if engine == Engine::Postgres { "postgres" } else { "mysql" };
        let data = folder.path().join("data");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let secret = folder.path().join("secret");
        match engine {
            Engine::Postgres => std::fs::write(&secret, PASSWORD).unwrap(),
            Engine::Maria => {
                let (name, word) = (USER, PASSWORD.replace('\\', "\\\\").replace('\'', "\\'"));
                // One statement a line. A user of no name at localhost would come first.
                let sql: String = ["%", "localhost"]
                    .map(|host| {
                        format!(
                            "CREATE USER `{name}`@`{host}` IDENTIFIED BY '{word}';\nGRANT ALL ON *.* TO `{name}`@`{host}` WITH GRANT OPTION;\n"
                        )
                    })
                    .concat();
                std::fs::write(&secret, sql).unwrap();
            }
        }
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        if tls {
            certify(&key, &certificate);
        }
        if is_root() {
            let keys = [key.as_path(), &certificate].into_iter().filter(|_| tls);
            for path in [folder.path(), &secret].into_iter().chain(keys) {
                chown(path, Some(id(&["-u", user])), Some(id(&["-g", user]))).unwrap();
            }
        }
        let run = match engine {
            Engine::Postgres => {
                let mut init = command(&programs.join("initdb"), user);
                init.arg("-D").arg(&data).arg("--pwfile").arg(&secret);
                init.args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]);
                done(&mut init);
                let mut run = command(&programs.join("postgres"), user);
                run.arg("-D").arg(&data).args(["-p", &port.to_string()]);
                for setting in
                    ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200"]
                {
                    run.args(["-c", setting]);
                }
                if tls {
                    run.args(["-c", "ssl=on", "-c", &format!("ssl_key_file={}", key.display())]);
                    run.args(["-c", &format!("ssl_cert_file={}", certificate.display())]);
                }
                run
            }
            Engine::Maria => {
                let mut init = command(Path::new("/usr/bin/mariadb-install-db"), user);
                init.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                init.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                done(&mut init);
                let mut run = command(&programs.join("mariadbd"), user);
                run.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                run.arg(format!("--init-file={}", secret.display())).arg(format!("--port={port}"));
                run.arg(format!("--socket={}", folder.path().join("socket").display()));
                run.args(["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", "--max-connections=200"]);
                if tls {
                    run.arg(format!("--ssl-key={}", key.display()));
                    run.arg(format!("--ssl-cert={}", certificate.display()));
                }
                run
            }
        };
        drop(socket);
        let (stop, stopped) = mpsc::channel();
        let (started, running) = mpsc::channel();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        // The server dies with the thread that started it, and a test's thread ends with the test.
        let thread = std::thread::spawn(move || {
            let mut child = spawn(run, log);
            started.send(()).unwrap();
            let _ = stopped.recv();
            child.kill().unwrap();
            child.wait().unwrap();
        });
        running.recv().unwrap();
        wait(port, &folder.path().join("log"));
        let certificate = tls.then(|| std::fs::read_to_string(&certificate).unwrap());
        Self { port, certificate, engine, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// The type of connectors to it.
    pub fn kind(&self) -> &'static str {
        if self.engine == Engine::Postgres { "postgresql" } else { "mysql" }
    }
}

/// Makes a key of the curve P-256, and a certificate for the host `localhost` that it has signed itself, both in PEM; only
/// where [`has`] finds `openssl`.
pub fn certify(key: &Path, certificate: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    done(openssl.arg("-keyout").arg(key).arg("-out").arg(certificate));
}

fn spawn(mut run: Command, log: std::fs::File) -> Child {
    run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn wait(port: u16, log: &Path) {
    let deadline = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < deadline, "the server does not start: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A database of a PostgreSQL server, with a client of its own.
pub struct Postgres {
    pub server: Arc<Server>,
    pub name: String,
    pub client: tokio_postgres::Client,
}

impl Postgres {
    /// A new database; none where there is no server.
    pub async fn new() -> Option<Self> {
        let server = postgres()?;
        let name = format!("Ünïque {}", uuid::Uuid::new_v4().simple());
        let first = connect(&server, "postgres").await;
        first.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await.unwrap();
        let client = connect(&server, &name).await;
        Some(Self { server, name, client })
    }

    /// Another connection.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.server, &self.name).await
    }

    /// Runs statements.
    pub async fn run(&self, statements: &str) {
        self.client.batch_execute(statements).await.unwrap_or_else(|e| panic!("{statements}: {e:?}"));
    }

    /// The first column of a query, as texts.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let said = self.client.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
        let text = |message: &tokio_postgres::SimpleQueryMessage| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        };
        said.iter().filter_map(text).collect()
    }

    /// Waits until a query answers this.
    pub async fn until(&self, query: &str, wanted: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.texts(query).await != [wanted] {
            assert!(Instant::now() < deadline, "not in time: {query}: {:?}", self.texts(query).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(server: &Server, database: &str) -> tokio_postgres::Client {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(server.port).user(USER).password(PASSWORD).dbname(database);
        match config.connect(tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(async move {
                    let _ = connection.await;
                });
                return client;
            }
            // It listens before it is ready.
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database of a MariaDB server, with a client of its own.
pub struct Maria {
    pub server: Arc<Server>,
    pub name: String,
    pub client: mysql_async::Conn,
}

impl Maria {
    /// A new database; none where there is no server.
    pub async fn new() -> Option<Self> {
        use mysql_async::prelude::Queryable;
        let server = maria()?;
        let name = format!("ünïque {}", uuid::Uuid::new_v4().simple());
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(server.port)
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .prefer_socket(false);
        let deadline = Instant::now() + DEADLINE;
        let mut client = loop {
            match mysql_async::Conn::new(options.clone()).await {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let statement = format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci");
        client.query_drop(statement).await.unwrap();
        client.query_drop(format!("USE `{name}`")).await.unwrap();
        client.query_drop("SET time_zone = '+00:00', sql_mode = ''").await.unwrap();
        Some(Self { server, name, client })
    }

    /// Runs a statement.
    pub async fn run(&mut self, statement: &str) {
        use mysql_async::prelude::Queryable;
        self.client.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    }

    /// The first column of a query, as texts.
    pub async fn texts(&mut self, query: &str) -> Vec<String> {
        use mysql_async::prelude::Queryable;
        let found: Vec<Option<String>> = self.client.query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
        found.into_iter().map(|text| text.unwrap_or_else(|| "NULL".to_owned())).collect()
    }

    /// Waits until a query answers this.
    pub async fn until(&mut self, query: &str, wanted: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.texts(query).await;
            if found == [wanted] {
                return;
            }
            assert!(Instant::now() < deadline, "not in time: {query}: {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
