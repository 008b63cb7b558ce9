//! Makes the fuzzer's first inputs: `cargo run -p dispers-tests --example corpus -- fuzz/corpus`.
//!
//! A sandbox answers a question while every node's bytes are recorded. All parts of these bytes are offered to every
//! decoder. Of the inputs that a decoder accepts, the smallest ones of different sizes are kept.
#![allow(clippy::unwrap_used, reason = "what cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dispers_base::{
    encoding::{from_bytes, hash, to_bytes},
    id::{MemberNumber, Name, Role, Threshold},
    keys::SigningKey,
    labels,
};
use dispers_core::{
    aggregation::{CommitRequest, DealtRequest, GuardsRequest, StepReply},
    ask::{AnswerHead, Ask},
    conduct::{self, Conduct},
    peer::PeerMessage,
    release::SealedTotal,
};
use dispers_crypto::envelope::Suite;
use dispers_node::{
    fragment::split,
    keyfile::{NodeKeys, save_share},
    rng,
};
use dispers_querier::{PrivacyLoss, Question, steps};
use dispers_sandbox::{Network, Options};
use dispers_stack::withdraw;
use dispers_tests::decoders::TARGETS;
use dispers_trust::{
    ceremony::{Ceremony, Enrolments, MemberDealing, Purpose},
    directory::SignedDirectory,
};

/// Number of inputs that are kept for a decoder.
const KEPT: usize = 4;
/// Largest input that is kept, in bytes.
const LARGEST: usize = 32 << 10;

const ASKED: &str = "SELECT CASE WHEN age < 40 THEN 'young' ELSE 'old' END AS band, COUNT(*) AS n, \
    COUNT(sbp) AS measured, AVG(clamp(sbp, 80, 230, 10)) AS mean, VARIANCE(clamp(age, 20, 84, 4)) AS v \
    FROM people WHERE (concept('city>lyon') OR NOT concept('city>paris')) AND sex LIKE 'f%' GROUP BY band";

const COUNTED: &str = "SELECT COUNT(*) AS n FROM people";

/// Statements for the planner, which plans or refuses them.
const STATEMENTS: &[&str] = &[
    "SELECT COUNT(*) FROM nhefs",
    "SELECT CASE WHEN age < 40 THEN '25-39' WHEN age < 55 THEN '40-54' ELSE '55+' END AS band, \
     COUNT(*) AS homes, COUNT(sbp) AS measured, AVG(clamp(sbp, 80, 230, 1)) AS mean_sbp FROM nhefs \
     WHERE concept('sex>female') AND NOT concept('asthma>1') AND cigarettes >= 10 GROUP BY band",
    "SELECT AVG(clamp(hr, 30, 220)) FROM (SELECT AVG(bpm) AS hr FROM heartrate WHERE day >= '2026-10-01') AS home",
    "SELECT domain(sex, 'male', 'female') AS s, VARIANCE(clamp(weight_kg, 30, 180, 0.5)) FROM nhefs GROUP BY s",
    "SELECT SUM(CASE WHEN sbp IS NULL THEN 0 ELSE clamp(sbp, 80, 230) END) FROM nhefs WHERE sex IN ('male', 'x')",
    "SELECT SUM(clamp(m, -1000, 1000, 0.01)) FROM (SELECT SUM(amount) AS m FROM io.cozy.bank.operations) AS h",
    "SELECT COUNT(*) FROM nhefs WHERE age BETWEEN 30 AND 40 OR -age * 2 + 1 % 3 <> round(weight_kg / 2)",
    "SELECT STDDEV(clamp(order, 0, 7)) FROM nhefs WHERE NOT (sex LIKE '%e_' AND meta.end = 1)",
    "SELECT name FROM nhefs",
    "SELECT COUNT(*) FROM nhefs WHERE concept('sex>female') OR age > 3",
    "SELECT AVG(sbp) FROM nhefs",
    "DELETE FROM nhefs",
];

/// Byte strings that decoders may accept.
type Candidates = BTreeSet<Vec<u8>>;

#[tokio::main]
async fn main() {
    let output = PathBuf::from(
        std::env::args()
            .nth(1)
            .expect("give the folder to write to"),
    );
    let folder = tempfile::tempdir().unwrap();
    let mut candidates = Candidates::new();
    ask(folder.path(), &mut candidates).await;
    ceremony(folder.path(), &mut candidates);
    files(folder.path(), &mut candidates);
    candidates.extend(STATEMENTS.iter().map(|sql| sql.as_bytes().to_vec()));
    for candidate in candidates.clone() {
        encoded_within(&candidate, &mut candidates);
    }
    for candidate in candidates.clone() {
        parts(&candidate, &mut candidates);
    }
    keep(&candidates, &output);
}

/// Runs a network that is asked, and collects the bytes that its nodes receive and open.
async fn ask(folder: &Path, candidates: &mut Candidates) {
    let path = folder.join("people.csv");
    let mut csv = String::from("home,city,age,sex,sbp\n");
    for home in 0..16 {
        let (city, sex) = (["lyon", "paris"][home / 2 % 2], ["f", "m"][home / 14]);
        csv += &format!(
            "p{home},{city},{},{sex},{}\n",
            30 + 2 * home,
            100 + 7 * home
        );
    }
    fs::write(&path, csv).unwrap();
    let options = Options {
        data: vec![path],
        home_column: Some("home".into()),
        concepts: vec!["city".into()],
        hosts: 2,
        attached: 1,
        min_cohort: 2,
        batch_size: 4,
        suite: Suite::X25519,
        record: true,
        // The corpus asks only a few homes.
        size_noise: 0,
        ..Options::default()
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    network.ask(ASKED, None, |_| {}).await.unwrap();
    // In a noisy query, aggregators deal noise to each other.
    let noisy = Some(PrivacyLoss {
        epsilon: 100.0,
        delta: None,
    });
    let counted = network.question(COUNTED, None, noisy);
    network.querier().ask(&counted).await.unwrap();
    let host = &network.hosts()[0];
    let homes = host.store.homes().unwrap();
    let withdrawn = withdraw(&host.relay, &host.store, &homes[..1], None).await;
    assert!(withdrawn.unwrap() > 0);

    let question = Question::new(ASKED, &options.purpose).exact();
    let prepared = steps::prepare(network.querier(), &question).await.unwrap();
    let manifest = prepared.manifest();
    let share_len = u16::try_from(manifest.circuit().share_len()).unwrap();
    candidates.insert(to_bytes(&manifest.local));
    candidates.insert(to_bytes(
        &Conduct::new(manifest.clone(), conduct::Options::default())
            .0
            .record(),
    ));
    let directory = network.directory();
    candidates.insert(to_bytes(&directory.catalogue));
    candidates.insert(to_bytes(&directory.indexors));
    let mut signed = SignedDirectory::new(directory.body()).unwrap();
    signed.sign(&SigningKey::generate(&mut rng()));
    candidates.insert(signed.to_bytes());

    for (_, _, record) in network.recording().unwrap().records() {
        let received = record.received();
        for connection in received.connections.values() {
            streams(connection, candidates);
        }
        for opened in &received.opened {
            if opened.purpose == labels::ENVELOPE_GROUP {
                let mut group = share_len.to_le_bytes().to_vec();
                group.extend(&opened.plaintext);
                candidates.insert(group);
            }
            if opened.purpose == labels::ENVELOPE_PROFILE {
                // The opening without its salt is a profile.
                let profile = opened.plaintext.len() - 32;
                candidates.insert(opened.plaintext[..profile].to_vec());
            }
            candidates.insert(opened.plaintext.clone());
        }
    }
    network.stop().await;
}

/// Collects the gRPC frames of every HTTP/2 stream, their messages, and the fields of these messages.
fn streams(mut connection: &[u8], candidates: &mut Candidates) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    connection = connection.strip_prefix(PREFACE).unwrap_or(connection);
    let mut streams: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::new();
    while connection.len() >= 9 {
        let length = u32::from_be_bytes([0, connection[0], connection[1], connection[2]]);
        let (kind, stream) = (connection[3], connection[5..9].try_into().unwrap());
        let Some(payload) = connection.get(9..9 + length as usize) else {
            break;
        };
        if kind == 0 {
            streams.entry(stream).or_default().extend(payload);
        }
        connection = &connection[9 + length as usize..];
    }
    for frames in streams.into_values() {
        candidates.insert(frames.clone());
        let mut rest = &frames[..];
        while let Some((length, after)) = rest.get(1..).and_then(<[u8]>::split_first_chunk) {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(message) = after.get(..length) else {
                break;
            };
            candidates.insert(message.to_vec());
            fields(message, candidates);
            rest = &after[length..];
        }
    }
}

/// Collects the fields of a protobuf message that hold bytes.
fn fields(mut message: &[u8], candidates: &mut Candidates) {
    while let Ok((_, kind)) = prost::encoding::decode_key(&mut message) {
        match kind {
            prost::encoding::WireType::Varint => {
                let _ = prost::encoding::decode_varint(&mut message);
            }
            prost::encoding::WireType::LengthDelimited => {
                let length = prost::encoding::decode_varint(&mut message).unwrap_or(u64::MAX);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some(field) = message.get(..length) else {
                    return;
                };
                candidates.insert(field.to_vec());
                fields(field, candidates);
                message = &message[length..];
            }
            _ => return,
        }
    }
}

/// Collects the encodings inside a candidate that stand after their length.
fn encoded_within(candidate: &[u8], candidates: &mut Candidates) {
    for (place, length) in candidate.windows(4).enumerate() {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let within = candidate[place + 4..].get(..length);
        if let Some(within) = within.filter(|within| within.first() == Some(&1)) {
            candidates.insert(within.to_vec());
        }
    }
}

/// Collects the parts of a message that are decoded separately elsewhere.
fn parts(candidate: &[u8], candidates: &mut Candidates) {
    const LIMIT: usize = 1 << 20;
    if let Ok(messages) = from_bytes::<Vec<PeerMessage>>(candidate, LIMIT, "messages") {
        candidates.extend(messages.iter().map(to_bytes));
    }
    if let Ok(StepReply::Done(total)) =
        from_bytes::<StepReply<SealedTotal>>(candidate, LIMIT, "total")
    {
        candidates.insert(to_bytes(&total));
    }
    if let Ok(dealt) = from_bytes::<DealtRequest>(candidate, LIMIT, "deals") {
        candidates.insert(to_bytes(&dealt.request));
    }
    if let Ok(answer) = from_bytes::<AnswerHead>(candidate, LIMIT, "answer") {
        candidates.insert(to_bytes(&answer.statement));
    }
    if let Ok(guards) = from_bytes::<GuardsRequest>(candidate, LIMIT, "guards") {
        candidates.insert(to_bytes(&guards.proposal));
    }
    if let Ok(commit) = from_bytes::<CommitRequest>(candidate, LIMIT, "commit") {
        candidates.extend(commit.acknowledgements.iter().map(to_bytes));
    }
    if let Ok(ask) = from_bytes::<Ask>(candidate, LIMIT, "ask") {
        candidates.extend(ask.homes.iter().map(|home| to_bytes(&home.ticket)));
    }
}

/// Runs a ceremony of three members, and collects the messages and files of its members.
fn ceremony(folder: &Path, candidates: &mut Candidates) {
    let ceremony = Ceremony {
        network: Name::new("example").unwrap(),
        role: Role::ConceptIndexor,
        group: 0,
        threshold: Threshold::new(2, 3).unwrap(),
        suite: Suite::X25519,
        purpose: Purpose::Fresh,
        id: [7; 16],
    };
    let keys: Vec<SigningKey> = (0..3).map(|_| SigningKey::generate(&mut rng())).collect();
    let signers: Vec<_> = keys.iter().map(SigningKey::public).collect();
    let members = || (1..=3).map(|number| MemberNumber::new(number).unwrap());
    let (secrets, enrolments): (Vec<_>, Vec<_>) = members()
        .zip(&keys)
        .map(|(member, key)| ceremony.enrol(&signers, member, key, &mut rng()).unwrap())
        .unzip();
    candidates.insert(secrets[0].to_bytes().to_vec());
    candidates.extend(enrolments.iter().map(|enrolment| enrolment.to_bytes()));
    let enrolments = Enrolments::new(ceremony, signers, enrolments).unwrap();
    let dealings: Vec<Vec<u8>> = members()
        .zip(&keys)
        .map(|(member, key)| enrolments.deal(member, key, &mut rng()).unwrap())
        .map(|dealing| dealing.to_bytes())
        .collect();
    candidates.extend(dealings.iter().cloned());
    let dealt = dealings
        .iter()
        .map(|bytes| MemberDealing::from_bytes(bytes).unwrap());
    let finished = secrets[0].finish(&enrolments, None, dealt.collect());
    let finished = finished.unwrap_or_else(|error| panic!("{error}"));
    candidates.insert(finished.transcript.to_bytes());
    candidates.insert(finished.share.to_bytes().to_vec());
    save_share(&folder.join("share"), &finished.share).unwrap();
    candidates.insert(fs::read(folder.join("share")).unwrap());
}

/// Collects configurations, a key file, and two fragments of the key file.
fn files(folder: &Path, candidates: &mut Candidates) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for name in ["conductor.toml", "querier.toml", "target.toml"] {
        candidates.insert(fs::read(deploy.join(name)).unwrap());
    }
    let path = folder.join("node.key");
    let keys = NodeKeys::generate(Role::Target, Suite::X25519);
    keys.save(&path, Suite::X25519, "target", Role::Target)
        .unwrap();
    candidates.insert(fs::read(&path).unwrap());
    let fragments = split(&path, 2, 3).unwrap();
    let texts: Vec<String> = fragments[..2]
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    candidates.insert(texts.join("\n").into_bytes());
}

/// Keeps inputs that each decoder accepts, and for the planner also inputs that it refuses.
fn keep(candidates: &Candidates, output: &Path) {
    for target in TARGETS {
        let folder = output.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (number, decoder) in target.decoders.iter().enumerate() {
            let mut inputs: BTreeMap<usize, &Vec<u8>> = BTreeMap::new();
            for candidate in candidates.iter().filter(|bytes| bytes.len() <= LARGEST) {
                if (decoder.accepts)(candidate) {
                    inputs.entry(candidate.len()).or_insert(candidate);
                }
            }
            let mut kept: Vec<&[u8]> = Vec::new();
            if target.name == "planner" {
                kept.extend(STATEMENTS.iter().map(|sql| sql.as_bytes()));
            } else {
                // Keeps the smallest input, and some larger ones.
                let step = (inputs.len() / KEPT).max(1);
                kept.extend(inputs.values().step_by(step).take(KEPT).map(|i| &i[..]));
            }
            eprintln!(
                "{} {}: {} of {}",
                target.name,
                decoder.name,
                kept.len(),
                inputs.len()
            );
            for bytes in kept {
                let mut input = vec![u8::try_from(number).unwrap()];
                input.extend(bytes);
                let name = hex(&hash("corpus", &[&input])[..8]);
                fs::write(folder.join(name), input).unwrap();
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
