//! The sample network of `deploy/`: every role is a process of its own, on free ports.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use dispers_node::private;
use tempfile::TempDir;

use crate::{DISPERS, Ended, command};

/// Longest wait for a service to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Role and name of each service, in the order of their start.
const SERVICES: [(&str, &str); 11] = [
    ("conductor", "conductor"),
    ("target-finder", "target-finder"),
    ("target", "target"),
    ("concept-indexor", "concept-indexor-1"),
    ("concept-indexor", "concept-indexor-2"),
    ("concept-indexor", "concept-indexor-3"),
    ("data-aggregator", "data-aggregator-1"),
    ("data-aggregator", "data-aggregator-2"),
    ("data-aggregator", "data-aggregator-3"),
    ("stack", "host-1"),
    ("stack", "host-2"),
];

/// A running sample network. Its processes end when it is dropped.
pub(crate) struct SampleNetwork {
    folder: TempDir,
    services: BTreeMap<&'static str, Child>,
    /// Lines that each service logged until it was ready.
    logs: BTreeMap<&'static str, String>,
    /// Lines that each service logs after it was ready.
    lines: BTreeMap<&'static str, Receiver<String>>,
}

impl SampleNetwork {
    /// Makes keys and directory with `deploy/setup.sh` and starts every service.
    pub(crate) fn start() -> Self {
        // Another process may take a port between its choice and its use.
        (0..3)
            .find_map(|_| Self::try_start())
            .expect("every service finds its port free in one of three tries")
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let samples = folder.path().join("deploy");
        copy_with_free_ports(&deploy(), &samples, &mut BTreeMap::new());
        let made = Command::new("bash")
            .arg(samples.join("setup.sh"))
            .arg(folder.path().join("network"))
            .env("DISPERS", DISPERS)
            .output()
            .unwrap();
        let made = Ended::of(made);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        Self::of(folder).served()
    }

    /// Copies a network that was stopped, makes the next edition of its directory, and starts every service.
    pub(crate) fn resume(stopped: &Path) -> Self {
        (0..3)
            .find_map(|_| Self::copied(stopped).served())
            .expect("every service finds its port free in one of three tries")
    }

    /// Copies a network that was stopped, and makes the next edition of its directory.
    pub(crate) fn copied(stopped: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = folder.path().join("network");
        copy_with_free_ports(stopped, &network, &mut BTreeMap::new());
        let network = Self::of(folder);
        network.edit("directory.toml", &[("epoch = 1", "epoch = 2")]);
        network.renew(&["root"]);
        network
    }

    fn of(folder: TempDir) -> Self {
        Self {
            folder,
            services: BTreeMap::new(),
            logs: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }

    fn served(mut self) -> Option<Self> {
        for (role, name) in SERVICES {
            self.serve(role, name)?;
        }
        Some(self)
    }

    /// Starts one service and waits for the log line that says it is ready. Returns `None` if its port is
    /// taken.
    fn serve(&mut self, role: &str, name: &'static str) -> Option<()> {
        let ready = match name {
            "host-2" | "host-3" => "attached to the target",
            _ => "listening",
        };
        let mut service = command()
            .args(["serve", role, "--config"])
            .arg(self.path(&format!("{name}.toml")))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(service.stderr.take().unwrap());
        let (send, receive) = mpsc::channel();
        // The pipe is read until the service ends. A full pipe would block the service.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) =
            receive.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            let is_ready = line.contains(ready);
            seen.push(line);
            if is_ready {
                self.logs.insert(name, seen.join("\n"));
                self.lines.insert(name, receive);
                self.services.insert(name, service);
                return Some(());
            }
        }
        service.kill().unwrap();
        service.wait().unwrap();
        let seen = seen.join("\n");
        assert!(seen.contains("cannot listen on"), "{name}: {seen}");
        None
    }

    /// Returns the path of a file in the network's folder.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("network").join(file)
    }

    /// Runs `dispers` in the network's folder.
    pub(crate) fn dispers(&self, arguments: &[&str]) -> Ended {
        let output = command()
            .args(arguments)
            .current_dir(self.path(""))
            .output();
        Ended::of(output.unwrap())
    }

    /// Asks a question, for the purpose that the sample directory registers.
    pub(crate) fn query(&self, sql: &str) -> Ended {
        self.query_as("querier", "heart study", sql)
    }

    /// Asks a question as the querier of NAME.toml.
    pub(crate) fn query_as(&self, name: &str, purpose: &str, sql: &str) -> Ended {
        self.dispers(&[
            "query",
            sql,
            "--config",
            &format!("{name}.toml"),
            "--purpose",
            purpose,
            "--epsilon",
            "off",
            "--format",
            "json",
        ])
    }

    /// Asks a service to stop, and waits until it has.
    pub(crate) fn stop(&mut self, name: &str) -> ExitStatus {
        self.terminate(name);
        self.wait(name)
    }

    /// Asks a service to stop.
    pub(crate) fn terminate(&self, name: &str) {
        terminate(&self.services[name]);
    }

    /// Waits until a service logs a line with these words.
    pub(crate) fn until_logged(&self, name: &str, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines[name].recv_timeout(left);
            if line.expect("it is logged in time").contains(words) {
                return;
            }
        }
    }

    /// Waits until a service that was asked to stop has ended. Returns its exit status and the last lines of
    /// its log.
    pub(crate) fn ended(&mut self, name: &str) -> (ExitStatus, String) {
        let status = self.wait(name);
        let lines: Vec<String> = self.lines[name].iter().collect();
        (status, lines.join("\n"))
    }

    fn wait(&mut self, name: &str) -> ExitStatus {
        let mut service = self.services.remove(name).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = service.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{name} does not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops every service and starts it again, together with the services in `more`.
    pub(crate) fn restart(&mut self, more: &[&'static str]) {
        self.services.values().for_each(terminate);
        for name in self.running() {
            assert!(self.wait(name).success(), "{name}");
        }
        let more = more.iter().map(|name| (role_of(name), *name));
        for (role, name) in SERVICES.into_iter().chain(more) {
            let started = self.serve(role, name);
            assert!(started.is_some(), "{name} finds its port taken");
        }
    }

    /// Kills a service without warning, as a power failure would.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut service = self.services.remove(name).unwrap();
        service.kill().unwrap();
        service.wait().unwrap();
    }

    /// Starts a service that was stopped or killed, or a new one.
    pub(crate) fn start_again(&mut self, name: &'static str) {
        assert!(
            self.serve(role_of(name), name).is_some(),
            "{name} finds its port taken"
        );
    }

    /// Sends a signal to a service.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let pid = self.services[name].id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Returns the lines that a service logged until it was ready.
    pub(crate) fn log(&self, name: &str) -> &str {
        &self.logs[name]
    }

    /// Returns the services that still run.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        self.services.keys().copied().collect()
    }
}

impl Drop for SampleNetwork {
    fn drop(&mut self) {
        for service in self.services.values_mut() {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

/// Returns the role of a service from its name.
fn role_of(name: &str) -> &'static str {
    let numbered = |role: &&&str| name.starts_with(**role);
    let roles = [
        "conductor",
        "concept-indexor",
        "target-finder",
        "target",
        "data-aggregator",
    ];
    roles.iter().find(numbered).copied().unwrap_or("stack")
}

fn terminate(service: &Child) {
    let pid = service.id().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(status.success());
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Copies a folder and replaces each port in a text by a free one. Only the owner may read the copies.
fn copy_with_free_ports(from: &Path, to: &Path, ports: &mut BTreeMap<String, TcpListener>) {
    private::create_folder(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_with_free_ports(&path, &copy, ports);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => with_free_ports(text, ports).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        private::write(&copy, bytes).unwrap();
    }
}

fn with_free_ports(mut text: String, ports: &mut BTreeMap<String, TcpListener>) -> String {
    let found: Vec<String> = text
        .split("127.0.0.1:")
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
        .collect();
    for port in found {
        let free = ports
            .entry(port.clone())
            .or_insert_with(|| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let free = free.local_addr().unwrap().port();
        text = text.replace(
            &format!("\"127.0.0.1:{port}\""),
            &format!("\"127.0.0.1:{free}\""),
        );
    }
    text
}
