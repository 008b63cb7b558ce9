//! Attacks of parties that want to ask without an entry in the log.

use dispers_base::{
    encoding::{decode, to_bytes},
    id::{BatchId, Timestamp, Work},
};
use dispers_conductor::{Log, Store};
use dispers_core::{
    ask::Ask,
    log::{Cosign, FRESH, Head, Inclusion, Root, SignedHead, Tree, leaf},
    manifest::SignedManifest,
    ticket::FindId,
};
use dispers_node::{Channels, now};
use dispers_proto::v1::{Message, witness_client::WitnessClient};

use super::{Forge, target::ask_host};
use crate::{log_of, logged};

const WITNESSES: [&str; 2] = ["data-aggregator-1", "data-aggregator-2"];

/// Returns a proof from a history that holds these leaves and then a manifest. The conductor signs it, and witnesses
/// whose keys the attacker has co-sign it.
fn history(
    forge: &Forge,
    before: &[u8],
    manifest: &SignedManifest,
    witnesses: &[&str],
) -> Inclusion {
    let mut tree = Tree::default();
    for leaf in before {
        tree.push([*leaf; 32]);
    }
    tree.push(leaf(manifest));
    let index = before.len() as u64;
    let path = tree.path(index).unwrap();
    let node = |name: &str| forge.network.node(name).unwrap();
    let conductor = node("conductor");
    let head = Head {
        network: conductor.directory.network.clone(),
        log: conductor.directory.witnesses.log,
        root: tree.root(),
        time: now(),
    };
    let mut head = head.sign(&conductor.name, &conductor.signing);
    head.witnesses = witnesses
        .iter()
        .map(|name| (node(name).name.clone(), head.cosign(&node(name).signing)))
        .collect();
    Inclusion { head, index, path }
}

/// Sends a host an ask without homes, with this attempt and proof. Returns the text of the refusal, if the host
/// refuses.
async fn ask(forge: &Forge, host: &str, attempt: u8, inclusion: Inclusion) -> Option<String> {
    let ask = Ask {
        parameters: None,
        manifest: forge.prepared.signed().clone(),
        work: Work {
            query: forge.prepared.manifest().query(),
            round: 0,
            batch: BatchId {
                partition: 0,
                committee: 0,
                number: attempt.into(),
            },
            attempt: 0,
        },
        find: FindId([0; 32]),
        inclusion,
        announced: false,
        homes: Vec::new(),
    };
    let answered = ask_host(forge, host, &ask).await;
    answered.err().map(|status| status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_not_in_the_log_is_answered_by_nobody() {
    let forge = Forge::new().await;
    let signed = forge.prepared.signed();
    let other = Forge::prepare(&forge.network, super::SQL).await;
    let honest = forge.inclusion().await;
    let of_another = logged(&forge.log, other.signed()).await;
    let changed = |change: fn(&mut Inclusion)| {
        let mut changed = honest.clone();
        change(&mut changed);
        changed
    };
    let refused = [
        (of_another, "not shown to be in the log"),
        (changed(|i| i.index += 1), "not shown to be in the log"),
        (
            history(&forge, &[], signed, &WITNESSES[..1]),
            "1 witnesses co-signed",
        ),
        (
            history(&forge, &[], signed, &[WITNESSES[0]; 2]),
            "1 witnesses co-signed",
        ),
        (
            history(&forge, &[], signed, &["target", "conductor"]),
            "0 witnesses co-signed",
        ),
        (
            changed(|i| i.head.witnesses.clear()),
            "0 witnesses co-signed",
        ),
        (
            changed(|i| i.head.signature.0[0] ^= 1),
            "not signed by a conductor",
        ),
        (changed(|i| i.head.body.clear()), "malformed"),
    ];
    for (number, (inclusion, words)) in (0..).zip(refused) {
        let said = ask(&forge, "host-1", number, inclusion).await;
        assert!(
            said.as_ref().is_some_and(|said| said.contains(words)),
            "{words}: {said:?}"
        );
    }
    assert_eq!(ask(&forge, "host-1", 100, honest).await, None);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_with_two_histories_is_caught_by_a_stack_that_saw_the_other() {
    let forge = Forge::new().await;
    let signed = forge.prepared.signed();
    let honest = forge.inclusion().await;
    assert_eq!(ask(&forge, "host-1", 0, honest.clone()).await, None);
    // The witnesses collude with the conductor, on a history of the same size and on larger ones.
    for (number, before) in [(1, &[9; 0][..]), (2, &[9]), (3, &[9, 8, 7])] {
        let fork = history(&forge, before, signed, &WITNESSES);
        if before.is_empty() {
            // The same tree, signed again, is no fork.
            assert_eq!(ask(&forge, "host-1", number, fork).await, None);
            continue;
        }
        let said = ask(&forge, "host-1", number, fork).await.unwrap();
        let words = ["two histories", "nobody shows that the log"];
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
    }
    // A second query makes the log as long as the fork.
    let second = Forge::prepare(&forge.network, super::SQL).await;
    logged(&forge.log, second.signed()).await;
    let said = ask(
        &forge,
        "host-1",
        4,
        history(&forge, &[9], signed, &WITNESSES),
    )
    .await;
    assert!(said.unwrap().contains("two histories"));
    let store = &forge.network.hosts()[0].store;
    // Any relay can make a wrong proof, so that it is not kept and is no evidence against anybody.
    assert!(store.forks().unwrap().is_empty());
    let longer = forge.inclusion().await;
    assert_eq!(ask(&forge, "host-1", 7, longer).await, None);
    let fork = history(&forge, &[9], signed, &WITNESSES);
    let refusal = ask(&forge, "host-1", 8, fork).await.unwrap();
    assert!(refusal.contains("contradict each other"), "{refusal}");
    let forks = store.forks().unwrap();
    let sizes = |head: &dispers_core::log::SignedHead| {
        let head: Head = decode(&head.body).unwrap();
        head.root.size
    };
    let last = forks
        .last()
        .map(|(seen, shown)| (sizes(seen), sizes(shown)));
    assert_eq!((forks.len(), last), (1, Some((2, 2))));
    // A stack that saw no earlier head has nothing to compare. Only honest witnesses protect it.
    let fork = history(&forge, &[9], signed, &WITNESSES);
    assert_eq!(ask(&forge, "host-2", 5, fork).await, None);
    // The proof that the stack saw first is honest, and is still accepted.
    assert_eq!(ask(&forge, "host-1", 6, honest).await, None);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_older_or_newer_than_the_last_is_taken_if_it_is_of_one_log() {
    let mut forge = Forge::new().await;
    let first = forge.inclusion().await;
    let first_prepared = std::mem::replace(
        &mut forge.prepared,
        Forge::prepare(&forge.network, super::SQL).await,
    );
    for _ in 0..5 {
        let between = Forge::prepare(&forge.network, super::SQL).await;
        logged(&forge.log, between.signed()).await;
    }
    let last = forge.inclusion().await;
    assert_eq!(ask(&forge, "host-1", 0, last).await, None);
    forge.prepared = first_prepared;
    assert_eq!(ask(&forge, "host-1", 1, first.clone()).await, None);
    assert_eq!(ask(&forge, "host-2", 2, first).await, None);
    let later = forge.inclusion().await;
    assert_eq!(ask(&forge, "host-2", 3, later).await, None);
    assert!(forge.network.hosts()[0].store.forks().unwrap().is_empty());
    forge.network.stop().await;
}

/// Returns the witness's answer to a head of `root` with this proof, asked in the name of `caller`.
async fn cosigned(
    forge: &Forge,
    caller: &str,
    root: Root,
    from: u64,
    proof: Vec<u8>,
) -> Result<(), String> {
    let node = |name: &str| forge.network.node(name).unwrap();
    let conductor = node("conductor");
    let head = Head {
        network: conductor.directory.network.clone(),
        log: conductor.directory.witnesses.log,
        root,
        time: now(),
    };
    let request = Cosign {
        head: head.sign(&conductor.name, &conductor.signing),
        from,
        proof,
    };
    let witness = forge
        .network
        .directory()
        .node(&node(WITNESSES[0]).name)
        .unwrap();
    let channel = Channels::new(node(caller).clone()).to(&witness.address, witness.tls_key);
    let body = to_bytes(&request);
    let asked = WitnessClient::new(channel.unwrap())
        .cosign(Message { body })
        .await;
    asked
        .map(|_| ())
        .map_err(|status| status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_witness_signs_no_second_history_and_for_nobody_but_a_conductor() {
    let forge = Forge::new().await;
    forge.inclusion().await;
    let mut honest = Tree::default();
    honest.push(leaf(forge.prepared.signed()));
    let root = honest.root();
    let cosigned = |caller, root, from, proof| cosigned(&forge, caller, root, from, proof);
    assert_eq!(cosigned("conductor", root, 1, Vec::new()).await, Ok(()));
    let said = cosigned("target", root, 1, Vec::new()).await.unwrap_err();
    assert!(said.contains("only a conductor"), "{said}");
    let mut forked = Tree::default();
    forked.push([1; 32]);
    let said = cosigned("conductor", forked.root(), 1, Vec::new()).await;
    assert!(said.unwrap_err().contains("two histories"));
    forked.push([2; 32]);
    let proof = forked.consistency(1, 2).unwrap();
    let said = cosigned("conductor", forked.root(), 1, proof).await;
    assert!(said.unwrap_err().contains("two histories"));
    honest.push([3; 32]);
    let proof = honest.consistency(1, 2).unwrap();
    assert_eq!(cosigned("conductor", honest.root(), 1, proof).await, Ok(()));
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_witness_may_be_gone_and_with_too_few_nobody_is_asked() {
    let forge = Forge::new().await;
    drop(forge.network.take_place(WITNESSES[0]).await.unwrap());
    let inclusion = forge.inclusion().await;
    assert_eq!(inclusion.head.witnesses.len(), 2);
    drop(forge.network.take_place(WITNESSES[1]).await.unwrap());
    let log: &Log = &log_of(&forge.network);
    let refused = log
        .publish(forge.prepared.signed(), now())
        .await
        .unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("2 witnesses must co-sign"), "{words}");
    assert!(WITNESSES.iter().all(|name| words.contains(name)), "{words}");
    assert!(!words.contains("data-aggregator-3"), "{words}");
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_asked_for_is_signed_again_when_it_is_old() {
    let forge = Forge::new().await;
    let inclusion = forge.inclusion().await;
    let mut old: Head = decode(&inclusion.head.body).unwrap();
    old.time = Timestamp(old.time.0 - 2 * FRESH);
    let conductor = forge.network.node("conductor").unwrap();
    let signed = old.sign(&conductor.name, &conductor.signing);
    let store = forge.network.conductor_store().unwrap();
    store
        .keep_head(old.log, old.root.size, to_bytes(&signed))
        .await
        .unwrap();
    let shown = log_of(&forge.network).head().await.unwrap().unwrap();
    let shown: SignedHead = decode(&shown).unwrap();
    let shown = shown.verify(forge.network.directory()).unwrap();
    assert_eq!(shown.check_fresh(now()), Ok(()));
    assert_eq!(shown.root, old.root);
    forge.network.stop().await;
}
