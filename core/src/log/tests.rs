use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::testing::{NOW, Network, Question, Setting, head, key_of, logged, name};
use dispers_base::{id::Timestamp, signed::Signed};

fn setting() -> (Network, Question) {
    let mut rng = StdRng::seed_from_u64(3);
    let setting = Setting::default();
    let network = Network::new(setting.committee.0, setting.committee.1, &mut rng);
    let question = Question::new(&network, &setting, &mut rng);
    (network, question)
}

fn tree(leaves: usize) -> Tree {
    let mut tree = Tree::default();
    for place in 0..leaves {
        tree.push([place as u8; 32]);
    }
    tree
}

/// Computes the Merkle tree hash as RFC 6962 §2.1 defines it, over leaves of 32 bytes.
fn plain(leaves: &[Leaf]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => Sha256::new()
            .chain_update([0])
            .chain_update(leaf)
            .finalize()
            .into(),
        _ => {
            let left = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(left);
            Sha256::new()
                .chain_update([1])
                .chain_update(plain(left))
                .chain_update(plain(right))
                .finalize()
                .into()
        }
    }
}

#[test]
fn the_root_is_that_of_rfc_6962() {
    for size in 0..40 {
        let leaves: Vec<Leaf> = (0..size).map(|place| [place as u8; 32]).collect();
        assert_eq!(tree(size).root().hash, plain(&leaves), "{size}");
    }
}

proptest! {
    #[test]
    fn a_leaf_is_shown_in_its_place_and_nothing_else_is(
        size in 1..70usize,
        index in any::<prop::sample::Index>(),
        flipped in any::<prop::sample::Index>(),
    ) {
        let tree = tree(size);
        let (root, place) = (tree.root(), index.index(size));
        let path = tree.path(place as u64).unwrap();
        let leaf = [place as u8; 32];
        prop_assert!(root.includes(&leaf, place as u64, &path));
        prop_assert!(!root.includes(&[200; 32], place as u64, &path));
        prop_assert!(!root.includes(&leaf, place as u64 + 1, &path));
        prop_assert!(!root.includes(&leaf, u64::MAX, &path));
        prop_assert!(tree.path(size as u64).is_none());
        if !path.is_empty() {
            let mut wrong = path.clone();
            wrong[flipped.index(path.len())] ^= 1;
            prop_assert!(!root.includes(&leaf, place as u64, &wrong));
            prop_assert!(!root.includes(&leaf, place as u64, &path[1..]));
        }
        prop_assert!(!root.includes(&leaf, place as u64, &[path, vec![0; 32]].concat()));
    }

    #[test]
    fn a_log_that_grew_is_shown_to_continue_and_another_is_not(
        older in 0..40usize,
        more in 0..40usize,
        later in 0..5usize,
        flipped in any::<prop::sample::Index>(),
    ) {
        let newer = older + more;
        let log = tree(newer + later);
        let proof = log.consistency(older as u64, newer as u64).unwrap();
        let (old, new) = (tree(older).root(), tree(newer).root());
        prop_assert_eq!(check_consistency(&old, &new, &proof), Ok(()));
        if older > 0 {
            let mut forked = old;
            forked.hash[0] ^= 1;
            // Two hashes of one size prove the signer's fault; a wrong proof proves nothing.
            let refused = match more {
                0 => LogError::Forked,
                _ => LogError::Unproved,
            };
            prop_assert_eq!(check_consistency(&forked, &new, &proof), Err(refused));
            if more > 0 {
                prop_assert_eq!(check_consistency(&new, &old, &proof), Err(LogError::Unproved));
                let mut forked = new;
                forked.hash[31] ^= 1;
                prop_assert_eq!(check_consistency(&old, &forked, &proof), Err(LogError::Unproved));
            }
            if !proof.is_empty() {
                let mut wrong = proof.clone();
                wrong[flipped.index(proof.len())] ^= 1;
                prop_assert_eq!(check_consistency(&old, &new, &wrong), Err(LogError::Unproved));
                prop_assert_eq!(check_consistency(&old, &new, &proof[1..]), Err(LogError::Unproved));
            }
        }
        prop_assert!(log.consistency(newer as u64 + 1, newer as u64).is_none());
        prop_assert!(log.consistency(0, (newer + later) as u64 + 1).is_none());
    }
}

#[test]
fn a_manifest_is_in_the_log_if_a_conductor_and_enough_witnesses_signed_it() {
    let (network, question) = setting();
    let inclusion = logged(&network, &question.signed);
    let verify = |inclusion: &Inclusion| {
        let verified = inclusion.verify(&question.signed, &network.directory);
        verified.map(|head| head.root.size)
    };
    assert_eq!(verify(&inclusion), Ok(3));
    let with = |change: &dyn Fn(&mut Inclusion)| {
        let mut changed = inclusion.clone();
        change(&mut changed);
        verify(&changed).unwrap_err()
    };
    let root = tree(3).root();
    let unwitnessed = |signed| LogError::Unwitnessed { signed, needed: 2 };
    assert_eq!(with(&|i| i.head.witnesses.truncate(1)), unwitnessed(1));
    // The same witness twice counts once.
    assert_eq!(
        with(&|i| i.head.witnesses[1] = i.head.witnesses[0].clone()),
        unwitnessed(1)
    );
    // A node that is no witness, and a witness with the signature of another witness or of the conductor.
    for label in ["finder", "indexor1"] {
        assert_eq!(
            with(&|i| i.head.witnesses[1] = (name(label), i.head.cosign(&key_of(label)))),
            unwitnessed(1)
        );
    }
    assert_eq!(
        with(&|i| i.head.witnesses[1].0 = name("aggregator3")),
        unwitnessed(1)
    );
    assert_eq!(
        with(&|i| i.head.witnesses[1].1 = i.head.signature),
        unwitnessed(1)
    );
    assert_eq!(
        with(&|i| i.head.conductor = name("target")),
        LogError::Unsigned
    );
    assert_eq!(
        with(&|i| i.head.signature = i.head.witnesses[0].1),
        LogError::Unsigned
    );
    assert_eq!(with(&|i| i.head.body[0] ^= 1), LogError::Malformed);
    assert_eq!(with(&|i| i.index = 0), LogError::Missing);
    assert_eq!(with(&|i| i.path[3] ^= 1), LogError::Missing);
    assert_eq!(
        with(&|i| i.path = vec![0; MAX_PROOF + 32]),
        LogError::Malformed
    );
    let witnesses = ["aggregator1", "aggregator2"];
    assert_eq!(
        with(&|i| i.head = head(&network, root, &witnesses)),
        LogError::Missing
    );
    // The same manifest with another signature is another leaf.
    let mut signature = question.signed.signature;
    signature.0[0] ^= 1;
    let other = Signed::from_parts(question.signed.body.clone(), signature).into();
    assert_eq!(
        inclusion.verify(&other, &network.directory),
        Err(LogError::Missing)
    );
}

#[test]
fn a_conductor_that_shows_an_old_head_for_ever_is_noticed() {
    let (network, _) = setting();
    let head = head(&network, tree(3).root(), &["aggregator1", "aggregator2"]);
    let verified = head.verify(&network.directory).unwrap();
    let fresh = |later| verified.check_fresh(verified.time.plus(later));
    assert_eq!(fresh(FRESH + Timestamp::SKEW), Ok(()));
    let stale = Err(LogError::Stale(verified.time));
    assert_eq!(fresh(FRESH + Timestamp::SKEW + 1), stale);
    let before = Timestamp(verified.time.0 - Timestamp::SKEW - 1);
    assert_eq!(verified.check_fresh(before), Err(LogError::Time));
}

#[test]
fn a_witness_co_signs_one_history() {
    let (network, _) = setting();
    let directory = &network.directory;
    let log = tree(20);
    let request = |from: u64, to: usize| Cosign {
        head: head(&network, tree(to).root(), &[]),
        from,
        proof: log.consistency(from, to as u64).unwrap(),
    };
    let mut witness = Witnessed::default();
    let signs = |witness: &mut Witnessed, request: &Cosign| {
        let considered = witness.consider(request, directory, NOW);
        considered.map(|reply| {
            reply.map(|head| {
                let size = head.root.size;
                witness.0 = Some(head);
                size
            })
        })
    };
    assert_eq!(signs(&mut witness, &request(0, 5)), Ok(Ok(5)));
    assert_eq!(signs(&mut witness, &request(5, 9)), Ok(Ok(9)));
    // The same request again, a proof from another size, and a head that is older than the co-signed one.
    assert_eq!(signs(&mut witness, &request(9, 9)), Ok(Ok(9)));
    assert_eq!(signs(&mut witness, &request(5, 12)), Ok(Err(9)));
    assert_eq!(signs(&mut witness, &request(5, 7)), Ok(Err(9)));
    // Another history of the same size, another history of a larger size, and a proof that is cut off.
    let mut other = tree(8);
    other.push([77; 32]);
    let forked = |root, proof: Vec<u8>| Cosign {
        head: head(&network, root, &[]),
        from: 9,
        proof,
    };
    let same_size = forked(other.root(), Vec::new());
    assert_eq!(signs(&mut witness, &same_size), Err(LogError::Forked));
    other.push([78; 32]);
    let proof = other.consistency(9, 10).unwrap();
    let longer = forked(other.root(), proof);
    assert_eq!(signs(&mut witness, &longer), Err(LogError::Unproved));
    let mut unproved = request(9, 12);
    unproved.proof.truncate(32);
    assert_eq!(signs(&mut witness, &unproved), Err(LogError::Unproved));
    // A time in the future, and one long past.
    let at = |time| {
        let head = Head {
            network: directory.network.clone(),
            log: directory.witnesses.log,
            root: tree(12).root(),
            time,
        };
        Cosign {
            head: head.sign(&name("conductor"), &key_of("conductor")),
            ..request(9, 12)
        }
    };
    let future = at(NOW.plus(Timestamp::SKEW + 1));
    assert_eq!(signs(&mut witness, &future), Err(LogError::Time));
    let past = at(Timestamp(NOW.0 - Timestamp::SKEW - 1));
    assert_eq!(signs(&mut witness, &past), Err(LogError::Time));
    let mut unsigned = request(9, 12);
    unsigned.head.signature.0[0] ^= 1;
    assert_eq!(signs(&mut witness, &unsigned), Err(LogError::Unsigned));
    assert_eq!(signs(&mut witness, &request(9, 12)), Ok(Ok(12)));
}
