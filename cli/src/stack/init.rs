//! `dispers stack init`: the keys and the configuration of a new host, in one folder.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use dispers_base::{
    id::{Name, Role},
    keys::VerifyingKey,
};
use dispers_crypto::envelope::Suite;
use dispers_node::{keyfile::NodeKeys, private};
use dispers_trust::directory::RootKeys;

use crate::{exit::Exit, keys};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The host's name in the directory.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The network's root keys, as its operators tell them, each in hexadecimal.
    #[arg(long = "root", value_name = "KEY", required = true)]
    roots: Vec<String>,
    /// Number of roots that must have signed a directory; more than half of them by default.
    #[arg(long, value_name = "K")]
    needed: Option<usize>,
    /// Where the network's targets reach the stack, such as stack.example.org:7131. Without one the stack
    /// attaches itself to the targets, which a host behind a firewall or at home wants.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Where the stack listens, with an address.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:7131")]
    listen: SocketAddr,
    /// Where owners reach the page on which they see and decide.
    #[arg(long, value_name = "URL")]
    page_url: Option<String>,
    /// Cipher suite of the network's envelopes: x-wing or x25519.
    #[arg(long, default_value_t = Suite::default())]
    suite: Suite,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let name = Name::new(&arguments.name).map_err(Exit::misuse)?;
    let pinned = arguments.roots.iter();
    let pinned = pinned.map(|text| keys::root(text).map(VerifyingKey));
    let roots = RootKeys::new(pinned.collect::<Result<_, _>>()?, arguments.needed);
    let distinct: BTreeSet<&VerifyingKey> = roots.keys.iter().collect();
    if distinct.len() < roots.keys.len() || !(1..=distinct.len()).contains(&roots.needed) {
        return Err(Exit::misuse(anyhow!(
            "{} different root keys are given, of which {} must sign: give each once, and --needed 1 to {}",
            distinct.len(),
            roots.needed,
            distinct.len()
        )));
    }
    let folder = &arguments.output;
    // The directory lists a host with its keys, so the keys of an existing stack must not be replaced.
    if folder.join("stack.toml").exists() {
        return Err(Exit::misuse(anyhow!(
            "{} has a stack already: choose an empty folder",
            folder.display()
        )));
    }
    private::create_folder(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
        .map_err(Exit::misuse)?;
    let made = NodeKeys::generate(Role::Stack, arguments.suite);
    made.save(
        &folder.join("stack.key"),
        arguments.suite,
        name.as_str(),
        Role::Stack,
    )
    .map_err(Exit::misuse)?;
    let configuration = configuration(arguments, &roots);
    private::write(&folder.join("stack.toml"), configuration)
        .with_context(|| format!("cannot write {}", folder.join("stack.toml").display()))
        .map_err(Exit::misuse)?;
    let listed = made.public(name.as_str(), Role::Stack);
    let public = toml::to_string(&listed).map_err(Exit::other)?;
    let address = arguments.address.as_deref().unwrap_or_default();
    println!("[[host]]\n{public}address = {address:?}");
    keys::tell(&listed);
    // The root keys may have come by mail or from a web page. Comparing fingerprints detects exchanged keys.
    let prints = roots.keys.iter().map(|key| ("root", key.fingerprint()));
    eprint!(
        "fingerprints of the root keys, of which {} must have signed a directory; compare them with the network's \
         operators:\n{}",
        roots.needed,
        keys::lines("  ", prints)
    );
    let folder = folder.display();
    eprintln!(
        "Made {folder}/stack.toml and {folder}/stack.key; keep a copy of the key where only you read it.\n\
         1. Send the lines from [[host]] on to the operators of the network, who put them into the directory's\n\
         description as they are, and read them your fingerprints.\n\
         2. Put the directory that they sign into {folder}/directory.bin.\n\
         3. dispers stack doctor --config {folder}/stack.toml\n\
         4. dispers stack import, or [stack.documents] in the configuration: where the documents are.\n\
         5. dispers stack sync --homes homes.csv --config {folder}/stack.toml: what each owner agreed to.\n\
         6. dispers serve stack --config {folder}/stack.toml"
    );
    Ok(())
}

fn configuration(arguments: &Arguments, pinned: &RootKeys) -> String {
    // A stack that attaches itself opens no port.
    let listen = match arguments.address {
        Some(_) => format!("listen = \"{}\"\n", arguments.listen),
        None => String::new(),
    };
    let attach = match arguments.address {
        Some(_) => "",
        None => {
            "attach = true               # the stack goes to the targets, which do not dial it\n"
        }
    };
    let page = match &arguments.page_url {
        Some(url) => format!(
            "\n[stack.page]                # behind a proxy with TLS\nlisten = \"127.0.0.1:7180\"\nurl = {url:?}\n"
        ),
        None => {
            "\n# [stack.page]              # where owners see and decide; behind a proxy with TLS\n\
                 # listen = \"127.0.0.1:7180\"\n# url = \"https://consent.example.org\"\n"
                .into()
        }
    };
    let roots: Vec<String> = arguments
        .roots
        .iter()
        .map(|root| format!("{root:?}"))
        .collect();
    format!(
        "[node]\nname = {:?}\n{listen}directory = \"directory.bin\"\nroots = [{}]\nroots-needed = {}\nkeys = \"stack.key\"\n\n\
         [stack]\ndatabase = \"stack.db\"\n{attach}\
         parallel-asks = 2           # each uses one processor\n\
         answer-quantum-ms = 100     # answers leave at multiples of this, so that their time tells nothing\n\
         exact-queries = 10          # queries without noise that a home answers a querier, of a doctype and in a key epoch\n\
         {page}\n\
         # [stack.notify]            # how owners are told of a question that waits for their word\n\
         # webhook = \"https://host.example.org/dispers\"\n\
         # [stack.notify.smtp]\n# host = \"mail.example.org\"\n# from = \"dispers@example.org\"\n",
        arguments.name,
        roots.join(", "),
        pinned.needed,
    )
}
