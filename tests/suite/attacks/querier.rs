//! Attacks of a dishonest querier.

use dispers_base::{encoding::decode, signed::Signed};
use dispers_core::{
    conduct::{Command, Event},
    manifest::Manifest,
};

use super::{Forge, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_serves_one_query() {
    let forge = Forge::new().await;
    let mut begins = Vec::new();
    let begun = |command: Command| {
        if let Command::Begin { .. } = &command {
            begins.push(command.clone());
        }
        vec![command]
    };
    forge.carrying_out(begun).await;
    // The querier signs a second manifest with the same offers.
    let body = &forge.prepared.signed().body;
    let mut manifest: Manifest = decode(body).unwrap();
    manifest.min_cohort += 1;
    let signed = manifest.sign(forge.signing("querier"));
    let driver = forge.driver(&signed, forge.prepared.profiles(), &forge.segments());
    assert_eq!(begins.len(), 3);
    for begin in begins {
        let Event::Begun(_, result) = driver.clone().carry_out(begin).await else {
            unreachable!("a command is answered by its event");
        };
        let words = refusal(result);
        assert!(
            words.contains("no offer of this aggregator that is still unused"),
            "{words}"
        );
    }
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_asked_twice_is_the_same() {
    let forge = Forge::new().await;
    let driver = forge.honest_driver();
    let mut totals = Vec::new();
    let ended = forge
        .run(
            &driver,
            |command| match command {
                Command::Release { .. } => vec![command.clone(), command],
                command => vec![command],
            },
            |event| {
                if let Event::Released(from, Ok(total)) = &event {
                    totals.push((*from, total.clone()));
                }
                event
            },
        )
        .await;
    assert!(ended.table.is_some());
    assert_eq!(totals.len(), 6);
    for pair in totals.chunks(2) {
        assert!(pair[0] == pair[1]);
    }
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_signed_so_is_refused_by_every_role() {
    let forge = Forge::new().await;
    let honest = forge.prepared.signed();
    let mut body = honest.body.clone();
    body[40] ^= 1;
    let signed = Signed::from_parts(body, honest.signature).into();
    let driver = forge.driver(&signed, forge.prepared.profiles(), &forge.segments());
    let find = Command::Find { partition: 0 };
    let Event::Found(_, found) = driver.clone().carry_out(find).await else {
        unreachable!("a command is answered by its event");
    };
    let words = refusal(found);
    assert!(words.contains("manifest"), "{words}");
    forge.network.stop().await;
}
