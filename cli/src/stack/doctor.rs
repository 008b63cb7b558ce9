//! `dispers stack doctor`: checks whether a host is ready, and says what to repair.

use std::{fmt::Display, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use dispers_base::id::Role;
use dispers_core::subscription::HomeId;
use dispers_node::{Activity, Config, Node, now};
use dispers_stack::{Connector, Relay, Store};
use serde_json::json;

use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Also read the documents of this home; the first that there is where it is left out.
    #[arg(long, value_name = "ID")]
    home: Option<String>,
    /// The kind of documents that are read of it.
    #[arg(long, value_name = "NAME")]
    doctype: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A check and its result.
struct Finding {
    what: &'static str,
    found: Result<String, String>,
}

/// Runs the checks in order. A check that needs another one to succeed is left out if that one failed.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let mut findings = Vec::new();
    look(&arguments, &mut findings).await;
    let failed = findings
        .iter()
        .filter(|finding| finding.found.is_err())
        .count();
    match arguments.format {
        Format::Json => {
            let checks = findings.iter().map(|finding| {
                let (ok, text) = match &finding.found {
                    Ok(text) => (true, text),
                    Err(text) => (false, text),
                };
                json!({"check": finding.what, "ok": ok, "found": text})
            });
            let checks: Vec<_> = checks.collect();
            println!("{}", json!({"ready": failed == 0, "checks": checks}));
        }
        Format::Table => {
            for Finding { what, found } in &findings {
                match found {
                    Ok(text) => println!("ok    {what:<14} {text}"),
                    Err(text) => println!("FAIL  {what:<14} {text}"),
                }
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Exit::other(anyhow::anyhow!(
            "the host is not ready: mend what failed, and look again"
        ))),
    }
}

/// Records the result of a check. Returns `None` if it failed.
fn note<E: Display>(
    findings: &mut Vec<Finding>,
    what: &'static str,
    found: Result<String, E>,
) -> Option<()> {
    let found = found.map_err(|error| error.to_string());
    let ok = found.is_ok();
    findings.push(Finding { what, found });
    ok.then_some(())
}

async fn look(arguments: &Arguments, findings: &mut Vec<Finding>) -> Option<()> {
    let (home, doctype) = (arguments.home.as_deref(), arguments.doctype.as_deref());
    let loaded = Config::load(&arguments.config, "stack");
    let config: Config<dispers_stack::Config> = match loaded {
        Ok(config) => config,
        Err(error) => return note(findings, "configuration", Err(error)),
    };
    let path = arguments.config.display().to_string();
    note(findings, "configuration", Ok::<_, String>(path));

    let store = match config.role.open(|path| config.resolve(path)) {
        Ok(store) => Arc::new(store),
        Err(error) => return note(findings, "database", Err(error)),
    };
    note(findings, "database", homes(&store))?;
    // No later check depends on the log, so a fork does not end the checks.
    let history = forks(&store).map_err(|error| error.to_string());
    note(findings, "log", history.flatten());
    if let Some(page) = &config.role.page {
        let checked = page.check().map(|()| page.url.clone());
        note(findings, "page", checked);
    }
    // Reading documents may block on the host's server. Only a worker thread may block.
    let read = tokio::task::block_in_place(|| documents(&store, home, doctype));
    note(findings, "documents", read);

    let (directory, keys) = match config.open(Role::Stack) {
        Ok(opened) => opened,
        Err(error) => return note(findings, "directory", Err(error)),
    };
    let days = directory.expires.0.saturating_sub(now().0) / 86_400_000;
    let edition = format!(
        "network {}, edition {}, {days} days left",
        directory.network, directory.epoch
    );
    let current = match days {
        0 => Err(edition + ": get the next edition"),
        _ => Ok(edition),
    };
    note(findings, "directory", current);
    let name = match config.name() {
        Ok(name) => name,
        Err(error) => return note(findings, "name", Err(error)),
    };
    let listed = directory.host(&name).map(|host| host.address.clone());
    let way = match listed.filter(|address| !address.is_empty()) {
        _ if config.role.attach => Ok("attaches to the targets".into()),
        Some(address) => Ok(format!("the targets dial {address}")),
        None => Err(
            "the directory lists no address: write attach = true in [stack], or have one listed",
        ),
    };
    note(findings, "way", way);
    let node = Node {
        name,
        directory: Arc::new(directory),
        signing: keys.signing,
        tls: keys.tls,
        watcher: None,
        activity: Activity::new(Role::Stack),
    };
    let relay = Relay::new(Arc::new(node));
    // The probe reaches the indexors, which refuse a request whose time differs from theirs. So it also
    // checks the clock.
    let reached = relay.probe().await;
    let reached =
        reached.map(|()| "targets, conductor and indexors answer, the clock is theirs".into());
    note(findings, "network", reached)
}

fn homes(store: &Store) -> Result<String, dispers_stack::Error> {
    let known = store.known()?;
    let silent = store.without_rules(&known)?;
    Ok(format!(
        "{} homes, {silent} without rules, which refuse every query",
        known.len()
    ))
}

fn forks(store: &Store) -> Result<Result<String, String>, dispers_stack::Error> {
    Ok(match store.forks()?.len() {
        0 => Ok("one history, as far as was seen".into()),
        forks => Err(format!(
            "{forks} heads contradict what was seen before: somebody may ask in secret; keep the database and tell the network's operators"
        )),
    })
}

fn documents(
    store: &Store,
    home: Option<&str>,
    doctype: Option<&str>,
) -> Result<String, dispers_stack::Error> {
    let home = match home {
        Some(home) => HomeId(home.to_owned()),
        None => match store.homes()?.into_iter().next() {
            Some(home) => home,
            None => return Ok("no home yet: dispers stack import".into()),
        },
    };
    if !store.holds(&home)? {
        return Err(dispers_stack::Error::UnknownHome(home.0));
    }
    match doctype {
        None => Ok("a home holds documents; --doctype reads them".into()),
        Some(doctype) => {
            let count = store.check(&home, doctype)?;
            Ok(format!(
                "{count} documents of {doctype} of one home can be read"
            ))
        }
    }
}
