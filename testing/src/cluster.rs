//! PostgreSQL server on loopback for the tests. It ends with the process that started it.

use std::{
    env, fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// Longest wait for the server to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Owner of the tests' databases.
pub const OWNER: &str = "conductor";
/// Password of the owner.
pub const PASSWORD: &str = "hush, says the test";
/// Shell script that runs the server until its own input ends. It then removes the folder, unless the input was
/// `keep`.
const KEEPER: &str = r#"folder="$1"; shift
"$@" & server=$!
read -r word
kill -INT "$server"; wait "$server"
[ "$word" = keep ] || rm -rf "$folder""#;

/// A PostgreSQL server. Each test has its own databases on it.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    keeper: Child,
}

/// Returns the server that all tests of this binary share. Returns `None`, and says so on stderr, if PostgreSQL is not
/// installed.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(Cluster::start).as_ref()
}

impl Cluster {
    /// Starts a server. Returns `None`, and says so on stderr, if PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                env::var("DISPERS_REQUIRE_POSTGRES").as_deref() != Ok("1"),
                "PostgreSQL is required and not installed"
            );
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        // Another process may take the port between its choice and its use.
        let started = (0..3).find_map(|_| Self::try_start(&programs));
        Some(started.expect("PostgreSQL starts in one of three tries"))
    }

    fn try_start(programs: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap().keep();
        if let Some((user, group)) = unprivileged() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        let made = as_user(&programs.join("initdb"))
            .args([
                "--auth=scram-sha-256",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--username", OWNER, "--pwfile"])
            .arg(&password)
            .arg(folder.join("data"))
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut cluster = Self {
            keeper: keep(programs, &folder, port),
            programs: programs.to_owned(),
            folder,
            port,
        };
        cluster.is_ready().then_some(cluster)
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.psql("postgres", "SELECT 1").status.success() {
                return true;
            }
            if self.log().contains("could not bind") {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }

    /// Stops the server as its operator would, and keeps its data.
    pub fn stop(&mut self) {
        let mut input = self.keeper.stdin.take().unwrap();
        input.write_all(b"keep\n").unwrap();
        self.keeper.wait().unwrap();
    }

    /// Starts the server again, and waits until it accepts the tests' connections.
    pub fn start_again(&mut self) {
        self.keeper = keep(&self.programs, &self.folder, self.port);
        assert!(self.is_ready(), "PostgreSQL does not start again");
    }

    /// Starts the server again, and waits until its log says that it is ready, whether or not it accepts the tests'
    /// connections.
    pub fn start_again_unseen(&mut self) {
        self.keeper = keep(&self.programs, &self.folder, self.port);
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains("ready to accept connections") {
            assert!(Instant::now() < deadline, "PostgreSQL does not start again");
            sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Creates an empty database. Returns its name.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Returns the URL of a database for its owner.
    pub fn url(&self, database: &str) -> String {
        self.url_of(OWNER, PASSWORD, database)
    }

    /// Returns the URL of a database for a user.
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        let (password, port) = (password.replace(' ', "%20"), self.port);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
    }

    /// Returns the path of a file in the server's data folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join("data").join(file)
    }

    /// Runs statements in a database as the superuser. Returns their output.
    pub fn run(&self, database: &str, sql: &str) -> String {
        let done = self.psql(database, sql);
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
            ])
            .args([
                "-U",
                OWNER,
                "-d",
                database,
                "-p",
                &self.port.to_string(),
                "-c",
                sql,
            ])
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Returns the folder with PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.flatten().map(|version| version.path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let has_all = |folder: &PathBuf| {
        let is_there = |name: &&str| folder.join(name).is_file();
        ["initdb", "postgres", "psql"].iter().all(is_there)
    };
    debian.chain(env::split_paths(&path)).find(has_all)
}

/// Returns the user and group to run PostgreSQL as, if the tests run as root: PostgreSQL refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        text(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |user| Some((id(&["-u", user])?, id(&["-g", user])?));
    of("postgres").or_else(|| of("nobody"))
}

fn as_user(program: &Path) -> Command {
    let Some((user, group)) = unprivileged() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--clear-groups", "--reuid", &user.to_string()])
        .args(["--regid", &group.to_string()])
        .arg(program);
    command
}

fn keep(programs: &Path, folder: &Path, port: u16) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    let server = as_user(&programs.join("postgres"));
    Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(server.get_program())
        .args(server.get_args())
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .unwrap()
}
