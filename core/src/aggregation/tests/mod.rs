//! Tests that the contributions of honest parties count exactly, whatever one party does.

mod agreement;
mod charges;
mod contributions;
mod cuts;
mod grants;
mod release;
mod restarts;
mod sessions;
mod steps;

use crate::{
    peer::{Channel, OpenedPeer, PeerContent, PeerMessage},
    testing::{Scene, Setting, key_of, member},
};

fn scene() -> Scene {
    Scene::new(Setting::default())
}

fn batches(batch_size: u32) -> Scene {
    Scene::new(Setting {
        batch_size,
        ..Setting::default()
    })
}

fn channel(scene: &Scene) -> Channel {
    Channel {
        query: scene.question.manifest.query(),
        committee: 0,
    }
}

/// Returns the content of a message, opened by its reader.
fn heard(scene: &Scene, message: &PeerMessage) -> OpenedPeer {
    let secret = scene.question.offered[message.to.index()].as_ref().unwrap();
    let directory = &scene.network.directory;
    let opened = channel(scene).open(message, message.to, secret, directory);
    opened.unwrap()
}

/// Returns a message from `from` to `to` that `from` has really signed.
fn said(scene: &mut Scene, from: u8, to: u8, content: PeerContent) -> PeerMessage {
    let channel = channel(scene);
    let signed = channel.sign(member(from), content, &key_of(&format!("aggregator{from}")));
    let key = scene.question.offered[usize::from(to) - 1]
        .as_ref()
        .unwrap();
    let key = key.public();
    channel.seal(&signed, member(from), member(to), &key, &mut scene.rng)
}
