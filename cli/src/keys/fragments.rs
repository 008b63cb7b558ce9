//! `dispers keys split` and `combine`: key files in fragments.

use std::path::PathBuf;

use clap::Args;
use dispers_node::fragment;

use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Split {
    /// The key files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many fragments to make of each.
    #[arg(long, value_name = "N")]
    shares: u8,
    /// How many of them restore it.
    #[arg(long, value_name = "T")]
    threshold: u8,
}

#[derive(Args)]
pub(crate) struct Combine {
    /// The fragments.
    #[arg(required = true)]
    fragments: Vec<PathBuf>,
    /// The file to restore.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn split(arguments: &Split) -> Result<(), Exit> {
    for file in &arguments.files {
        let made = fragment::split(file, arguments.threshold, arguments.shares);
        for path in made.map_err(Exit::misuse)? {
            println!("{}", path.display());
        }
    }
    eprintln!(
        "keep the fragments in different places; any {} restore a file, and fewer say nothing about it",
        arguments.threshold
    );
    Ok(())
}

pub(crate) fn combine(arguments: &Combine) -> Result<(), Exit> {
    fragment::combine(&arguments.fragments, &arguments.output).map_err(Exit::misuse)?;
    eprintln!("restored {}", arguments.output.display());
    Ok(())
}
