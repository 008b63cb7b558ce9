//! `dispers stack sync`: brings a stack in line with its host's list of homes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::Args;
use dispers_core::subscription::HomeId;
use dispers_node::private;
use dispers_stack::{Changes, Connector, Receipt, sync};
use serde::Deserialize;

use super::open;
use crate::exit::Exit;

/// A sync may erase one home in this many without confirmation.
const TENTH: usize = 10;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// The homes of the host, a CSV file with a column `home` and, where the concepts that each owner
    /// agreed to are to be kept in line too, a column `concepts`, separated by semicolons. Without a file
    /// the homes are those that hold documents.
    #[arg(long, value_name = "FILE.csv")]
    homes: Option<PathBuf>,
    /// Tell what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How many homes may be erased, where it is more than a tenth of all.
    #[arg(long, value_name = "N")]
    erase: Option<usize>,
    /// A folder for the receipts of homes that are erased, a file each, for their owners; they are
    /// printed where it is left out.
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    home: String,
    concepts: Option<String>,
}

fn read(path: &Path) -> Result<BTreeMap<HomeId, Option<Vec<String>>>, Exit> {
    let wrong = || format!("{} is no list of homes", path.display());
    let mut reader = csv::Reader::from_path(path)
        .with_context(wrong)
        .map_err(Exit::misuse)?;
    let mut homes = BTreeMap::new();
    for (row, line) in reader.deserialize().zip(2..) {
        let row: Row = row.with_context(wrong).map_err(Exit::misuse)?;
        let concepts = row.concepts.map(|concepts| {
            let concepts = concepts.split(';').map(str::trim);
            concepts
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect()
        });
        // A home listed twice with different concepts would be subscribed by whichever line came last.
        if row.home.is_empty() || homes.insert(HomeId(row.home), concepts).is_some() {
            return Err(Exit::misuse(anyhow!(
                "{}, line {line}: the home has no id, or that of another line",
                path.display()
            )));
        }
    }
    // An empty list is more likely a failed export than a host whose homes have all left.
    if homes.is_empty() {
        return Err(Exit::misuse(anyhow!(
            "{} lists no home: to erase all of them, withdraw them first",
            path.display()
        )));
    }
    Ok(homes)
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let (store, relay) = open(&arguments.config)?;
    let list = match &arguments.homes {
        Some(path) => read(path)?,
        None => {
            let homes = store.known()?.into_iter();
            let held = homes.map(|home| Ok(store.holds(&home)?.then_some((home, None))));
            held.collect::<Result<Vec<_>, dispers_stack::Error>>()?
                .into_iter()
                .flatten()
                .collect()
        }
    };
    let changes = Changes::of(&relay, &store, &list)?;
    tell(&changes);
    let (erased, known) = (changes.erase.len(), store.known()?.len());
    if arguments.dry_run || changes.is_empty() {
        return Ok(());
    }
    // A truncated list must not erase the homes that it lacks. The exact number must be given, so that it was
    // looked at.
    if erased > known.div_ceil(TENTH) && arguments.erase != Some(erased) {
        return Err(Exit::misuse(anyhow!(
            "{erased} of {known} homes would be erased: if they have all left, write --erase {erased}"
        )));
    }
    // The folder is made before anything is erased: receipts could otherwise be lost.
    if let Some(folder) = &arguments.receipts {
        private::create_folder(folder)
            .with_context(|| format!("cannot make {}", folder.display()))
            .map_err(Exit::misuse)?;
    }
    for receipt in sync(&relay, &Arc::new(store), changes).await? {
        hand_out(&receipt, arguments.receipts.as_deref())?;
    }
    Ok(())
}

fn tell(changes: &Changes) {
    let subscribed: usize = changes.subscribe.values().map(Vec::len).sum();
    eprintln!(
        "{subscribed} new subscriptions of {} homes, {} that end, {} homes that left, {} without documents",
        changes.subscribe.len(),
        changes.withdraw.len(),
        changes.erase.len(),
        changes.empty.len(),
    );
}

/// Prints a receipt, or writes it into a folder.
pub(crate) fn hand_out(receipt: &Receipt, folder: Option<&Path>) -> Result<(), Exit> {
    let Some(folder) = folder else {
        println!("{}", serde_json::to_string(receipt).map_err(Exit::other)?);
        return Ok(());
    };
    let text = serde_json::to_string_pretty(receipt).map_err(Exit::other)?;
    // Ids of homes come from the host and may hold any characters. A name of hexadecimal digits cannot leave
    // the folder.
    let path = folder.join(format!("{}.json", &receipt.signature[..32]));
    private::write(&path, text + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(Exit::other)?;
    println!("{}", path.display());
    Ok(())
}
