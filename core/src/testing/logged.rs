//! A log that holds the manifests that a test asks with.

use super::{NOW, Network, key_of, name};
use crate::{
    log::{Head, Inclusion, Root, SignedHead, Tree, leaf},
    manifest::SignedManifest,
};

/// Returns a head of `root`, signed by the conductor and co-signed by these witnesses.
pub(crate) fn head(network: &Network, root: Root, witnesses: &[&str]) -> SignedHead {
    let head = Head {
        network: network.directory.network.clone(),
        log: network.directory.witnesses.log,
        root,
        time: NOW,
    };
    let mut signed = head.sign(&name("conductor"), &key_of("conductor"));
    signed.witnesses = witnesses
        .iter()
        .map(|label| (name(label), signed.cosign(&key_of(label))))
        .collect();
    signed
}

/// Returns the proof that a manifest is in a log, between two other leaves.
pub(crate) fn logged(network: &Network, manifest: &SignedManifest) -> Inclusion {
    let mut tree = Tree::default();
    tree.push([1; 32]);
    tree.push(leaf(manifest));
    tree.push([2; 32]);
    Inclusion {
        head: head(network, tree.root(), &["aggregator1", "aggregator2"]),
        index: 1,
        path: tree.path(1).unwrap(),
    }
}
